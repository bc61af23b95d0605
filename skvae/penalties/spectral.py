"""A penalty on how steep each layer of both halves of a network can be."""

from __future__ import annotations

from torch import Tensor

from .._pass import Pass
from ..noise import Noise
from ._base import WeightedPenalty
from .decoder import largest_square

# Below this the root of a square has no slope.
SMALLEST_SQUARE = 1e-12


class SpectralNorm(WeightedPenalty):
    """Largest singular values of all weight matrices, encoder and decoder: that of NVAE.

    Deep networks between groups of latents can turn a small change of a row into a large one of
    its codes, whose KL then has no bound.  This keeps each layer from it.  A convolution counts
    as the matrix of its kernels.

    Parameters
    ----------
    weight : float, default=0.01
        Nats per row for singular values whose sum is 1.

    Examples
    --------
    >>> from skvae.penalties import SpectralNorm
    >>> SpectralNorm(0.1)
    SpectralNorm(weight=0.1)

    References
    ----------
    Vahdat and Kautz, NVAE: A Deep Hierarchical Variational Autoencoder, 2020; Yoshida and
    Miyato, Spectral Norm Regularization, 2017.
    """

    decodes = rows_apart = True

    def __init__(self, weight=0.01):
        super().__init__()
        self.weight = weight

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Sum of the largest singular values, ``(members,)``."""
        named = step.model.network.named_parameters()
        squares = [largest_square(w.flatten(2)) for name, w in named if "weight_" in name]
        return sum(square.clamp_min(SMALLEST_SQUARE).sqrt() for square in squares)  # type: ignore[return-value]
