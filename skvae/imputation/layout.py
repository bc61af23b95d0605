"""Tables with one number per parameter: a numeric cell, or each category of a column."""

from __future__ import annotations

import numpy as np


class Layout:
    """Which parameters belong to which modelled column.

    Parameters
    ----------
    blocks : tuple of (str, tuple of int)
        The columns grouped by kind, with their numbers of categories.
    ordered : sequence of int, default=()
        Columns of categories in an order.
    """

    # Files of earlier versions know of no order.
    ordered: tuple[int, ...] = ()

    def __init__(self, blocks, ordered=()):
        self.ordered = tuple(ordered)
        pairs = [(kind, size) for kind, sizes in blocks for size in sizes]
        self.kinds = [kind for kind, _ in pairs]
        self.sizes = [size for _, size in pairs]
        edges = np.cumsum([0, *self.sizes]).tolist()
        self.slices = [slice(a, b) for a, b in zip(edges, edges[1:])]
        self.width, self.n_columns = edges[-1], len(pairs)
        self.numeric = [j for j, kind in enumerate(self.kinds) if kind != "categorical"]
        self.categorical = [j for j, kind in enumerate(self.kinds) if kind == "categorical"]

    def expand(self, values: np.ndarray) -> np.ndarray:
        """Cells ``(rows, columns)`` as ``(rows, width)``: categories become one-hot."""
        out = np.zeros((len(values), self.width))
        for j in self.numeric:
            out[:, self.slices[j].start] = values[:, j]
        for j in self.categorical:
            codes = self.slices[j].start + values[:, j].astype(np.intp)
            out[np.arange(len(values)), codes] = 1.0
        return out

    def repeat(self, mask: np.ndarray) -> np.ndarray:
        """A mask of cells as one of parameters."""
        return np.repeat(mask, self.sizes, axis=1)

    def point(self, expanded: np.ndarray) -> np.ndarray:
        """The best value of each cell: the mean, the likeliest category, or the median level."""
        out = np.empty((len(expanded), self.n_columns))
        for j in self.numeric:
            out[:, j] = expanded[:, self.slices[j].start]
        for j in self.categorical:
            shares = expanded[:, self.slices[j]]
            out[:, j] = _median(shares) if j in self.ordered else shares.argmax(1)
        return out


def _median(shares: np.ndarray) -> np.ndarray:
    """The first level that, with those below it, has half of the probability."""
    upto = shares.cumsum(1)
    # The likeliest level can be far from all others; no level is nearer to them than this one.
    return np.minimum((2.0 * upto < upto[:, -1:]).sum(1), shares.shape[1] - 1)
