"""Views: what the encoder is shown of a row, as against what the decoder must explain."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.nn import functional as F

from ._component import Component, Shapes
from .noise import Noise

# Where no continuous column tells a noise: single flags, categories and counts say little.
START_LEVEL = 0.5
# Of many counts that share a size each says less still (benchmarks/_representation_counts.py).
SIZED_LEVEL = 1.0


class View(Component):
    """Base of the views; applied in training only."""

    # Whether rows explain other rows, so that they have no score of their own.
    explains_others = False

    def pairs(self, n_rows: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows that the encoder sees and those that they must explain; None where each its own."""
        return None

    def start(self, scale: Tensor) -> None:
        """Take note of the noise of the linear model at which training starts.

        Parameters
        ----------
        scale : Tensor (members, columns)
            Per continuous column, standardised.
        """

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Change ``inputs (members, 1, rows, width)``; ``n_inputs`` columns are real."""
        raise NotImplementedError


class Denoising(View):
    """Normal noise on the encoder's inputs: smoother codes, and no copying of single cells.

    Parameters
    ----------
    scale : float or "auto", default="auto"
        Standard deviation of the noise, in standard deviations of a column.  ``"auto"``: what
        the linear model at which training starts leaves unexplained.  A row with so much added
        is as likely to have come from the same code, so that it should be given the same.
        Tables without continuous columns get 0.5, and 1 if they are of counts in rows of
        different size.

    Examples
    --------
    >>> from skvae.views import Denoising
    >>> Denoising(scale=0.3)
    Denoising(scale=0.3)

    References
    ----------
    Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008.
    """

    _parameter_constraints = {
        "scale": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")]
    }

    def __init__(self, scale="auto"):
        super().__init__()
        self.scale = scale

    def build(self, shapes: Shapes, noise: Noise) -> Denoising:
        """Create the level of each member, which ``start`` may change."""
        level = self.scale
        if level == "auto":
            level = START_LEVEL if shapes.row_size is None else SIZED_LEVEL
        shape = noise.n_members, 1, 1, 1
        self.register_buffer("level", torch.full(shape, float(level), device=noise.device))
        return self

    def start(self, scale: Tensor) -> None:
        """Follow the noise of the linear model, ``scale (members, columns)``."""
        if self.scale == "auto" and scale.shape[-1]:
            self.level.copy_(scale.square().mean(-1).sqrt().view_as(self.level))

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Add the noise to the real columns."""
        added = noise.normal(*inputs.shape[1:-1], n_inputs) * self.level
        padding = inputs.shape[-1] - n_inputs
        return inputs + (F.pad(added, (0, padding)) if padding else added)


class TimeLagged(View):
    """The encoder sees a row, and the likelihood is of the row some steps later.

    Rows are in the order of time.  ``transform`` gives what of a row tells of later ones,
    ``inverse_transform`` and ``reconstruct`` the row that is expected ``lag`` steps later.  Slow
    coordinates are found where columns are white, as after ``PCA(whiten=True)``: of columns as
    they are, large fast ones are told first.  Rows have no score of their own.

    Parameters
    ----------
    lag : int, default=1
        How many rows later the explained one is; 0 explains each row itself.
    starts : sequence of int, default=()
        Rows at which another trajectory begins; no pair goes across.

    Examples
    --------
    >>> from skvae.views import TimeLagged
    >>> TimeLagged(lag=2, starts=[4]).pairs(8)
    (array([0, 1, 4, 5]), array([2, 3, 6, 7]))

    References
    ----------
    Wehmeyer and Noe, Time-lagged autoencoders: Deep learning of slow collective variables for
    molecular kinetics, 2018.
    """

    _parameter_constraints = {
        "lag": [Interval(Integral, 0, None, closed="left")],
        "starts": ["array-like"],
    }

    def __init__(self, lag=1, starts=()):
        super().__init__()
        self.lag = lag
        self.starts = starts

    @property
    def explains_others(self) -> bool:  # type: ignore[override]
        """Whether the explained row is another one."""
        return self.lag > 0

    def pairs(self, n_rows: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows and those that are ``lag`` steps later in the same trajectory."""
        if self.lag == 0:
            return None
        edges = np.unique([0, *self.starts, n_rows])
        if edges[0] < 0 or edges[-1] > n_rows:
            raise ValueError(
                f"TimeLagged expects starts to be rows from 0 to {n_rows - 1}, got "
                f"{list(self.starts)!r}."
            )
        pieces = [np.arange(a, max(b - self.lag, a)) for a, b in zip(edges, edges[1:])]
        seen = np.concatenate(pieces)
        if len(seen) < 2:
            raise ValueError(
                f"TimeLagged(lag={self.lag}) finds {len(seen)} pairs in {n_rows} rows. Lower lag, "
                "or give longer trajectories."
            )
        return seen, seen + self.lag

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Rows as they are."""
        return inputs


VIEWS = {"denoising": Denoising, "time_lagged": TimeLagged}
