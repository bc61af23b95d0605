"""Codes whose latents follow one another: a stationary chain of normals."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import register_kl

from ..noise import Noise
from ._base import Distribution
from .normal import LOG_2PI, EncodedNormal, Normal


class NormalChain(Distribution):
    """``z_1 ~ N(0, 1)`` and ``z_t ~ N(a z_(t-1), 1 - a^2)``: every latent has variance 1.

    Parameters
    ----------
    zero : Tensor (members, 1, 1, 1)
        Of the dtype and device of the codes.
    n_components : int
    correlation : float
        ``a``, that of latents side by side.
    """

    def __init__(self, zero: Tensor, n_components: int, correlation: float):
        self.zero, self.n_components, self.correlation = zero, n_components, correlation

    @property
    def variance_of_steps(self) -> Tensor:
        """Variance of each latent given the one before it, ``(n_components,)``."""
        variance = self.zero.new_full((self.n_components,), 1.0 - self.correlation**2)
        variance[0] = 1.0
        return variance

    def before(self, value: Tensor) -> Tensor:
        """What each latent is expected to be."""
        return self.correlation * torch.nn.functional.pad(value[..., :-1], (1, 0))

    def log_prob(self, value: Tensor) -> Tensor:
        variance = self.variance_of_steps
        square = (value - self.before(value)).square() / variance
        return -0.5 * (square + variance.log() + LOG_2PI)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, n_components)``."""
        steps = noise.normal(1, n_rows, self.n_components) * self.variance_of_steps.sqrt()
        latents = [steps[..., 0]]
        for step in steps[..., 1:].unbind(-1):
            latents.append(self.correlation * latents[-1] + step)
        return torch.stack(latents, -1)


@register_kl(Normal, NormalChain)
@register_kl(EncodedNormal, NormalChain)
def _kl_normal_chain(q: Normal, p: NormalChain) -> Tensor:
    variance, spread = p.variance_of_steps, q.scale.expand_as(q.loc).square()
    carried = p.correlation * p.before(spread)
    square = (q.loc - p.before(q.loc)).square() + spread + carried
    return 0.5 * (square / variance + variance.log() - 1.0) - q.log_scale


def committed_rate(n_components: int, correlation: float) -> float:
    """Least KL of any independent normals from the chain, in nats."""
    a2 = correlation**2
    return 0.5 * ((n_components - 2) * math.log1p(a2) - math.log1p(-a2))
