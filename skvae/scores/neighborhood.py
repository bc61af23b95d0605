"""How far a row is from those nearby."""

from __future__ import annotations

from typing import Any

import numpy as np

from .neighbors import Nearest, Neighbors, mean_distance
from .spaces import Described, Space

# A share of so many rows, drawn at random, is as far away as that share of the table.
MOST_SAMPLED = 2_000
# Rows whose mean distance to this share of the table is so many robust deviations above the
# median are no reference for a table that may hold outliers.
TRIM_SHARE, TRIM_DEVIATIONS, FEWEST_TRIM_NEIGHBORS = 0.06, 3.0, 3
# Neighbours with which a density is compared.
RELATIVE_NEIGHBORS = 20


class Neighborhood:
    """Logarithms of mean distances to the nearest rows of a space, and those of these rows.

    The reference rows belong to the score that the neighbourhood is part of, and are handed to
    it again when it comes out of a file.

    Parameters
    ----------
    space : Space
    n_neighbors : tuple of int
        Neighbours that the mean is over, for each of the statistics.
    trimmed : bool, default=False
        Whether rows that are far from all others are left out of the reference.
    relative : bool, default=False
        Whether the distance is also compared with that of the neighbours themselves.

    References
    ----------
    Ramaswamy, Rastogi and Shim, Efficient Algorithms for Mining Outliers from Large Data Sets,
    2000; Breunig et al., LOF: Identifying Density-Based Local Outliers, 2000.
    """

    neighbors_: Any

    def __init__(
        self, space: Space, n_neighbors: tuple[int, ...], *, trimmed=False, relative=False
    ):
        self.space = space
        self.n_neighbors = n_neighbors
        self.trimmed = trimmed
        self.relative = relative

    def fit(self, reference: Described) -> Neighborhood:
        """Learn the space, and which rows are the reference."""
        self.fit_rows(reference)
        return self

    def fit_rows(self, reference: Described) -> list[np.ndarray]:
        """Fit, and give the statistics of the reference."""
        points = self.space.fit(reference)(reference)
        self.index_ = _ordinary(points, self.space.noise(points)) if self.trimmed else None
        self._search(points)
        near = self.neighbors_(points)
        if self.relative:
            noise = self.space.noise(points)
            own = _log(near.mean_distance(RELATIVE_NEIGHBORS, noise), noise)
            self.own_ = own if self.index_ is None else own[self.index_]
        return self._statistics(points, near)

    def open(self, reference: Described) -> None:
        """Make the reference ready to be searched."""
        self._search(self.space(reference))

    def _search(self, points: np.ndarray) -> None:
        # One more tells whether the last one is alone at its distance.
        n = max(RELATIVE_NEIGHBORS + 1 if self.relative else 1, *self.n_neighbors)
        self.neighbors_ = Neighbors(n).fit(points if self.index_ is None else points[self.index_])

    def __call__(self, rows: Described) -> list[np.ndarray]:
        """Statistics of rows, each higher for odder ones."""
        points = self.space(rows)
        return self._statistics(points, self.neighbors_(points))

    def _statistics(self, points: np.ndarray, near: Nearest) -> list[np.ndarray]:
        noise = self.space.noise(points)
        statistics = [_log(near.mean_distance(k, noise), noise) for k in self.n_neighbors]
        if self.relative:
            own = self.neighbors_.mean_of(self.own_, points, near, RELATIVE_NEIGHBORS, noise)
            mean = near.mean_distance(RELATIVE_NEIGHBORS, noise)
            statistics.append(_log(mean, noise) - own)
        return statistics

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "neighbors_"}


class Crowd(Neighborhood):
    """Logarithm of the mean distance to a share of the rows, which a sample of them stands for.

    Parameters
    ----------
    space : Space
    share : float in (0, 1)
    """

    def __init__(self, space: Space, share: float):
        super().__init__(space, ())
        self.share = share

    def fit_rows(self, reference: Described) -> list[np.ndarray]:
        """Fit, and give the statistic of the reference."""
        points = self.space.fit(reference)(reference)
        self.index_ = _sample(len(points))
        self.n_neighbors = (max(int(self.share * len(self.index_)), 1),)
        self._search(points)
        return self._distance(points)

    def __call__(self, rows: Described) -> list[np.ndarray]:
        """Statistic of rows."""
        return self._distance(self.space(rows))

    def _search(self, points: np.ndarray) -> None:
        self.neighbors_ = points[self.index_]

    def _distance(self, points: np.ndarray) -> list[np.ndarray]:
        noise = self.space.noise(points)
        mean = mean_distance(points, self.neighbors_, self.n_neighbors[0], noise)
        return [_log(mean, noise)]


def _log(mean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Logarithm of a mean distance; equal rows are as far as rounding."""
    return np.log(np.maximum(mean, noise))


def _ordinary(points: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Places of rows that are not far from all others."""
    sample = points[_sample(len(points))]
    n = max(int(TRIM_SHARE * len(sample)), FEWEST_TRIM_NEIGHBORS)
    if len(points) <= n + 1:
        return np.arange(len(points))
    far = _log(mean_distance(points, sample, n, noise), noise)
    median = np.median(far)
    deviation = 1.4826 * np.median(np.abs(far - median))
    return np.flatnonzero(far <= median + TRIM_DEVIATIONS * deviation)


def _sample(n_rows: int) -> np.ndarray:
    """Places of rows that stand for the table, all where there are few."""
    if n_rows <= MOST_SAMPLED:
        return np.arange(n_rows)
    return np.sort(np.random.RandomState(0).permutation(n_rows)[:MOST_SAMPLED])
