"""A likelihood of continuous columns of any shape: a mixture of normals in each cell."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from ._base import Likelihood

# Where the normals of a column begin: apart from one another, and overlapping.
FIRST_LOC = 1.2
FIRST_SCALE = 0.7


class NormalMixture(Likelihood):
    """Continuous cells as a mixture of normals whose weights, means and scales the code decides.

    For cells of which a code leaves open more than one value, or for some codes little and for
    others much.

    Parameters
    ----------
    n_mixture_components : int, default=5
        Normals per cell.
    min_scale : float, default=0.01
        Smallest noise, in standard deviations of a column.

    Examples
    --------
    >>> from skvae.likelihoods import NormalMixture
    >>> NormalMixture(n_mixture_components=3)
    NormalMixture(n_mixture_components=3)

    References
    ----------
    Bishop, Mixture Density Networks, 1994.
    """

    _parameter_constraints = {
        "n_mixture_components": [Interval(Integral, 1, None, closed="left")],
        "min_scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_mixture_components=5, min_scale=0.01):
        super().__init__()
        self.n_mixture_components = n_mixture_components
        self.min_scale = min_scale

    @property
    def n_parameters(self) -> int:
        """A location, a scale and a weight per normal and column."""
        return 3 * self.n_mixture_components * len(self.sizes)

    def expand(self, values: Tensor) -> Tensor:
        """Each cell once per parameter."""
        return self.repeat(values)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column once per parameter."""
        return columns.repeat_interleave(3 * self.n_mixture_components, -1)

    def start(self, mean: Tensor) -> Tensor:
        """Normals of equal weight around the mean."""
        k = self.n_mixture_components
        loc = mean.view(-1, 3, k)[:, 0]
        apart = torch.linspace(-FIRST_LOC, FIRST_LOC, k) if k > 1 else torch.zeros(1)
        raw = math.log(math.expm1(FIRST_SCALE))
        parts = [loc + apart.to(loc), torch.full_like(loc, raw), torch.zeros_like(loc)]
        return torch.stack(parts, 1).view_as(mean)

    def forward(self, parameters: Tensor) -> distributions.CellMixture:
        """Give a mixture per cell."""
        shape = len(self.sizes), 3, self.n_mixture_components
        loc, raw, logits = parameters.unflatten(-1, shape).unbind(-2)
        return distributions.CellMixture(logits, loc, (F.softplus(raw) + self.min_scale).log())
