"""Views: what the encoder is shown of a row, as against what the decoder must explain."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval
from torch import Tensor
from torch.nn import functional as F

from ._component import Component
from .noise import Noise


class View(Component):
    """Base of the views; applied in training only."""

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Change ``inputs (members, 1, rows, width)``; ``n_inputs`` columns are real."""
        raise NotImplementedError


class Denoising(View):
    """Normal noise on the encoder's inputs: smoother codes, and no copying of single cells.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation of the noise, in standard deviations of a column.

    Examples
    --------
    >>> from skvae.views import Denoising
    >>> Denoising(scale=0.3)
    Denoising(scale=0.3)

    References
    ----------
    Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008.
    """

    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, scale=0.1):
        super().__init__()
        self.scale = scale

    def forward(self, inputs: Tensor, noise: Noise, n_inputs: int) -> Tensor:
        """Add the noise to the real columns."""
        added = noise.normal(*inputs.shape[1:-1], n_inputs)
        padding = inputs.shape[-1] - n_inputs
        return inputs.add(F.pad(added, (0, padding)) if padding else added, alpha=self.scale)


VIEWS = {"denoising": Denoising}
