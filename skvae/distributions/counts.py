"""Distributions of counts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..noise import Noise
from ._base import Distribution


def softplus(x: Tensor) -> Tensor:
    """Log of 1 + exp(x), by functions whose vectors and remainders round alike."""
    return x.clamp_min(0.0) + torch.log1p(torch.exp(-x.abs()))


class Poisson(Distribution):
    """Counts of mean ``exp(log_rate)``."""

    def __init__(self, log_rate: Tensor):
        self.log_rate = log_rate

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return noise.poisson(self.mean)


def _log_rising(start: Tensor, n: Tensor) -> Tensor:
    """Log of Gamma(start + n) / Gamma(start), which cancels where ``start`` is large."""
    large = start > 32.0
    safe = torch.where(large, start, 32.0)
    total = safe + n
    by_stirling = (
        n * safe.log()
        + (total - 0.5) * torch.log1p(n / safe)
        - n
        - n / (12.0 * safe * total)
        + (1.0 / safe**3 - 1.0 / total**3) / 360.0
    )
    small = torch.where(large, 1.0, start)
    return torch.where(large, by_stirling, torch.lgamma(small + n) - torch.lgamma(small))


class NegativeBinomial(Distribution):
    """Counts of mean ``exp(log_mean)`` and variance ``mean + mean**2 / total_count``."""

    def __init__(self, log_mean: Tensor, log_total_count: Tensor):
        self.log_mean = log_mean
        self.log_total_count = log_total_count

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        total = self.log_total_count.exp()
        log_ratio = self.log_mean - self.log_total_count
        return (
            _log_rising(total, value)
            - torch.lgamma(value + 1)
            + value * log_ratio
            - (total + value) * softplus(log_ratio)
        )

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        total = self.log_total_count.exp().expand(self.log_mean.shape).contiguous()
        return noise.poisson(noise.gamma(total) * (self.log_mean - self.log_total_count).exp())


class ZeroInflated(Distribution):
    """Counts of ``base``, or 0 with the probability that ``logits`` give beforehand."""

    def __init__(self, base: Distribution, logits: Tensor):
        self.base = base
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return (-self.logits).sigmoid() * self.base.mean

    def log_prob(self, value: Tensor) -> Tensor:
        counted = self.base.log_prob(value)
        either = softplus(counted - self.logits) - softplus(-self.logits)
        return torch.where(value == 0, either, counted - softplus(self.logits))

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        counts = self.base.sample(noise)
        zero = noise.uniform(*counts.shape[1:]) < self.logits.sigmoid()
        return counts.masked_fill(zero, 0.0)
