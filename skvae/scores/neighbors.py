"""Distances to the nearest reference rows, a row itself left out."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

# Candidates beyond those asked for: the search rounds, what is kept of it does not.
SPARE = 2
# Numbers that are compared at once.
AT_ONCE = 1 << 22
# A tree is searched where there are few columns, all pairs where there are many.
TREE_COLUMNS = 10


class Neighbors:
    """The rows that others are compared with.

    The distances are computed again, row by row, from the neighbours that scikit-learn finds,
    so that they have the same bits in whatever company a row is asked for.

    Parameters
    ----------
    n_neighbors : int
        Neighbours per row, fewer where there are not so many.
    """

    def __init__(self, n_neighbors: int):
        self.n_neighbors = n_neighbors

    def fit(self, rows: np.ndarray) -> Neighbors:
        """Keep ``rows (n_reference, n_columns)``."""
        self.rows_ = rows
        # One for the row itself.
        n = min(self.n_neighbors + 1 + SPARE, len(rows))
        algorithm = "auto" if rows.shape[1] <= TREE_COLUMNS else "brute"
        self.search_ = NearestNeighbors(n_neighbors=n, algorithm=algorithm).fit(rows)
        return self

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sorted distances ``(n_rows, n_neighbors)`` and places of the neighbours."""
        n = self.search_.n_neighbors
        k = max(min(self.n_neighbors, n - 1), 1)
        distances = np.empty((len(rows), k))
        places = np.empty((len(rows), k), dtype=np.intp)
        step = max(AT_ONCE // (n * max(rows.shape[1], 1)), 1)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            distances[part], places[part] = self._part(rows[part], k)
        return distances, places

    def _part(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.search_.kneighbors(rows, return_distance=False)
        apart = self.rows_[found] - rows[:, None]
        exact = np.sqrt(np.einsum("nkc,nkc->nk", apart, apart))
        order = np.lexsort((found, exact), axis=-1)
        exact = np.take_along_axis(exact, order, 1)
        found = np.take_along_axis(found, order, 1)
        # A row of the reference finds itself first.
        first = ((exact[:, 0] == 0) & (found.shape[1] > k)).astype(np.intp)
        kept = first[:, None] + np.arange(k)
        return np.take_along_axis(exact, kept, 1), np.take_along_axis(found, kept, 1)
