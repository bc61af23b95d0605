"""Normal posteriors, and those that are points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._component import Shapes
from ..distributions import Delta, Distribution, EncodedNormal, Normal
from ..noise import Noise
from ._base import LOG_SCALE_BOUND, Posterior

# Of the bound that a scale may start at: that which it cannot reach has no place to start.
LARGEST_SHARE = 0.99


class DiagonalNormal(Posterior):
    """Independent normals per latent, ``q(z|x) = N(loc(x), scale(x)^2)``.

    Examples
    --------
    >>> from skvae.posteriors import DiagonalNormal
    >>> DiagonalNormal()
    DiagonalNormal()

    References
    ----------
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014.
    """

    moves = True

    @property
    def closed_form(self) -> float | None:
        """The bound of the log-scale."""
        return LOG_SCALE_BOUND if type(self) is DiagonalNormal else None

    def build(self, shapes: Shapes, noise: Noise) -> DiagonalNormal:
        """Create the factor that calibration fits; it is 1 until then."""
        zeros = torch.zeros(noise.n_members, 1, 1, 1, device=noise.device)
        self.register_buffer("log_factor", zeros)
        return self

    def n_parameters(self, shapes: Shapes) -> int:
        """Location and log-scale of each latent."""
        return 2 * shapes.n_components

    def forward(self, parameters: Tensor) -> Distribution:
        """Turn encoder outputs into normals."""
        encoded = self.as_trained(parameters)
        if self.training:
            return encoded
        return Normal(encoded.loc, encoded.log_scale + self.log_factor)

    def as_trained(self, parameters: Tensor) -> Any:
        """The normals as the encoder gives them."""
        return EncodedNormal(parameters, LOG_SCALE_BOUND)

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Location linear in the inputs, the same scale for every row."""
        # Member by member: the vectors of one atanh would fall differently in a stack.
        squashed = (log_scale / LOG_SCALE_BOUND).clamp(-LARGEST_SHARE, LARGEST_SHARE).unbind()
        raw = LOG_SCALE_BOUND * torch.stack([torch.atanh(member) for member in squashed])
        weights = torch.cat([matrix, torch.zeros_like(matrix)], -1)
        return weights, torch.cat([offset, raw], -1)

    def calibrate(self, log_factor: Tensor) -> None:
        """Multiply the scales by ``exp(log_factor)`` after training."""
        self.log_factor.copy_(log_factor.view_as(self.log_factor))

    def uncalibrate(self) -> None:
        """Go back to the scales of training."""
        self.log_factor.zero_()


class Deterministic(Posterior):
    """A point code: the encoder of an autoencoder, without a density over codes.

    Examples
    --------
    >>> from skvae.posteriors import Deterministic
    >>> Deterministic()
    Deterministic()

    References
    ----------
    Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
    """

    has_density = False
    moves = True

    def n_parameters(self, shapes: Shapes) -> int:
        """Location of each latent."""
        return shapes.n_components

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Location linear in the inputs."""
        return matrix, offset

    def forward(self, parameters: Tensor) -> Delta:
        """Turn encoder outputs into points."""
        return Delta(parameters)
