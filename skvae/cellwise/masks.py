"""Which cells are hidden when each is to be told from the others."""

from __future__ import annotations

import torch
from torch import Tensor

from ..noise import Noise
from ..synthesis.masks import UniformMask

# Half of the rows hide one cell, and each other one at the rate of so many per row.
FEW = 1.5


class LeaveOutMask(UniformMask):
    """One cell of a row is hidden, and few or any number of the others."""

    def forward(self, seen: Tensor, noise: Noise) -> Tensor:
        """Thin ``seen (members, 1, rows, columns)``, 1 or 0."""
        n_rows, n_columns = seen.shape[-2:]
        uniform = noise.uniform(1, n_rows, n_columns + 2)
        cells, rate, choice = uniform.split([n_columns, 1, 1], -1)
        rate = torch.where(choice < 0.5, FEW / n_columns, rate)
        return _thinned(seen, cells, rate)

    def fixed(self, seen: Tensor) -> Tensor:
        """The same masks whenever they are asked for, with few hidden cells."""
        n_rows, n_columns = seen.shape[-2:]
        generator = torch.Generator().manual_seed(0)
        cells = torch.rand(n_rows, n_columns, generator=generator).to(seen.device)
        return _thinned(seen, cells, FEW / n_columns)


def _thinned(seen: Tensor, cells: Tensor, rate: Tensor | float) -> Tensor:
    """Hide the cells below a rate, and the observed one of the smallest number."""
    cells = torch.where(seen > 0, cells, 2.0)
    return seen * ((cells >= rate) & (cells > cells.amin(-1, keepdim=True)))
