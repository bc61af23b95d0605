"""Which cells are visible when a row is met at a random moment of being drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from .._component import Component
from ..noise import Noise


class UniformMask(Component):
    """Every observed cell is visible at a rate that is drawn anew for each row.

    So as many cells are visible as at any step of drawing a row cell by cell, in any order.
    """

    def __init__(self):
        super().__init__()

    def forward(self, seen: Tensor, noise: Noise) -> Tensor:
        """Thin ``seen (members, 1, rows, columns)``, 1 or 0."""
        n_rows, n_columns = seen.shape[-2:]
        cells, rate = noise.uniform(1, n_rows, n_columns + 1).split([n_columns, 1], -1)
        return seen * (cells >= rate)

    def fixed(self, seen: Tensor) -> Tensor:
        """The same masks whenever they are asked for, so that epochs compare."""
        n_rows, n_columns = seen.shape[-2:]
        generator = torch.Generator().manual_seed(0)
        rate = (torch.arange(n_rows) + 0.5)[:, None] / n_rows
        cells = torch.rand(n_rows, n_columns, generator=generator)
        return seen * (cells >= rate).to(seen.device)
