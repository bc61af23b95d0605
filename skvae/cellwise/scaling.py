"""Numbers on a scale that far cells have no say in."""

from __future__ import annotations

import numpy as np

# Linear up to here, in standard deviations; logarithmic beyond.
REACH = 3.0
# What the quartiles of a normal are apart.
QUARTILES = 1.349
# Cells of a lattice have a noise of at least this share of its step, so that their density
# is no larger than a probability.
LATTICE_SHARE = 0.3


class RobustScale:
    """Numeric columns by median and quartiles, far cells by their logarithm.

    The map is one to one, so that a density of what it gives is one of the cells.

    Parameters
    ----------
    values : ndarray (rows, columns)
    mask : ndarray of bool (rows, columns)
        Which cells are observed.
    min_scale : float
        Smallest noise of a column, in its standard deviations.

    Attributes
    ----------
    floor : ndarray (columns,)
        Smallest noise of each column, in the units of what the map gives.
    """

    def __init__(self, values: np.ndarray, mask: np.ndarray, min_scale: float):
        found = [_column(cells[seen]) for cells, seen in zip(values.T, mask.T, strict=True)]
        self.loc, self.scale, gap = np.array(found, dtype=np.float64).reshape(-1, 3).T
        self.floor = np.maximum(min_scale, LATTICE_SHARE * gap / self.scale)

    def forward(self, values: np.ndarray, columns=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Scaled cells of these columns, and the logarithm of the slope of cells by them."""
        x = (values.astype(np.float64) - self.loc[columns]) / self.scale[columns]
        far = np.maximum(np.abs(x) - (REACH - 1.0), 1.0)
        scaled = np.where(far > 1.0, np.copysign(REACH + np.log(far), x), x)
        return scaled.astype(np.float32), np.log(far) + np.log(self.scale[columns])

    def backward(self, scaled: np.ndarray, columns=slice(None)) -> np.ndarray:
        """Cells of these columns, of what ``forward`` gave."""
        x = scaled.astype(np.float64)
        beyond = np.expm1(np.maximum(np.abs(x) - REACH, 0.0))
        x = x + np.copysign(beyond - np.maximum(np.abs(x) - REACH, 0.0), x)
        return x * self.scale[columns] + self.loc[columns]


def _column(cells: np.ndarray) -> tuple[float, float, float]:
    """Location, scale, and the step between the values of most cells."""
    if not len(cells):
        return 0.0, 1.0, 0.0
    cells = cells.astype(np.float64)
    low, left, loc, right, high = np.quantile(cells, [0.01, 0.25, 0.5, 0.75, 0.99])
    distance = np.abs(cells - loc)
    # Where one value is that of most cells, the others tell how far cells are apart.
    others = distance[distance > 0]
    scale = (right - left) / QUARTILES or (np.median(others) if len(others) else 1.0)
    steps = np.diff(np.unique(np.clip(cells, low, high)))
    return loc, scale, np.median(steps) if len(steps) else 0.0
