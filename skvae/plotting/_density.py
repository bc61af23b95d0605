"""Where points of a plane are dense, and where the names of their classes can stand."""

from __future__ import annotations

import numpy as np

FEWEST, MAX_FITTED, MAX_JUDGED = 10, 2000, 4000
N_GRID = 140
# Of the kernel, in distances to the neighbour whose rank is the root of their number.
WIDTH = 0.65
N_NEIGHBORS = 15
# A name must stand among rows of its class, and clear of the other names.
PURE = 0.6
LETTER = (0.62, 1.25)  # width and height of a letter, in font sizes


class Density:
    """A kernel density of points in the plane, as wide as neighbours lie apart.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2)
        Not all in one place.
    """

    def __init__(self, points: np.ndarray):
        from sklearn.neighbors import NearestNeighbors

        order = np.random.RandomState(0).permutation(len(points))
        fitted = points[order[:MAX_FITTED]]
        n_neighbors = int(np.sqrt(len(fitted))) + 1
        distances = NearestNeighbors(n_neighbors=n_neighbors).fit(fitted).kneighbors()[0]
        self.points, self.fitted = points, fitted
        self.width = WIDTH * float(np.median(distances[:, -1]))
        self.judged = points[order[:MAX_JUDGED]]
        x, y = (self._kernel(axis, self.judged[:, axis]) for axis in (0, 1))
        self.at_points = (x * y).sum(1)

    def _kernel(self, axis: int, places: np.ndarray) -> np.ndarray:
        """The part of one axis in the kernel of each fitted point, ``(places, points)``."""
        apart = (places[:, None] - self.fitted[:, axis]) / self.width
        return np.exp(-0.5 * apart**2)

    @classmethod
    def of(cls, points: np.ndarray) -> Density | None:
        """The density of points, None where they have none."""
        distinct = len(points) >= FEWEST and len(np.unique(points, axis=0)) > 0.9 * len(points)
        return cls(points) if distinct else None

    def height_around(self, share: float) -> float:
        """Density, up to a factor, at the edge of the densest region with this share of points."""
        return float(np.quantile(self.at_points, 1.0 - share))

    def grid(self):
        """Places along both axes and the density, ``(N_GRID, N_GRID)``."""
        margin = 0.12 * np.ptp(self.points, axis=0)
        low, high = self.points.min(0) - margin, self.points.max(0) + margin
        x, y = (np.linspace(*ends, N_GRID) for ends in zip(low, high))
        return x, y, self._kernel(1, y) @ self._kernel(0, x).T

    def mode(self) -> np.ndarray:
        """The point where the density is largest."""
        return self.judged[self.at_points.argmax()]


def class_places(points: np.ndarray, place: np.ndarray, n_classes: int) -> np.ndarray | None:
    """Where the name of each class can stand: amid its rows; None if a place says otherwise.

    That is the median of the class, or its densest place where the median lies among rows of
    others.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    n_neighbors = min(N_NEIGHBORS, len(points))

    def purity(spot: np.ndarray, which: int) -> float:
        return float((place[tree.query(spot, n_neighbors)[1]] == which).mean())

    spots = []
    for which in range(n_classes):
        rows = points[place == which]
        median = np.median(rows, axis=0)
        density = Density.of(rows)
        candidates = [median] if density is None else [median, density.mode()]
        best = next((spot for spot in candidates if purity(spot, which) >= PURE), None)
        if best is None:
            return None
        spots.append(best)
    return np.array(spots)


def are_clear(spots: np.ndarray, labels: list[str], size: float, points_per_unit) -> bool:
    """Whether names of this font size do not touch one another, judged by their letters."""
    inches = spots * points_per_unit
    width = np.array([LETTER[0] * size * len(label) for label in labels])
    apart = np.abs(inches[:, None] - inches[None])
    room = 0.5 * (width[:, None] + width[None])
    touch = (apart[..., 0] < room) & (apart[..., 1] < LETTER[1] * size)
    return not np.triu(touch, 1).any()
