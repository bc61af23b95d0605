"""Which of its observed cells a row shows in a step of training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._component import Component
from ..noise import Noise

# Shares of hidden cells are uniform from 0 to here where nothing tells of gaps.
MOST_HIDDEN = 0.8


def some_hidden(mask: np.ndarray, rng) -> np.ndarray:
    """Thin a mask ``(rows, columns)`` at a random rate per row, as new rows may be."""
    rate = MOST_HIDDEN * rng.uniform(size=(len(mask), 1))
    return mask & (rng.uniform(size=mask.shape) >= rate)


class RandomMask(Component):
    """Hide cells at a random rate per row, or those that another row lacks.

    The first half meets every visible set sooner or later, the second those that the table
    really has.

    Parameters
    ----------
    highest_rate : float, default=1.0
        Rates are uniform from 0 to here.
    kept : float, default=0.85
        Share of the cells of another row's pattern that are kept.
    """

    def __init__(self, highest_rate=1.0, kept=0.85):
        super().__init__()
        self.highest_rate = highest_rate
        self.kept = kept

    def forward(self, seen: Tensor, noise: Noise) -> Tensor:
        """Thin ``seen (members, 1, rows, columns)``, 1 or 0."""
        n_rows, n_columns = seen.shape[-2:]
        uniform = noise.uniform(1, n_rows, n_columns + 2)
        cells, rate, choice = uniform.split([n_columns, 1, 1], -1)
        by_rate = cells > self.highest_rate * rate
        # Rows come in random order: the neighbour is a random other row.
        by_pattern = (seen.roll(1, -2) > 0) & (cells < self.kept)
        return seen * torch.where(choice < 0.5, by_rate, by_pattern)
