"""Views: what the encoder is shown of a row, as against what the decoder must explain."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

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
    # Whether what is explained is drawn anew in training.
    redraws = False

    def pairs(self, n_rows: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows that the encoder sees and those that they must explain; None where each its own."""
        return None

    def lagged(self, rows: Any, seen: np.ndarray, explained: np.ndarray) -> Any:
        """The resident table of such pairs."""
        return rows.lagged(seen, explained)

    def attach(self, rows: Any, codec: Any, random_state: np.random.RandomState) -> Any:
        """The resident table with what this view needs of it."""
        return rows

    def redrawn(self, batch: Any, noise: Noise) -> Any:
        """The batch with the cells that are drawn anew."""
        return batch

    def start(self, scale: Tensor, shared: Tensor) -> None:
        """Take note of the noise of the linear model at which training starts.

        Parameters
        ----------
        scale : Tensor (members, columns)
            Per continuous column, standardised.
        shared : Tensor (members,)
            Whether the columns of a member share one noise.
        """

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Change ``inputs (members, 1, rows, width)``; ``n_inputs`` columns are real."""
        return inputs


class Denoising(View):
    """Normal noise on the encoder's inputs: smoother codes, and no copying of single cells.

    Parameters
    ----------
    scale : float or "auto", default="auto"
        Standard deviation of the noise, in standard deviations of a column.  ``"auto"``: what
        the linear model at which training starts leaves unexplained, of each column where its
        noises differ.  A row with so much added is as likely to have come from the same code,
        so that it should be given the same.  Tables without continuous columns get 0.5, and 1
        if they are of counts in rows of different size.

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
        self.n_inputs = shapes.n_inputs
        return self

    def start(self, scale: Tensor, shared: Tensor) -> None:
        """Follow the noise of the linear model; other inputs have the mean of its columns."""
        if self.scale != "auto" or not scale.shape[-1]:
            return
        self.level.copy_(scale.square().mean(-1).sqrt().view_as(self.level))
        if not shared.all():
            level = self.level.repeat(1, 1, 1, self.n_inputs)
            # Continuous columns are the first inputs.
            own = torch.where(shared[:, None], self.level[:, 0, 0], scale)
            level[:, 0, 0, : scale.shape[-1]] = own
            self.register_buffer("level", level)

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Add the noise to the real columns."""
        added = noise.normal(*inputs.shape[1:-1], n_inputs) * self.level[..., :n_inputs]
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
                f"{np.asarray(self.starts).tolist()}."
            )
        pieces = [np.arange(a, max(b - self.lag, a)) for a, b in zip(edges, edges[1:])]
        seen = np.concatenate(pieces)
        if len(seen) < 2:
            raise ValueError(
                f"TimeLagged(lag={self.lag}) finds {len(seen)} pairs in {n_rows} rows. Lower lag, "
                "or give longer trajectories."
            )
        return seen, seen + self.lag


class PastFuture(TimeLagged):
    """Pairs of rows as ``TimeLagged``, weighed as the past-future information bottleneck asks.

    Where frames come from a biased simulation and have weights, both rows of a pair are
    explained: the later one with weight ``sqrt(w_t w_later)``, and the seen one with ``sqrt(w_t)
    (sqrt(w_t) - sqrt(w_later))``, which may be negative.  Of squared errors that is one with
    weight ``w_t``, of the point ``x_t + sqrt(w_later / w_t) (x_later - x_t)``.  Without weights
    it is ``TimeLagged``.

    Parameters
    ----------
    lag : int, default=1
        How many rows later the explained one is; 0 explains each row itself.
    starts : sequence of int, default=()
        Rows at which another trajectory begins; no pair goes across.

    Examples
    --------
    >>> from skvae.views import PastFuture
    >>> PastFuture(lag=3)
    PastFuture(lag=3)

    References
    ----------
    Wang, Ribeiro and Tiwary, Past-future information bottleneck for sampling molecular reaction
    coordinate simultaneously with thermodynamics and kinetics, 2019.
    """

    def lagged(self, rows: Any, seen: np.ndarray, explained: np.ndarray) -> Any:
        """The resident table of pairs, with one point for both rows of each."""
        pairs = super().lagged(rows, seen, explained)
        if rows.weights is None:
            return pairs
        if rows.mask is not None:
            raise ValueError(
                f"view={self!r} weighs whole rows, and some cells are missing. Fill them, or use "
                "view='time_lagged'."
            )
        past, future = rows.weights[seen], rows.weights[explained]
        here, share = rows.values[seen], (future / past).sqrt()[:, None]
        values = here + share * (pairs.values - here)
        return replace(pairs, values=values, weights=past / past.mean())

    def attach(self, rows: Any, codec: Any, random_state: np.random.RandomState) -> Any:
        """The table, if its cells can lie between those of two rows."""
        kinds = {kind for kind, _ in codec.blocks_}
        if kinds - {"continuous"} and rows.weights is not None:
            raise ValueError(
                f"view={self!r} explains points between two rows, and columns are of the kinds "
                f"{sorted(kinds)}. Use continuous columns alone, or view='time_lagged'."
            )
        return rows


class Binarized(View):
    """Binary cells are drawn anew whenever a row is trained on: dynamic binarisation.

    The table holds probabilities of a 1, as the grey values of an image between 0 and 1 do, and
    ``likelihood="bernoulli"`` or the kind "binary" says so.  Rows held out, and those that the
    model starts from and is calibrated on, are drawn once.  The model is of rows of zeros and
    ones: draw those that are to be scored, ``X > rng.random(X.shape)``.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> from skvae.views import Binarized
    >>> grey = np.random.default_rng(0).random((50, 4))
    >>> vae = VAETransformer(1, likelihood="bernoulli", view=Binarized(), max_iter=3)
    >>> vae.fit(grey).score_samples(grey > 0.5).shape
    (50,)

    References
    ----------
    Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008; Burda,
    Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016.
    """

    redraws = True

    def attach(self, rows: Any, codec: Any, random_state: np.random.RandomState) -> Any:
        """The table with its binary cells drawn once, and how probable a 1 is in each."""
        kinds = [kind for kind, _ in codec.blocks_]
        if "binary" not in kinds or getattr(rows, "matrix", None) is not None:
            raise ValueError(
                f"view={self!r} draws the cells of binary columns of a dense table, and these "
                f"are {kinds}{' in a sparse one' if 'binary' in kinds else ''}. Use "
                "likelihood='bernoulli', column_kinds={name: 'binary'}, or X.toarray()."
            )
        before = codec.blocks_[: kinds.index("binary")]
        n_cells = len(codec.blocks_[len(before)][1])
        places = sum(len(sizes) for _, sizes in before), sum(sum(sizes) for _, sizes in before)
        self.cells, self.seen = (slice(start, start + n_cells) for start in places)
        pair = np.zeros((2, rows.values.shape[1]), dtype=np.float32)
        pair[1, self.cells] = 1.0
        self.step = np.diff(codec.inputs(pair, None)[:, self.seen], axis=0)[0]
        noise = Noise([random_state.randint(np.iinfo(np.int32).max)], rows.values.device)
        shares = rows.values[:, self.cells].contiguous()
        drawn = noise.uniform(*shares.shape)[0] < shares
        values, inputs = self._put(drawn, rows)
        return replace(rows, values=values, inputs=inputs, shares=shares)

    def redrawn(self, batch: Any, noise: Noise) -> Any:
        """The batch with other cells, each member's own."""
        drawn = noise.uniform(*batch.shares.shape[1:]) < batch.shares
        values, inputs = self._put(drawn, batch)
        return replace(batch, values=values, inputs=inputs)

    def _put(self, drawn: Tensor, rows: Any) -> tuple[Tensor, Tensor]:
        values, inputs = rows.values.clone(), rows.inputs.clone()
        step = torch.as_tensor(self.step).to(values.device, non_blocking=True)
        inputs[..., self.seen] += (drawn.to(values) - values[..., self.cells]) * step
        values[..., self.cells] = drawn.to(values)
        return values, inputs


VIEWS = {
    "denoising": Denoising,
    "time_lagged": TimeLagged,
    "past_future": PastFuture,
    "binarized": Binarized,
}
