"""Likelihoods of binary, categorical and count columns."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ._base import Likelihood


class Bernoulli(Likelihood):
    """Binary cells; numeric columns between 0 and 1 are taken as probabilities of a 1.

    Examples
    --------
    >>> from skvae.likelihoods import Bernoulli
    >>> Bernoulli()
    Bernoulli()
    """

    kind = "binary"

    def start(self, mean: Tensor) -> Tensor:
        """Log-odds of the mean."""
        return mean.clamp(1e-3, 1 - 1e-3).logit()

    def forward(self, parameters: Tensor) -> distributions.Bernoulli:
        """Give a Bernoulli per cell."""
        return distributions.Bernoulli(parameters)


class Categorical(Likelihood):
    """Categorical cells, one softmax per column.

    Examples
    --------
    >>> from skvae.likelihoods import Categorical
    >>> Categorical()
    Categorical()
    """

    kind = "categorical"

    def build(self, shapes: Shapes, noise: Noise) -> Categorical:
        """Lay out the logits of all columns as one padded matrix."""
        super().build(shapes, noise)
        index = torch.zeros(len(self.sizes), max(self.sizes), dtype=torch.long)
        padding = torch.ones_like(index, dtype=torch.bool)
        start = 0
        for column, size in enumerate(self.sizes):
            index[column, :size] = torch.arange(start, start + size)
            padding[column, :size] = False
            start += size
        members = noise.n_members
        self.register_buffer("index", index.expand(members, -1, -1).to(noise.device))
        self.register_buffer("padding", padding.expand(members, -1, -1).to(noise.device))
        return self

    @property
    def n_parameters(self) -> int:
        """One logit per category of each column."""
        return sum(self.sizes)

    def expand(self, values: Tensor) -> Tensor:
        """One-hot cells, the categories of all columns side by side."""
        columns = zip(values.long().unbind(-1), self.sizes)
        return torch.cat([F.one_hot(codes, size) for codes, size in columns], -1).to(values.dtype)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column once per category."""
        return columns.repeat_interleave(torch.tensor(self.sizes, device=columns.device), -1)

    def start(self, mean: Tensor) -> Tensor:
        """Logarithm of the shares of the categories."""
        return mean.clamp_min(1e-4).log()

    def forward(self, parameters: Tensor) -> distributions.Categorical:
        """Give a categorical per cell."""
        logits = parameters[..., self.index[0]]
        return distributions.Categorical(logits.masked_fill(self.padding[0], -math.inf))


class _Count(Likelihood):
    kind = "count"

    def start(self, mean: Tensor) -> Tensor:
        """Logarithm of the mean."""
        return mean.clamp_min(1e-4).log()


class Poisson(_Count):
    """Counts whose variance equals their mean.

    Examples
    --------
    >>> from skvae.likelihoods import Poisson
    >>> Poisson()
    Poisson()
    """

    def forward(self, parameters: Tensor) -> distributions.Poisson:
        """Give a Poisson per cell."""
        return distributions.Poisson(_bounded_log(parameters))


class NegativeBinomial(_Count):
    """Counts with more variance than their mean; one learned dispersion per column.

    Examples
    --------
    >>> from skvae.likelihoods import NegativeBinomial
    >>> NegativeBinomial()
    NegativeBinomial()

    References
    ----------
    Lopez et al., Deep generative modeling for single-cell transcriptomics, 2018.
    """

    def build(self, shapes: Shapes, noise: Noise) -> NegativeBinomial:
        """Create the log of ``total_count``, the inverse dispersion, per column."""
        super().build(shapes, noise)
        shape = (1, 1, len(self.sizes))
        self.log_total_count = self.weight(
            noise, lambda g: torch.zeros(shape, device=noise.device)
        )
        return self

    def forward(self, parameters: Tensor) -> distributions.NegativeBinomial:
        """Give a negative binomial per cell."""
        total = self.log_total_count.clamp(-10.0, 15.0)
        return distributions.NegativeBinomial(_bounded_log(parameters), total)


def _bounded_log(log_mean: Tensor) -> Tensor:
    # exp(60) is far beyond any count and far below what overflows float32.
    return log_mean.clamp_max(60.0)
