"""Tables of counts whose rows differ in size: in depth, length or time of counting."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from .discrete import CountColumn
from .statistics import chunks, extremes, summarise

# Coefficient of variation of the sizes from which on they matter.
SMALLEST_SPREAD = 0.1
# The total of fewer columns is as much what a row is as how large it is.
FEWEST_COLUMNS = 16
# Rows without a count have a size, too: that of half of one.
SMALLEST_TOTAL = 0.5
# Rows that were all counted until they had equal totals in fit may have others later.
SMALLEST_SCALE = 0.05


class SizedCountColumn(CountColumn):
    """Counts that the encoder sees as they would be in a row of typical size.

    Parameters
    ----------
    expected : float
        Mean over the rows; the size of a row is its total as a share of that of these.
    """

    def __init__(self, name, form, had_missing, mean, sd, expected, ceiling=np.inf):
        super().__init__(name, form, had_missing, mean, sd, ceiling)
        self.expected = float(expected)

    def _details(self) -> str:
        return f"{super()._details()}, expected={self.expected:.3g}"

    @classmethod
    def features(cls, columns, values, observed, out):
        expected = np.array([column.expected for column in columns])
        size = sizes_of(values, observed, expected).astype(values.dtype)
        super().features(columns, values / size[:, None], observed, out)


class RowSizes(NamedTuple):
    """What a codec learns about rows that differ in size.

    Parameters
    ----------
    log_total : (float, float)
        Mean and standard deviation of the logarithm of the total count of a row.
    columns : list of SizedCountColumn
        One for each count column.
    """

    log_total: tuple[float, float]
    columns: list[SizedCountColumn]

    @classmethod
    def found(
        cls, columns: list, cells: Any, weight, range_ratio, *, ask: bool
    ) -> RowSizes | None:
        """Learn the sizes of rows.

        Parameters
        ----------
        columns : list of CountColumn
        cells : array-like of shape (n_rows, n_columns)
            Counts, NaN where one is missing; only slices of its rows are looked at.
        weight : ndarray of shape (n_rows,) or None
        range_ratio : float or None
        ask : bool
            Whether rows without clear differences in size have none: where their totals vary
            no more than those of independent columns.
        """
        whole = summarise(cells, *extremes(cells), weight, None, np.positive)
        if ask and _spread(cells, whole.mean, whole.scale, weight) < SMALLEST_SPREAD:
            return None
        size = np.concatenate(
            [
                sizes_of(np.nan_to_num(part), ~np.isnan(part), whole.mean)
                for part in (cells[rows] for rows in chunks(*cells.shape))
            ]
        )
        log_size = np.log(size)
        loc = np.average(log_size, weights=weight)
        scale = np.sqrt(np.average((log_size - loc) ** 2, weights=weight))
        log_total = float(loc + np.log(whole.mean.sum())), float(max(scale, SMALLEST_SCALE))
        sized: Any = _Sized(cells, size)
        seen = summarise(sized, *extremes(sized), weight, range_ratio, CountColumn.squash)
        return cls(
            log_total,
            [
                SizedCountColumn(c.name, c.form, c.had_missing, mean, scale, expected, c.ceiling)
                for c, mean, scale, expected in zip(columns, seen.mean, seen.scale, whole.mean)
            ],
        )


class DenseCells:
    """Counts whose slices of rows are dense and hold NaN where a cell is missing."""

    def __init__(self, X: Any, mask: np.ndarray | None = None):
        self.X = X
        self.mask = mask
        self.shape = X.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        part = self.X[rows]
        part = (part.toarray() if issparse(part) else part).astype(np.float64)
        return part if self.mask is None else np.where(self.mask[rows], part, np.nan)


class _Sized:
    def __init__(self, cells: Any, size: np.ndarray):
        self.cells, self.size, self.shape = cells, size, cells.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.cells[rows] / self.size[rows, None]


def sizes_of(values: np.ndarray, observed: np.ndarray | None, expected: np.ndarray) -> np.ndarray:
    """Total of each row as a share of what is expected of its observed cells.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.row_sizes import sizes_of
    >>> counts, expected = np.array([[2.0, 4.0], [3.0, 0.0]]), np.array([1.0, 2.0])
    >>> sizes_of(counts, np.array([[True, True], [True, False]]), expected)
    array([2., 3.])
    """
    total = values.sum(1, dtype=np.float64)
    typical = expected.sum() if observed is None else observed @ expected
    return np.maximum(total, SMALLEST_TOTAL) / np.maximum(typical, SMALLEST_TOTAL)


def _spread(cells: Any, mean: np.ndarray, scale: np.ndarray, weight) -> float:
    """Coefficient of variation of what the cells of a row share.

    The mean covariance of two columns as a share of the product of their means, which is
    the squared coefficient where rows differ in size alone and 0 for independent columns.
    """
    parts = (cells[rows] for rows in chunks(*cells.shape))
    total = np.concatenate([np.where(np.isnan(part), mean, part).sum(1) for part in parts])
    variance = np.average((total - np.average(total, weights=weight)) ** 2, weights=weight)
    shared = variance - (scale**2).sum()
    return float(np.sqrt(max(shared / (mean.sum() ** 2 - (mean**2).sum()), 0.0)))
