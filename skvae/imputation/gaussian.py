"""The normal distribution of all parameters: what any visible set says of the rest, linearly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..incomplete_rows import patterns_of
from .layout import Layout

# EM starts at a completed table, which is near its end.
N_STEPS = 4
MOST_ROWS = 2_000
# Categories and copies of columns are collinear: each standardised parameter has so much noise.
NOISE = 1e-3
# A row costs the cube of the width: of numbers, and of numbers and categories together.
WIDEST = 128
ROOM = 64
ROWS_AT_ONCE = 256


class Gaussian:
    """A normal distribution over the parameters of a table, fitted by EM.

    Unlike a regression on completed rows it knows which cells of a row are visible: its
    variances are small where these determine a cell, and large where they do not.

    Parameters
    ----------
    layout : Layout
    rng : RandomState
        Chooses the rows of large tables.

    References
    ----------
    Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.

    Examples
    --------
    >>> import numpy as np
    >>> layout = Layout((("continuous", (1, 1)),))
    >>> x = np.random.default_rng(0).normal(size=(500, 1))
    >>> table, mask = np.hstack([x, 2 * x]), np.ones((500, 2), dtype=bool)
    >>> normal = Gaussian(layout, np.random.RandomState(0)).fit(table, mask)
    >>> mean, variance = normal.without_each(table, mask)
    >>> bool(np.abs(mean - table).max() < 0.1)
    True
    """

    def __init__(self, layout: Layout, rng):
        self.layout, self.rng = layout, rng

    def fit(self, table: np.ndarray, mask: np.ndarray) -> Gaussian:
        """Fit to the observed cells of a completed, expanded table ``(rows, parameters)``."""
        self.kept = self._kept()
        if len(table) > MOST_ROWS:
            chosen = self.rng.permutation(len(table))[:MOST_ROWS]
            table, mask = table[chosen], mask[chosen]
        cells, visible = table[:, self.kept], self._visible(mask)
        scale = cells.std(0)
        self.loc, self.scale = cells.mean(0), np.where(scale > 1e-9, scale, 1.0)
        self.low, self.high = cells.min(0), cells.max(0)
        white, n = (cells - self.loc) / self.scale, len(cells)
        self.mean, self.covariance = np.zeros(len(self.kept)), white.T @ white / n
        self._add_noise()
        for _ in range(N_STEPS):
            filled, precision = np.empty_like(white), np.zeros_like(self.covariance)
            for rows, inverse in self._inverses(visible):
                pulled = self._pulled(inverse, white[rows], visible[rows])
                given = self.mean + pulled @ self.covariance
                filled[rows] = np.where(visible[rows], white[rows], given)
                precision += inverse.sum(0)
            # What the visible cells leave open, summed over the rows at once.
            unknown = self.covariance - self.covariance @ (precision / n) @ self.covariance
            self.mean = filled.mean(0)
            centred = filled - self.mean
            self.covariance = centred.T @ centred / n + unknown
            self._add_noise()
        return self

    def without_each(self, table: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each number given its row's visible cells without itself.

        Those of categories, and of parameters that are left out, are 0.
        """
        mean, variance = np.zeros(table.shape), np.zeros(table.shape)
        white, visible = (table[:, self.kept] - self.loc) / self.scale, self._visible(mask)
        n = len(self.layout.numeric)
        numbers = self.kept[:n]
        shared = self.covariance[:n]
        for rows, inverse in self._inverses(visible):
            seen, x = visible[rows, :n], white[rows]
            pulled = self._pulled(inverse, x, visible[rows])
            own = np.maximum(np.diagonal(inverse, axis1=1, axis2=2)[:, :n], 1e-12)
            explained = (np.matmul(shared, inverse) * shared).sum(-1)
            left = np.maximum(np.diag(shared) - explained, NOISE)
            given = self.mean[:n] + pulled @ shared.T
            given = np.where(seen, x[:, :n] - pulled[:, :n] / own, given)
            inside = np.clip(self.loc[:n] + self.scale[:n] * given, self.low[:n], self.high[:n])
            mean[rows, numbers] = inside
            variance[rows, numbers] = self.scale[:n] ** 2 * np.where(seen, 1.0 / own, left)
        return mean, variance

    def _kept(self) -> np.ndarray:
        """Parameters of numbers, then of small categorical columns, while there is room."""
        kept: list[int] = []
        room = max(ROOM, len(self.layout.numeric))
        categorical = sorted(self.layout.categorical, key=lambda j: self.layout.sizes[j])
        for j in [*self.layout.numeric, *categorical]:
            place = self.layout.slices[j]
            if len(kept) + place.stop - place.start > room:
                break
            kept += range(place.start, place.stop)
        return np.array(kept, dtype=np.intp)

    def _visible(self, mask: np.ndarray) -> np.ndarray:
        return self.layout.repeat(mask)[:, self.kept]

    def _pulled(self, inverse, white, visible) -> np.ndarray:
        return np.einsum("nij,nj->ni", inverse, np.where(visible, white - self.mean, 0.0))

    def _inverses(self, visible: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Inverse covariance of each row's visible cells, 0 elsewhere."""
        width = visible.shape[1]
        for start in range(0, len(visible), ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, len(visible)))
            patterns, which = patterns_of(visible[rows])
            inverse = np.zeros((len(patterns), width, width))
            # An inverse takes the cube of its width: only of what is visible, as many at once
            # as have one width.
            counts = patterns.sum(1)
            for count in np.unique(counts[counts > 0]):
                alike = np.flatnonzero(counts == count)
                places = patterns[alike].nonzero()[1].reshape(len(alike), count)
                down, across = places[:, :, None], places[:, None]
                found = np.linalg.inv(self.covariance[down, across])
                inverse[alike[:, None, None], down, across] = found
            yield rows, inverse[which]

    def _add_noise(self) -> None:
        self.covariance[np.diag_indices_from(self.covariance)] += NOISE
