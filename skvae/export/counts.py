"""Likelihoods of counts in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln

from ..exceptions import ExportError
from ..likelihoods import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from .arrays import HALF_LOG_2PI, array_of, softplus
from .graph import Value
from .likelihoods import LIKELIHOODS, Block
from .sizes import Sizes

# From here on Stirling's series of so many terms has all digits of float64.
SHIFT = 8
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
LARGEST_LOG = 60.0


def log_gamma(x: Value) -> Value:
    """Logarithm of the gamma function of positive numbers in float64."""
    product = x
    for i in range(1, SHIFT):
        product = product * (x + float(i))
    y = x + float(SHIFT)
    inverse = 1.0 / y
    square = inverse * inverse
    series = y * 0.0
    for factor in reversed(STIRLING):
        series = series * square + factor
    return (y - 0.5) * y.log() - y + HALF_LOG_2PI + series * inverse - product.log()


class _Counts(Block):
    """Counts of means that the decoder gives the logarithms of; sums are in float64."""

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        log_means = self.log_means(parameters)
        if part.has_sizes:
            log_means = log_means.apply("LogSoftmax", axis=-1)
        self.log_mean = log_means.at_most(LARGEST_LOG).cast(np.float64)
        self.sizes = Sizes(self) if part.has_sizes else None

    def log_means(self, parameters: Value) -> Value:
        return parameters

    @property
    def point(self):
        found = self.mean(self.log_mean) if self.sizes is None else self.sizes.point
        return found.cast(np.float32)

    @property
    def expectation(self):
        if self.sizes is not None:
            raise ExportError(
                f"The likelihood {self.part!r} fills gaps by the size of their row, which cannot "
                f"be exported. Fit with {type(self.part).__name__}(row_sizes=False), or export "
                "other methods."
            )
        return self.point

    def log_prob(self, values):
        wide = values.cast(np.float64)
        if self.sizes is None:
            return self.counted(wide, self.log_mean)
        return self.sizes.log_prob(wide)

    def log_prob_rows(self, values, mask):
        if self.sizes is None:
            return super().log_prob_rows(values, mask)
        return self.sizes.log_prob_rows(values.cast(np.float64), mask).cast(np.float32)

    def mean(self, log_mean: Value) -> Value:
        """Means by the logarithms of those of what is counted."""
        return log_mean.exp()

    def counted(self, values: Value, log_mean: Value) -> Value:
        """Log-probability of counts."""
        raise NotImplementedError

    def slopes(self, values: Value, log_mean: Value) -> tuple[Value, Value]:
        """First derivative of it by ``log_mean``, and minus the second one."""
        raise NotImplementedError


@LIKELIHOODS.of(Poisson)
class Poissons(_Counts):
    """Counts whose variance is their mean."""

    def counted(self, values, log_mean):
        return values * log_mean - log_mean.exp() - log_gamma(values + 1.0)

    def slopes(self, values, log_mean):
        mean = log_mean.exp()
        return values - mean, mean


@LIKELIHOODS.of(NegativeBinomial)
class NegativeBinomials(_Counts):
    """Counts of more variance."""

    @property
    def log_total(self) -> np.ndarray:
        """Logarithm of the inverse dispersion of each column."""
        return array_of(self.part.log_total_count).clip(-10.0, 15.0).astype(np.float64)

    def counted(self, values, log_mean):
        total = np.exp(self.log_total)
        ratio = log_mean - self.log_total
        rising = log_gamma(values + total) - gammaln(total) - log_gamma(values + 1.0)
        return rising + values * ratio - (values + total) * softplus(ratio)

    def slopes(self, values, log_mean):
        ratio = log_mean - self.log_total
        n = values + np.exp(self.log_total)
        share = ratio.apply("Sigmoid")
        return values - n * share, n * share * (-ratio).apply("Sigmoid")


class _ZeroInflated(_Counts):
    def log_means(self, parameters: Value) -> Value:
        n = len(self.part.sizes)
        means, logits = parameters.shaped(0, 0, 0, n, 2).parts([1, 1])
        self.logits = logits.squeezed(-1).cast(np.float64)
        return means.squeezed(-1)

    def mean(self, log_mean):
        return (-self.logits).apply("Sigmoid") * log_mean.exp()

    def counted(self, values, log_mean):
        counted: Any = super().counted(values, log_mean)
        either = softplus(counted - self.logits) - softplus(-self.logits)
        return self.graph.where(values.equals(0.0), either, counted - softplus(self.logits))

    def slopes(self, values, log_mean):
        counted: Any = super().counted(values, log_mean)
        by_chance = (counted - self.logits).apply("Sigmoid")
        share = self.graph.where(values.equals(0.0), by_chance, 1.0)
        slope, curvature = super().slopes(values, log_mean)
        return share * slope, share * curvature


@LIKELIHOODS.of(ZeroInflatedPoisson)
class ZeroInflatedPoissons(_ZeroInflated, Poissons):
    """Poisson counts, or 0."""


@LIKELIHOODS.of(ZeroInflatedNegativeBinomial)
class ZeroInflatedNegativeBinomials(_ZeroInflated, NegativeBinomials):
    """Negative binomial counts, or 0."""
