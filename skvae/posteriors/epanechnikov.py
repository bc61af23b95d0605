"""A posterior of compact support."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import distributions
from ._base import LOG_SCALE_BOUND
from .normal import DiagonalNormal


class Epanechnikov(DiagonalNormal):
    """Independent Epanechnikov densities per latent: parabolas that end at sqrt(5) deviations.

    No draw in training lies farther from the location.  For scores, the encoder proposes codes
    by the normal of the same mean and standard deviation, as one that leaves out a part of
    code space would give less than log p(x).

    Examples
    --------
    >>> from skvae.posteriors import Epanechnikov
    >>> Epanechnikov()
    Epanechnikov()

    References
    ----------
    Qin and Huang, On Kernel-based Variational Autoencoder, 2024, for the kernel; its
    divergence from N(0, 1) is here the exact one.
    """

    def as_trained(self, parameters: Tensor) -> distributions.Epanechnikov:
        """The densities as the encoder gives them."""
        loc, raw = parameters.chunk(2, -1)
        return distributions.Epanechnikov(loc, LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND))
