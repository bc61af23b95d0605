"""Independent Epanechnikov densities."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import register_kl

from ..noise import FixedDraws, Noise
from ._base import Distribution
from .codes import StandardNormal
from .normal import LOG_2PI

# Half the support in standard deviations.
HALF_SUPPORT = math.sqrt(5.0)
LOG_3 = math.log(3.0)
# What rounding may put beyond the end of the support, and how near to it a draw may come.
EDGE = 1e-5


class Epanechnikov(Distribution):
    """Densities ``0.75 (1 - u^2) / r`` of ``u = (x - loc) / r`` in (-1, 1), per column.

    Parameters
    ----------
    loc, log_scale : Tensor
        Mean, and logarithm of the standard deviation ``r / sqrt(5)``.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor):
        self.loc = loc
        self.log_scale = log_scale

    @cached_property
    def radius(self) -> Tensor:
        """Half the support."""
        return HALF_SUPPORT * self.log_scale.exp()

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp().expand_as(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        u = (value - self.loc) / self.radius
        rounding = torch.finfo(u.dtype).eps * (
            1.0 + self.loc.detach().abs() / self.radius.detach()
        )
        inside = u.detach().abs() < 1.0 + 4.0 * rounding
        height = torch.where(inside, (1.0 - u * u).clamp_min(EDGE), 1.0)
        log_prob = height.log() + math.log(0.75) - self.radius.log()
        return torch.where(inside, log_prob, -math.inf)

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, columns)``."""
        eps = noise.normal(n_draws, *self.loc.shape[-2:])
        u = 2.0 * torch.sin(torch.asin(torch.erf(eps / math.sqrt(2.0))) / 3.0)
        return torch.addcmul(self.loc, self.radius, u.clamp(EDGE - 1.0, 1.0 - EDGE))


@register_kl(Epanechnikov, StandardNormal)
def _kl_epanechnikov_standard(q: Epanechnikov, p: StandardNormal) -> Tensor:
    square = q.loc * q.loc + (2.0 * q.log_scale).exp()
    return 0.5 * (square + LOG_2PI) - q.radius.log() - 5.0 / 3.0 + LOG_3
