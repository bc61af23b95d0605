"""Whether synthetic rows are copies of the rows they were learnt from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils import gen_batches

from .columns import Column, read_columns, seed_of

_BLOCK_CELLS = 1 << 22


class ClosestRecord(NamedTuple):
    """Distances of synthetic rows to the closest real ones.

    Attributes
    ----------
    share : float
        Share of the synthetic rows that are closer to the training rows than to the holdout;
        ties count half. 0.5 without copying, 1 for copies.
    median, low : float
        Median and 5 % quantile of the distances to the training rows, in columns: 1 is one
        column as different as can be.
    holdout_median, holdout_low : float
        The same for the holdout rows: what an honest sample has.
    copies : float
        Share of the synthetic rows that are equal to a training row in every cell.
    holdout_copies : float
        The same for the holdout rows.
    """

    share: float
    median: float
    low: float
    holdout_median: float
    holdout_low: float
    copies: float
    holdout_copies: float


def closest_record(train, holdout, synthetic, *, random_state=None) -> ClosestRecord:
    """Compare the distances of synthetic rows to training rows and to a holdout.

    The distance of two rows is the sum over columns of the difference of their ranks (between
    0 and 1) for numbers and dates, and of 0 or 1 for equal or different categories: the
    Manhattan distance of ranks and halved one-hot codes. From a missing number to another it
    is 1/2 plus how far the rank is from the middle; a missing category is one more category.
    Time grows with the product of the numbers of rows.

    Parameters
    ----------
    train : array-like or DataFrame of shape (n_rows, n_columns)
        What the synthesiser has learnt from.
    holdout : array-like or DataFrame of shape (n_rows, n_columns)
        Rows of the same population that it has not seen. For ``share`` the larger of the two
        tables is cut to the size of the smaller at random.
    synthetic : array-like or DataFrame of shape (n_rows, n_columns)
        The rows to judge.
    random_state : int, RandomState instance or None, default=None
        Which rows the larger table keeps.

    Returns
    -------
    ClosestRecord
        ``share``, ``median``, ``low``, and the like of the holdout.

    References
    ----------
    Platzer and Reutterer, Holdout-Based Empirical Assessment of Mixed-Type Synthetic Data,
    2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import closest_record
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> copied = closest_record(X[:100], X[100:200], X[:100])
    >>> copied.share, copied.copies
    (1.0, 1.0)
    >>> bool(closest_record(X[:100], X[100:200], X[200:]).share < 0.7)
    True
    """
    columns = read_columns("closest_record", train=train, holdout=holdout, synthetic=synthetic)
    known, unseen, rows = _rows(columns)
    near, honest = _closest(rows, known), _closest(unseen, known)
    rng = np.random.default_rng(seed_of(random_state))
    n = min(known.n, unseen.n)
    equal = near if known.n == n else _closest(rows, known.take(rng.permutation(known.n)[:n]))
    far = _closest(rows, unseen.take(rng.permutation(unseen.n)[:n]))
    return ClosestRecord(
        share=float(np.mean(equal < far) + np.mean(equal == far) / 2),
        median=float(np.median(near)),
        low=float(np.quantile(near, 0.05)),
        holdout_median=float(np.median(honest)),
        holdout_low=float(np.quantile(honest, 0.05)),
        copies=float(np.mean(near == 0)),
        holdout_copies=float(np.mean(honest == 0)),
    )


class _Rows(NamedTuple):
    """Rows of a table: ``(n_rows, n_numbers)`` and ``(n_rows, n_categories)``."""

    ranks: np.ndarray
    codes: np.ndarray

    @property
    def n(self) -> int:
        return len(self.ranks)

    def take(self, keep) -> _Rows:
        return _Rows(self.ranks[keep], self.codes[keep])


def _rows(columns: list[Column]) -> list[_Rows]:
    """Ranks among the real rows, and codes, of each table."""
    numbers, categories = [], []
    for column in columns:
        if not column.is_number:
            categories.append([np.nan_to_num(cells, nan=-1.0) for cells in column.cells])
            continue
        real = np.concatenate(column.cells[:2])
        real = np.sort(real[~np.isnan(real)])
        numbers.append([_rank(cells, real) for cells in column.cells])
        if any(np.isnan(cells).any() for cells in column.cells):
            # Half a column for being missing: as a rank, so that it need not be a whole one.
            numbers.append([np.isnan(cells) / 2 for cells in column.cells])
    return list(map(_Rows, _tables(numbers, columns), _tables(categories, columns)))


def _tables(parts: list[list[np.ndarray]], columns: list[Column]) -> list[np.ndarray]:
    if parts:
        return [np.stack(cells, 1) for cells in zip(*parts)]
    return [np.empty((len(cells), 0)) for cells in columns[0].cells]


def _rank(cells: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Rank among the real cells, over their number; a missing cell is in the middle."""
    places = [np.searchsorted(real, cells, side=side) for side in ("left", "right")]
    return np.where(np.isnan(cells), 0.5, (places[0] + places[1]) / max(2 * len(real), 1))


def _closest(rows: _Rows, others: _Rows) -> np.ndarray:
    """Distance to the closest of the others, in blocks that fit into memory."""
    out = np.empty(rows.n)
    for block in gen_batches(rows.n, max(_BLOCK_CELLS // others.n, 1)):
        part = rows.take(block)
        distance = np.zeros((part.n, others.n))
        if part.ranks.shape[1]:
            distance += cdist(part.ranks, others.ranks, "cityblock")
        if part.codes.shape[1]:
            distance += cdist(part.codes, others.codes, "hamming") * part.codes.shape[1]
        out[block] = distance.min(1)
    return out
