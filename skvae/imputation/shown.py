"""A table of which some cells are shown, and what the others say of each of its columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .gaussian import Gaussian
from .layout import Layout
from .prediction import Prediction

Predictor = Callable[[np.ndarray, np.ndarray], Prediction]


class Shown:
    """A table completed from those of its cells that are shown.

    Parameters
    ----------
    layout : Layout
    predict : callable
        Prediction of the ensemble for values and visible cells.
    values, mask : ndarray (rows, columns)
        Encoded cells, and which are shown.

    Attributes
    ----------
    said : Prediction
        Of the ensemble, by all cells that are shown.
    base, table : ndarray (rows, parameters)
        Means of what it says, and those with the shown cells in their place.
    line : tuple of ndarray or None
        Mean and variance that a normal distribution gives every cell.
    """

    def __init__(self, layout: Layout, predict: Predictor, values, mask):
        self.layout, self.predict, self.values, self.mask = layout, predict, values, mask
        self.said = predict(values, mask)
        self.base, self.variance = self.said.mixture()
        self.table = np.where(layout.repeat(mask), layout.expand(values), self.base)
        self.line: tuple[np.ndarray, np.ndarray] | None = None

    def draw_line(self, normal: Gaussian | None) -> Shown:
        """Ask the normal distribution, if there is one."""
        self.line = None if normal is None else normal.without_each(self.table, self.mask)
        return self

    def without(self, j: int, rows: np.ndarray) -> tuple[Prediction, np.ndarray]:
        """What the ensemble says of these rows without column ``j``, and their table by that."""
        values, visible = self.values[rows], self.mask[rows]
        visible[:, j] = False
        said = self.predict(values, visible)
        seen = self.layout.repeat(visible)
        return said, np.where(seen, self.table[rows], said.mixture()[0])
