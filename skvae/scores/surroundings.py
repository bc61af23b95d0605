"""The reference rows in one space, compared with each other once for all who ask."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .neighbors import Nearest, Neighbors, mean_distance
from .spaces import Described, Space

# A share of so many rows, drawn at random, is as far away as that share of the table.
MOST_SAMPLED = 1_000
# Outliers of a table may lie together: this share of its rows is no company to be in.
CROWD_SHARE, SMALLEST_CROWD = 0.1, 3
# Rows whose distance to their crowd is so many robust deviations above the median are no
# reference for a table that may hold outliers.
TRIM_DEVIATIONS = 3.0


class Surroundings:
    """Who is near whom among the reference rows, in one space, and who is far from most.

    Parameters
    ----------
    space : Space
        It learns its units here.
    reference : Described
    n_neighbors : int
        Neighbours of a row, the row itself left out.
    """

    def __init__(self, space: Space, reference: Described, n_neighbors: int):
        self.space = space
        self.points = space.fit(reference)(reference)
        self.noise = space.noise(self.points)
        self.neighbors = Neighbors(n_neighbors).fit(self.points)
        self.sample = _sample(len(self.points))
        self.n_crowd = max(int(CROWD_SHARE * len(self.sample)), SMALLEST_CROWD)

    @cached_property
    def nearest(self) -> Nearest:
        """The nearest of all others."""
        return self.neighbors(self.points)

    @cached_property
    def crowd(self) -> np.ndarray:
        """Mean distance to a tenth of the rows, which a sample of them stands for."""
        return mean_distance(self.points, self.points[self.sample], self.n_crowd, self.noise)

    @cached_property
    def ordinary(self) -> np.ndarray:
        """Places of rows that are not far from most others."""
        if len(self.points) <= self.n_crowd + 1:
            return np.arange(len(self.points))
        far = log_distance(self.crowd, self.noise)
        median = np.median(far)
        deviation = 1.4826 * np.median(np.abs(far - median))
        return np.flatnonzero(far <= median + TRIM_DEVIATIONS * deviation)

    def nearest_ordinary(self, neighbors: Neighbors) -> Nearest:
        """The nearest of the ordinary rows, which ``neighbors`` searches where it has to.

        Of most rows all that are near are ordinary, and found already.
        """
        n = neighbors.n_kept
        place = np.full(len(self.points), -1)
        place[self.ordinary] = np.arange(len(self.ordinary))
        places = place[self.nearest.places]
        kept = np.argsort(places < 0, axis=1, kind="stable")[:, :n]
        found = Nearest(
            np.take_along_axis(self.nearest.distances, kept, 1),
            np.take_along_axis(places, kept, 1),
            place.copy(),
        )
        unknown = np.flatnonzero((found.places < 0).any(1))
        if len(unknown):
            for mine, searched in zip(found, neighbors(self.points[unknown])):
                mine[unknown] = searched
        return found


def log_distance(mean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Logarithm of a mean distance; equal rows are as far as rounding."""
    return np.log(np.maximum(mean, noise))


def _sample(n_rows: int) -> np.ndarray:
    """Places of rows that stand for the table, all where there are few."""
    if n_rows <= MOST_SAMPLED:
        return np.arange(n_rows)
    return np.sort(np.random.RandomState(0).permutation(n_rows)[:MOST_SAMPLED])
