"""The units of standardised columns, which a layer can take in."""

from typing import Any

import numpy as np

from .columns import LARGEST
from .frames import open_table

# Means of so many scales at most: a float32 less its mean may lose four bits.
LARGEST_MEAN = 16.0
# Squares of cells must be far from the ends of what float32 holds.
SMALLEST_SCALE = 1e-10
# What the squares of a usual row may sum to, beside what is too much.
SMALL = 1e-6


class Units:
    """What makes inputs of the cells of a row: ``(cells[index] - loc) / scale``.

    Parameters
    ----------
    index, loc, scale : ndarray (n_inputs,)
        Column of each input, its mean and its scale.
    n_columns : int
        Of the table.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.units import Units
    >>> units = Units(np.array([0, 2]), np.array([1.0, 2.0]), np.array([2.0, 4.0]), 3)
    >>> weight, offset = units.taken_in(np.ones((1, 2, 1)))
    >>> cells = np.array([[3.0, 9.0, 6.0]])  # both inputs are 1
    >>> cells @ weight[0] + offset[0]
    array([[2.]])
    """

    def __init__(self, index, loc, scale, n_columns):
        self.index, self.loc, self.scale, self.n_columns = index, loc, scale, n_columns
        # Of cells whose squares sum to no more, none is missing, infinite or too far out.
        self.limit = (0.5 * LARGEST * scale.min()) ** 2

    @classmethod
    def of(cls, index, loc, scale, n_columns) -> "Units | None":
        """The units, or None where float32 would not do for what has taken them in."""
        if scale.min() < SMALLEST_SCALE or scale.max() > 1.0 / SMALLEST_SCALE:
            return None
        units = cls(index, loc, scale, n_columns)
        usual = np.square(loc).sum() + np.square(scale).sum()
        near = (np.abs(loc) <= LARGEST_MEAN * scale).all()
        return units if near and usual <= SMALL * units.limit else None

    def taken_in(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights of cells, and an offset, for those ``(members, n_inputs, outputs)`` of inputs.

        Weights behind those of the inputs, which pad a layer, are left out.
        """
        of_inputs = weight[:, : len(self.index)] / self.scale[:, None]
        of_cells = np.zeros((len(weight), self.n_columns, weight.shape[-1]), dtype=np.float32)
        of_cells[:, self.index] = of_inputs
        return of_cells, -(self.loc @ of_inputs)[:, None].astype(np.float32)

    def cells(self, X: Any) -> np.ndarray | None:
        """Cells of a checked table of numbers as float32, or None if it is no such table."""
        panel = next(open_table(X).panels())
        is_whole = panel.position is None and panel.matrix.shape[1] == self.n_columns
        if not is_whole or panel.forms[0].role != "numeric":
            return None
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(panel.matrix, dtype=np.float32)

    def strange(self, cells: np.ndarray) -> np.ndarray:
        """Which rows hold cells that are missing, infinite or far out."""
        with np.errstate(over="ignore", invalid="ignore"):
            # The sum over all rows tells in one pass that there are none.
            if np.vdot(cells, cells) <= self.limit:
                return np.zeros(len(cells), dtype=bool)
            return ~(np.einsum("ij,ij->i", cells, cells) <= self.limit)
