"""Distributions of counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..noise import Noise
from ._base import Distribution
from .count_rows import (
    NegativeBinomialRows,
    SizeTerms,
    counts_exactly,
    negative_binomial,
    observed_sum,
    softplus,
    with_exact_large,
)


class Poisson(Distribution):
    """Counts of mean ``exp(log_rate)``."""

    def __init__(self, log_rate: Tensor):
        self.log_rate = log_rate

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        return _log_prob(_poisson, value, self.log_rate)

    def scaled(self, log_size: Tensor) -> Poisson:
        """The same with all means times ``exp(log_size)``."""
        return Poisson(self.log_rate + log_size)

    def size_slopes(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and curvature of the log-probability of each cell by ``log_size``."""
        return value - self.mean, self.mean

    def size_terms(self, value: Tensor, mask: Tensor | None) -> SizeTerms:
        """What rows say about a factor that all means share."""
        with torch.no_grad():
            slopes = [observed_sum(t, mask) for t in self.size_slopes(value)]
        return SizeTerms(self.log_prob_rows(value, mask), *slopes)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return noise.poisson(self.mean)


class NegativeBinomial(Distribution):
    """Counts of mean ``exp(log_mean)`` and variance ``mean + mean**2 / total_count``."""

    def __init__(self, log_mean: Tensor, log_total_count: Tensor):
        self.log_mean = log_mean
        self.log_total_count = log_total_count

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        return _log_prob(negative_binomial, value, self.log_mean, self.log_total_count)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return self.size_terms(value, mask).log_prob

    def scaled(self, log_size: Tensor) -> NegativeBinomial:
        """The same with all means times ``exp(log_size)``."""
        return NegativeBinomial(self.log_mean + log_size, self.log_total_count)

    def size_slopes(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and curvature of the log-probability of each cell by ``log_size``."""
        log_ratio = self.log_mean - self.log_total_count
        share, n = log_ratio.sigmoid(), value + self.log_total_count.exp()
        return value - n * share, n * share * (-log_ratio).sigmoid()

    def size_terms(self, value: Tensor, mask: Tensor | None) -> SizeTerms:
        """What rows say about a factor that all means share."""
        rows = NegativeBinomialRows.apply(self.log_mean, self.log_total_count, value, mask)
        return SizeTerms(*rows)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        total = self.log_total_count.exp().expand(self.log_mean.shape).contiguous()
        return noise.poisson(noise.gamma(total) * (self.log_mean - self.log_total_count).exp())


class ZeroInflated(Distribution):
    """Counts of ``base``, or 0 with the probability that ``logits`` give beforehand."""

    def __init__(self, base: Distribution, logits: Tensor):
        self.base: Any = base
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return (-self.logits).sigmoid() * self.base.mean

    def log_prob(self, value: Tensor) -> Tensor:
        counted = self.base.log_prob(value)
        either = softplus(counted - self.logits) - softplus(-self.logits)
        return torch.where(value == 0, either, counted - softplus(self.logits))

    def scaled(self, log_size: Tensor) -> ZeroInflated:
        """The same with all means times ``exp(log_size)``."""
        return ZeroInflated(self.base.scaled(log_size), self.logits)

    def size_terms(self, value: Tensor, mask: Tensor | None) -> SizeTerms:
        """What rows say about a factor that all means share.

        The curvature is that of the counts without what a zero says about its own origin.
        """
        # Outside of no_grad, so that a step of training does not look for large counts.
        counted = (self.base.log_prob(value) - self.logits).detach()
        with torch.no_grad():
            slope, curvature = self.base.size_slopes(value)
            share = torch.where(value == 0, counted.sigmoid(), 1.0)
            slope, curvature = (observed_sum(share * t, mask) for t in (slope, curvature))
        return SizeTerms(self.log_prob_rows(value, mask), slope, curvature)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        counts = self.base.sample(noise)
        zero = noise.uniform(*counts.shape[1:]) < self.logits.sigmoid()
        return counts.masked_fill(zero, 0.0)


def _poisson(value: Tensor, log_rate: Tensor) -> Tensor:
    return value * log_rate - log_rate.exp() - torch.lgamma(value + 1)


def _log_prob(of_cells: Any, value: Tensor, *parameters: Tensor) -> Tensor:
    """Log-probability of cells; in training, which follows its slope, as float32 gives it."""
    found = of_cells(value, *parameters)
    if torch.is_grad_enabled() or not counts_exactly(found):
        return found
    return with_exact_large(found, value, None, of_cells, *parameters)
