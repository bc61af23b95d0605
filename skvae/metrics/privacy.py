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
    Manhattan distance of ranks and halved one-hot codes. A missing number is at 1/2 plus half
    the rank distance to the middle from others, a missing category is one more category.

    Parameters
    ----------
    train : array-like or DataFrame of shape (n_rows, n_columns)
        What the synthesiser has learnt from.
    holdout : array-like or DataFrame of shape (n_rows, n_columns)
        Rows of the same population that it has not seen. The larger of the two tables is cut
        to the size of the smaller at random.
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
    ranks, codes = zip(*_rows(columns))
    rng = np.random.default_rng(seed_of(random_state))
    n = min(len(ranks[0]), len(ranks[1]))
    kept = [np.sort(rng.permutation(len(part))[:n]) for part in ranks[:2]]
    known, unseen = ((ranks[i][kept[i]], codes[i][kept[i]]) for i in (0, 1))
    rows = ranks[2], codes[2]
    near, far, honest = _closest(rows, known), _closest(rows, unseen), _closest(unseen, known)
    return ClosestRecord(
        share=float(np.mean(near < far) + np.mean(near == far) / 2),
        median=float(np.median(near)),
        low=float(np.quantile(near, 0.05)),
        holdout_median=float(np.median(honest)),
        holdout_low=float(np.quantile(honest, 0.05)),
        copies=float(np.mean(near == 0)),
        holdout_copies=float(np.mean(honest == 0)),
    )


def _rows(columns: list[Column]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ranks and codes of each table; a missing number is a rank and a code."""
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
    return list(zip(_tables(numbers, columns), _tables(categories, columns)))


def _tables(parts: list[list[np.ndarray]], columns: list[Column]) -> list[np.ndarray]:
    if parts:
        return [np.stack(cells, 1) for cells in zip(*parts)]
    return [np.empty((len(cells), 0)) for cells in columns[0].cells]


def _rank(cells: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Rank among the real cells, over their number; a missing cell is in the middle."""
    places = [np.searchsorted(real, cells, side=side) for side in ("left", "right")]
    return np.where(np.isnan(cells), 0.5, (places[0] + places[1]) / max(2 * len(real), 1))


def _closest(rows, others) -> np.ndarray:
    """Distance to the closest of the others, in blocks that fit into memory."""
    (ranks, codes), (other_ranks, other_codes) = rows, others
    out = np.empty(len(ranks))
    for block in gen_batches(len(ranks), max(_BLOCK_CELLS // len(other_ranks), 1)):
        distance = np.zeros((len(ranks[block]), len(other_ranks)))
        if ranks.shape[1]:
            distance += cdist(ranks[block], other_ranks, "cityblock")
        if codes.shape[1]:
            distance += cdist(codes[block], other_codes, "hamming") * codes.shape[1]
        out[block] = distance.min(1)
    return out
