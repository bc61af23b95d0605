"""What the rows nearby have of a number that a row has."""

from __future__ import annotations

from typing import Any

import numpy as np

from .neighbors import Nearest, Neighbors
from .spaces import Described, Space
from .surroundings import Surroundings


class Company:
    """Mean of a number over a row and the rows nearest to it.

    Outliers of a table that lie together confirm each other, and the chance oddness of one row is
    made up for by those around it.  The reference rows belong to the score that this is part of.

    Parameters
    ----------
    space : Space
    n_neighbors : int
        Rows beside the row itself, fewer where there are not so many.

    Attributes
    ----------
    own_ : ndarray
        The number of each reference row.

    References
    ----------
    Yang, Rahardja and Franti, Neighborhood Averaging for Improving Outlier Detectors, 2023.
    """

    neighbors_: Any

    def __init__(self, space: Space, n_neighbors: int):
        self.space = space
        self.n_neighbors = n_neighbors

    @property
    def n_searched(self) -> int:
        """One more tells whether the last one is alone at its distance."""
        return self.n_neighbors + 1

    def fit_rows(self, reference: Surroundings, values: np.ndarray) -> np.ndarray:
        """Keep the values ``(n_reference,)`` of the reference; give their means."""
        self.own_ = values
        self._search(reference.points)
        return self._mean(reference.points, reference.nearest, values)

    def open(self, reference: Described) -> None:
        """Make the reference ready to be searched."""
        self._search(self.space(reference))

    def __call__(self, rows: Described, values: np.ndarray) -> np.ndarray:
        """Means of rows that have these values themselves."""
        points = self.space(rows)
        return self._mean(points, self.neighbors_(points), values)

    def _search(self, points: np.ndarray) -> None:
        self.neighbors_ = Neighbors(self.n_searched).fit(points)

    def _mean(self, points: np.ndarray, near: Nearest, values: np.ndarray) -> np.ndarray:
        n = min(self.n_neighbors, near.distances.shape[1])
        noise = self.space.noise(points)
        others = self.neighbors_.mean_of(self.own_, points, near, n, noise)
        return (values + n * others) / (n + 1)

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "neighbors_"}
