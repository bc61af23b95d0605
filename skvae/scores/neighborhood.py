"""How far a row is from those nearby."""

from __future__ import annotations

from typing import Any

import numpy as np

from .neighbors import Nearest, Neighbors, mean_distance
from .spaces import Described, Space
from .surroundings import Surroundings, log_distance

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

    @property
    def n_searched(self) -> int:
        """Neighbours of a row that are asked for."""
        # One more tells whether the last one is alone at its distance.
        return max(RELATIVE_NEIGHBORS + 1 if self.relative else 1, *self.n_neighbors)

    def fit(self, reference: Described) -> Neighborhood:
        """Learn the space, and which rows are the reference."""
        self.fit_rows(Surroundings(self.space, reference, self.n_searched))
        return self

    def fit_rows(self, reference: Surroundings) -> list[np.ndarray]:
        """Fit, and give the statistics of the reference, whose space is that of this one."""
        points = reference.points
        self.index_ = reference.ordinary if self.trimmed else None
        self._search(points)
        near = reference.nearest_ordinary(self.neighbors_) if self.trimmed else reference.nearest
        if self.relative:
            noise = reference.noise
            own = log_distance(near.mean_distance(RELATIVE_NEIGHBORS, noise), noise)
            self.own_ = own if self.index_ is None else own[self.index_]
        return self._statistics(points, near)

    def open(self, reference: Described) -> None:
        """Make the reference ready to be searched."""
        self._search(self.space(reference))

    def _search(self, points: np.ndarray) -> None:
        kept = points if self.index_ is None else points[self.index_]
        self.neighbors_ = Neighbors(self.n_searched).fit(kept)

    def __call__(self, rows: Described) -> list[np.ndarray]:
        """Statistics of rows, each higher for odder ones."""
        points = self.space(rows)
        return self._statistics(points, self.neighbors_(points))

    def _statistics(self, points: np.ndarray, near: Nearest) -> list[np.ndarray]:
        noise = self.space.noise(points)
        statistics = [log_distance(near.mean_distance(k, noise), noise) for k in self.n_neighbors]
        if self.relative:
            own = self.neighbors_.mean_of(self.own_, points, near, RELATIVE_NEIGHBORS, noise)
            mean = near.mean_distance(RELATIVE_NEIGHBORS, noise)
            statistics.append(log_distance(mean, noise) - own)
        return statistics

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "neighbors_"}


class Crowd(Neighborhood):
    """Logarithm of the mean distance to a share of the rows, which a sample of them stands for.

    Parameters
    ----------
    space : Space
    """

    def __init__(self, space: Space):
        super().__init__(space, (1,))

    def fit_rows(self, reference: Surroundings) -> list[np.ndarray]:
        """Fit, and give the statistic of the reference."""
        self.index_, self.n_neighbors = reference.sample, (reference.n_crowd,)
        self._search(reference.points)
        return [log_distance(reference.crowd, reference.noise)]

    def __call__(self, rows: Described) -> list[np.ndarray]:
        """Statistic of rows."""
        points = self.space(rows)
        noise = self.space.noise(points)
        mean = mean_distance(points, self.neighbors_, self.n_neighbors[0], noise)
        return [log_distance(mean, noise)]

    def _search(self, points: np.ndarray) -> None:
        self.neighbors_ = points[self.index_]
