"""Views: what the encoder is shown of a row, as against what the decoder must explain."""

from __future__ import annotations

from numbers import Real

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


VIEWS = {"denoising": Denoising}
