"""A posterior of one width."""

from __future__ import annotations

import math
from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ._base import Posterior


class FixedNormal(Posterior):
    """Normals of a width that is given: ``q(z|x) = N(loc(x), scale^2)`` for every row.

    Parameters
    ----------
    scale : float, default=0.005
        Standard deviation, in units of the code.

    Examples
    --------
    >>> from skvae.posteriors import FixedNormal
    >>> FixedNormal(scale=0.1)
    FixedNormal(scale=0.1)

    References
    ----------
    Wang, Ribeiro and Tiwary, Past-future information bottleneck for sampling molecular reaction
    coordinate simultaneously with thermodynamics and kinetics, 2019.
    """

    moves = True
    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, scale=0.005):
        super().__init__()
        self.scale = scale

    def n_parameters(self, shapes: Shapes) -> int:
        """Location of each latent."""
        return shapes.n_components

    def forward(self, parameters: Tensor) -> distributions.Normal:
        """Turn encoder outputs into normals, before calibration and after."""
        return distributions.Normal(parameters, torch.full_like(parameters, math.log(self.scale)))

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Location linear in the inputs."""
        return matrix, offset
