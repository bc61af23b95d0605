"""Likelihoods of counts."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ._base import Likelihood


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
