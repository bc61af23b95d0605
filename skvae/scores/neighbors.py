"""Distances to the nearest reference rows, a row itself left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

# Candidates beyond those asked for: the search rounds, what is kept of it does not.
SPARE = 2
# Numbers that are compared at once.
AT_ONCE = 1 << 22
# Pairs whose distances stay in the cache.
PAIRS_AT_ONCE = 1 << 18
# A tree is searched where there are few columns, all pairs where there are many.
TREE_COLUMNS = 10


class Nearest(NamedTuple):
    """The nearest of the reference rows.

    Parameters
    ----------
    distances : ndarray (n_rows, n_neighbors)
        In rising order.
    places : ndarray of int (n_rows, n_neighbors)
        Which rows of the reference these are.
    itself : ndarray of int (n_rows,)
        Where in the reference the row itself is, which is not among them, or -1.
    """

    distances: np.ndarray
    places: np.ndarray
    itself: np.ndarray

    def mean_distance(self, n: int, noise: np.ndarray) -> np.ndarray:
        """Mean over the ``n`` nearest ``(n_rows,)``, where what is within ``noise`` is 0."""
        return _mean(self.distances[:, :n], noise)


def mean_distance(rows: np.ndarray, sample: np.ndarray, n: int, noise: np.ndarray) -> np.ndarray:
    """Mean distance to the ``n`` nearest rows of a sample, a row itself left out.

    All pairs are compared: for an ``n`` that is a good share of a sample that is small.

    Parameters
    ----------
    rows : ndarray (n_rows, n_columns)
    sample : ndarray (n_sampled, n_columns)
    n : int
    noise : ndarray (n_rows,)
        Distances that are nothing but rounding.

    Returns
    -------
    mean : ndarray (n_rows,)
    """
    found, step = np.empty(len(rows)), max(PAIRS_AT_ONCE // len(sample), 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        apart = cdist(rows[part], sample)
        if len(sample) > n:
            nearest = apart.argmin(1)
            itself = np.flatnonzero(apart[np.arange(len(apart)), nearest] == 0)
            apart[itself, nearest[itself]] = np.inf
            apart.partition(n - 1, axis=1)
        found[part] = _mean(apart[:, :n], noise[part])
    return found


def _mean(distances: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.where(distances > noise[:, None], distances, 0.0).mean(1)


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
        self.squares_ = np.einsum("nc,nc->n", rows, rows)
        # One for the row itself.
        n = min(self.n_neighbors + 1 + SPARE, len(rows))
        self.n_kept = max(min(self.n_neighbors, n - 1), 1)
        algorithm = "auto" if rows.shape[1] <= TREE_COLUMNS else "brute"
        self.search_ = NearestNeighbors(n_neighbors=n, algorithm=algorithm).fit(rows)
        return self

    def __call__(self, rows: np.ndarray) -> Nearest:
        """The nearest of the reference to each of these rows."""
        n = self.search_.n_neighbors
        step = max(AT_ONCE // (n * max(rows.shape[1], 1)), 1)
        starts = range(0, max(len(rows), 1), step)
        parts = [self._part(rows[start : start + step]) for start in starts]
        return Nearest(*(np.concatenate(each) for each in zip(*parts)))

    def _part(self, rows: np.ndarray) -> Nearest:
        found = self.search_.kneighbors(rows, return_distance=False)
        n, k = found.shape[1], self.n_kept
        apart = self.rows_[found]
        apart -= rows[:, None]
        exact = np.sqrt(np.einsum("nkc,nkc->nk", apart, apart))
        order = np.lexsort((found, exact), axis=-1)
        exact = np.take_along_axis(exact, order, 1)
        found = np.take_along_axis(found, order, 1)
        # A row of the reference finds itself first.
        first = (exact[:, 0] == 0) & (n > k)
        kept = first[:, None] + np.arange(k)
        itself = np.where(first, found[:, 0], -1)
        return Nearest(
            np.take_along_axis(exact, kept, 1), np.take_along_axis(found, kept, 1), itself
        )

    def mean_of(
        self, values: np.ndarray, rows: np.ndarray, near: Nearest, n: int, noise: np.ndarray
    ) -> np.ndarray:
        """Mean of a value of the ``n`` nearest rows, those as far as the last of them alike.

        Which of many rows at one distance are found is a matter of rounding, so that each of
        them counts by the share of them that belongs to the ``n``.

        Parameters
        ----------
        values : ndarray (n_reference,)
            Of each row of the reference.
        rows : ndarray (n_rows, n_columns)
        near : Nearest
            Of these rows, one more than ``n`` where the reference has so many.
        n : int
        noise : ndarray (n_rows,)
            Distances that differ by no more are equal.

        Returns
        -------
        mean : ndarray (n_rows,)
        """
        n_found = near.distances.shape[1]
        n = min(n, n_found)
        mean = values[near.places[:, :n]].mean(1)
        last, next_one = near.distances[:, n - 1], near.distances[:, min(n, n_found - 1)]
        tied = np.flatnonzero(next_one <= last + noise)
        step = max(AT_ONCE // len(self.rows_), 1)
        for start in range(0, len(tied), step):
            part = tied[start : start + step]
            mean[part] = self._mean_of_tied(
                values, rows[part], near.itself[part], n, last[part, None], noise[part, None]
            )
        return mean

    def _mean_of_tied(self, values, rows, itself, n: int, last, noise) -> np.ndarray:
        square = np.einsum("nc,nc->n", rows, rows)[:, None]
        # Of equal rows it is a rounded 0, which may lie below 0.
        apart = np.maximum(square + self.squares_ - 2.0 * (rows @ self.rows_.T), 0.0)
        known = np.flatnonzero(itself >= 0)
        apart[known, itself[known]] = np.inf
        nearer = apart < np.maximum(last - noise, 0.0) ** 2
        alike = (apart <= (last + noise) ** 2) & ~nearer
        total, among = (np.where(part, values, 0.0).sum(1) for part in (nearer, alike))
        n_left = n - np.count_nonzero(nearer, axis=1)
        return (total + n_left * among / np.count_nonzero(alike, axis=1)) / n
