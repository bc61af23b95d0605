"""How far a row is from those nearby."""

from __future__ import annotations

import numpy as np

from .neighbors import Neighbors
from .spaces import Described, Space

# Rows whose mean distance to this share of the table is so many robust deviations above the
# median are no reference for a table that may hold outliers.
TRIM_SHARE, TRIM_DEVIATIONS, MOST_TRIM_NEIGHBORS = 0.06, 3.0, 200
# Distances are compared by logarithm; equal rows have some.
LEAST_DISTANCE = 1e-9
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
        self.index_ = _ordinary(points) if self.trimmed else None
        self._search(points)
        distances, places = self.neighbors_(points)
        if self.relative:
            own = distances if self.index_ is None else distances[self.index_]
            self.own_ = _log(own[:, :RELATIVE_NEIGHBORS].mean(1))
        return self._statistics(distances, places)

    def open(self, reference: Described) -> None:
        """Make the reference ready to be searched."""
        self._search(self.space(reference))

    def _search(self, points: np.ndarray) -> None:
        n = max(RELATIVE_NEIGHBORS if self.relative else 1, *self.n_neighbors)
        self.neighbors_ = Neighbors(n).fit(points if self.index_ is None else points[self.index_])

    def __call__(self, rows: Described) -> list[np.ndarray]:
        """Statistics of rows, each higher for odder ones."""
        return self._statistics(*self.neighbors_(self.space(rows)))

    def _statistics(self, distances: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
        statistics = [_log(distances[:, :k].mean(1)) for k in self.n_neighbors]
        if self.relative:
            near, places = distances[:, :RELATIVE_NEIGHBORS], places[:, :RELATIVE_NEIGHBORS]
            statistics.append(_log(near.mean(1)) - self.own_[places].mean(1))
        return statistics

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "neighbors_"}


def _log(distance: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(distance, LEAST_DISTANCE))


def _ordinary(points: np.ndarray) -> np.ndarray:
    """Places of rows that are not far from all others."""
    n = int(np.clip(TRIM_SHARE * len(points), 3, MOST_TRIM_NEIGHBORS))
    if len(points) <= n + 1:
        return np.arange(len(points))
    far = _log(Neighbors(n).fit(points)(points)[0].mean(1))
    median = np.median(far)
    deviation = 1.4826 * np.median(np.abs(far - median))
    return np.flatnonzero(far <= median + TRIM_DEVIATIONS * deviation)
