"""Held-out cells: every member of an ensemble is judged by cells that it alone never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch
from ..training import Rows

# What no member holds out.
KEPT = -1


def cell_folds(mask: np.ndarray, n_folds: int, share: float, rng) -> np.ndarray:
    """Number of the fold that holds each cell out, ``KEPT`` for the others.

    Parameters
    ----------
    mask : ndarray of bool (rows, columns)
        Which cells are observed.
    n_folds : int
        Number of folds, which are disjoint.
    share : float
        Share of each column's observed cells in a fold; one cell at least is held out.
    rng : RandomState

    Returns
    -------
    ndarray of int8 (rows, columns)
    """
    folds = np.full(mask.shape, KEPT, dtype=np.int8)
    for j, seen in enumerate(mask.T):
        rows = rng.permutation(np.flatnonzero(seen))
        size = share * len(rows)
        first = rng.uniform() * min(size * n_folds, 1.0)
        fold = np.floor((np.arange(len(rows)) + first) / size)
        folds[rows, j] = np.where(fold < n_folds, fold, KEPT)
    return folds


@dataclass
class CellRows(Rows):
    """A resident table of which every member may see other cells.

    The rows of member ``e`` are ``e * n .. (e + 1) * n``; ``n_members * n`` further on stand
    the same rows with the held-out cells as targets.  ``inputs`` are the cells that may be
    shown.
    """

    n_rows: int = 0

    @classmethod
    def of(cls, values: np.ndarray, mask: np.ndarray, folds: np.ndarray, n_members: int, device):
        """Lay the table out for ``n_members``."""
        held_out = np.stack([folds == e for e in range(n_members)])
        seen = (mask & ~held_out).reshape(-1, mask.shape[1])
        targets = np.concatenate([seen, held_out.reshape(seen.shape)])
        return cls(
            inputs=torch.as_tensor(seen.astype(np.float32), device=device),
            values=torch.as_tensor(values, device=device),
            mask=torch.as_tensor(targets, device=device),
            weights=None,
            n_rows=len(values),
        )

    def take(self, index: Tensor) -> Batch:
        """Gather rows ``index (members, rows)``."""
        flat, shape = index.reshape(-1), (index.shape[0], 1, index.shape[1], -1)
        values = self.values.index_select(0, flat % self.n_rows).view(shape)
        inputs = self.inputs.index_select(0, flat % len(self.inputs)).view(shape)
        assert self.mask is not None
        return Batch(inputs, values, self.mask.index_select(0, flat).view(shape), None)
