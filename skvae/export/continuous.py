"""Likelihoods of continuous columns in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln

from ..likelihoods import Normal, NormalMixture, StudentT
from .arrays import HALF_LOG_2PI, array_of, softplus
from .likelihoods import LIKELIHOODS, Block


@LIKELIHOODS.of(Normal)
class Normals(Block):
    """Normals with one noise for all rows."""

    point = property(lambda self: self.parameters)

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        self.log_scale = array_of(part.log_scale())

    def residual(self, values):
        """Cells minus what is expected, in units of the noise."""
        return (values - self.parameters) * np.exp(-self.log_scale)

    def log_prob(self, values):
        z = self.residual(values)
        return z * z * -0.5 - (self.log_scale + np.float32(HALF_LOG_2PI))


@LIKELIHOODS.of(StudentT)
class StudentTs(Normals):
    """Student's t, likewise."""

    def log_prob(self, values):
        z, df = self.residual(values), float(self.part.df)
        constant = gammaln(0.5 * (df + 1)) - gammaln(0.5 * df) - 0.5 * np.log(df * np.pi)
        tails = (z * z / df + 1.0).log() * (-0.5 * (df + 1))
        return tails + (np.float32(constant) - self.log_scale)


@LIKELIHOODS.of(NormalMixture)
class Mixtures(Block):
    """A mixture of normals in each cell."""

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        shape = len(part.sizes), 3, part.n_mixture_components
        wide = parameters.shaped(0, 0, 0, *shape).parts([1, 1, 1], -2)
        self.loc, raw, logits = (x.squeezed(-2) for x in wide)
        self.log_weights = logits.apply("LogSoftmax", axis=-1)
        self.log_scale = (softplus(raw) + self.floor(part)).log()

    def floor(self, part) -> Any:
        """Smallest noise."""
        return part.min_scale

    @property
    def point(self):
        return (self.log_weights.exp() * self.loc).sum(-1)

    def log_prob(self, values):
        z = (values.expanded(-1) - self.loc) * (-self.log_scale).exp()
        terms = self.log_weights - self.log_scale - z * z * 0.5
        return terms.log_sum_exp(-1) - HALF_LOG_2PI
