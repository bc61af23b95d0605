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
from .arrays import array_of, softplus
from .graph import Value
from .likelihoods import LIKELIHOODS, Block

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
    half_log_2pi = 0.5 * np.log(2.0 * np.pi)
    return (y - 0.5) * y.log() - y + half_log_2pi + series * inverse - product.log()


class _Counts(Block):
    """Counts of means that the decoder gives the logarithms of; sums are in float64."""

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        if part.has_sizes:
            raise ExportError(
                f"The likelihood {part!r} integrates over the sizes of rows, which cannot be "
                f"exported. Fit with {type(part).__name__}(row_sizes=False), or export transform "
                "alone."
            )
        self.log_mean = self.log_means(parameters).at_most(LARGEST_LOG).cast(np.float64)

    def log_means(self, parameters: Value) -> Value:
        return parameters

    @property
    def point(self):
        return self.log_mean.exp().cast(np.float32)

    def log_prob(self, values):
        return self.counted(values.cast(np.float64))

    def counted(self, values: Value) -> Value:
        """Log-probability of counts in float64."""
        raise NotImplementedError


@LIKELIHOODS.of(Poisson)
class Poissons(_Counts):
    """Counts whose variance is their mean."""

    def counted(self, values):
        return values * self.log_mean - self.log_mean.exp() - log_gamma(values + 1.0)


@LIKELIHOODS.of(NegativeBinomial)
class NegativeBinomials(_Counts):
    """Counts of more variance."""

    def counted(self, values):
        log_total = array_of(self.part.log_total_count).clip(-10.0, 15.0).astype(np.float64)
        total = np.exp(log_total)
        ratio = self.log_mean - log_total
        rising = log_gamma(values + total) - gammaln(total) - log_gamma(values + 1.0)
        return rising + values * ratio - (values + total) * softplus(ratio)


class _ZeroInflated(_Counts):
    def log_means(self, parameters: Value) -> Value:
        n = len(self.part.sizes)
        means, logits = parameters.shaped(0, 0, 0, n, 2).parts([1, 1])
        self.logits = logits.squeezed(-1).cast(np.float64)
        return means.squeezed(-1)

    @property
    def point(self):
        counted = (-self.logits).apply("Sigmoid") * self.log_mean.exp()
        return counted.cast(np.float32)

    def log_prob(self, values):
        wide = values.cast(np.float64)
        counted: Any = self.counted(wide)
        either = softplus(counted - self.logits) - softplus(-self.logits)
        return self.graph.where(wide.equals(0.0), either, counted - softplus(self.logits))


@LIKELIHOODS.of(ZeroInflatedPoisson)
class ZeroInflatedPoissons(_ZeroInflated, Poissons):
    """Poisson counts, or 0."""


@LIKELIHOODS.of(ZeroInflatedNegativeBinomial)
class ZeroInflatedNegativeBinomials(_ZeroInflated, NegativeBinomials):
    """Negative binomial counts, or 0."""
