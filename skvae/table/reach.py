"""How far above all that a column held in `fit` a best value may lie."""

from __future__ import annotations

from typing import Any

import numpy as np

# As a share of the range of the column.
ROOM = 0.5


def highest(low: float, high: float) -> float:
    """Largest best cell of a column whose values grow faster than their logarithm.

    Parameters
    ----------
    low, high : float
        Smallest and largest cell in `fit`.

    Examples
    --------
    >>> from skvae.table.reach import highest
    >>> highest(2.0, 10.0)
    14.0
    """
    with np.errstate(over="ignore"):
        return float(high + ROOM * (np.float64(high) - low))


def within_reach(codec: Any, values: np.ndarray) -> np.ndarray:
    """Best values ``(rows, modelled columns)`` with none above the ceiling of its column.

    A step of a code adds to a logarithm, so that a code a little farther out than those of `fit`
    would give a cell many times as large as any of them.

    Parameters
    ----------
    codec : TableCodec
        Fitted.
    values : ndarray of shape (..., n_modelled)

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table import TableCodec
    >>> from skvae.table.reach import within_reach
    >>> codec = TableCodec(column_kinds={"x0": "positive"}).fit(np.array([[2.0], [10.0]]))
    >>> codec.decode(np.array([[0.0], [4.0]])).round().ravel()
    array([  4., 112.])
    >>> codec.decode(within_reach(codec, np.array([[0.0], [4.0]]))).round().ravel()
    array([ 4., 14.])
    """
    columns = [codec.columns_[position] for position in codec.modelled_index_]
    ceilings = np.array([column.ceiling for column in columns], dtype=values.dtype)
    return values if np.isinf(ceilings).all() else np.minimum(values, ceilings)
