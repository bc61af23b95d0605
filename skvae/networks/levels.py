"""What networks that know the place of every cell have in common: a level of each cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._component import Component, Shapes
from ..noise import Noise
from ._base import Network


class CellDecoder(Component):
    """Base of the decoders that read cells off their places and add a level of each.

    Their ``unfolding`` says which number is which column's.
    """

    def build(self, shapes: Shapes, noise: Noise) -> CellDecoder:
        """Create the levels of the cells, 0 at first."""
        n_decoded = self.unfolding.target.shape[1]
        zeros = torch.zeros(noise.n_members, 1, 1, n_decoded, device=noise.device)
        self.bias_cells = nn.Parameter(zeros)
        return self


class CellNetwork(Network):
    """Base of the networks whose ``decoder`` is a ``CellDecoder``."""

    @torch.no_grad()
    def start_offset(self, offset: Tensor) -> None:
        """Set the levels of the cells."""
        self.decoder.bias_cells[:, 0, 0] = offset

    def conditions_of(self, inputs: Tensor) -> Tensor:
        """Those of the inputs that are conditions."""
        return inputs[..., self.n_inputs - self.n_conditions : self.n_inputs]

    def decode(self, z: Tensor) -> Tensor:
        """Run the decoder."""
        return self.decoder(z)
