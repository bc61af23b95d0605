"""Columns that had one value in ``fit``, and what another one says of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing

from ..table.per_cell import numbers_of
from ..table.statistics import is_constant


class Constants:
    """Numbers and flags that were the same in all rows of the training.

    Where ``n`` rows have one value in each of ``m`` columns, a further row has another one
    somewhere with a probability of about ``m / (n + 1)``, by the rule of succession.

    Parameters
    ----------
    codec : TableCodec
        Fitted.  Columns that are conditions are not judged.
    n_rows : int
        Rows of the training.

    Attributes
    ----------
    places : ndarray of int
        Which columns these are.
    values : ndarray
        What they hold.
    nats : float
        By how much a cell with another value is unlikely.

    References
    ----------
    Laplace, Essai philosophique sur les probabilites, 1814.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.scores.constants import Constants
    >>> from skvae.table import TableCodec
    >>> X = np.column_stack([np.arange(99.0), np.full(99, 7.0)])
    >>> constants = Constants(TableCodec().fit(X), 99)
    >>> constants.departed(np.array([[5.0, 7.0], [5.0, 8.0]]))
    array([[False],
           [ True]])
    >>> round(constants.nats, 3)
    4.605
    """

    def __init__(self, codec: Any, n_rows: int):
        given = getattr(codec, "condition_index_", [])
        found = {
            j: column.value
            for j, column in enumerate(codec.columns_)
            if column.kind == "constant" and column.form.role != "categorical" and j not in given
        }
        found = {j: float(value) for j, value in found.items() if value is not None}
        self.places = np.array(list(found), dtype=np.intp)
        self.values = np.array(list(found.values()), dtype=np.float64)
        self.nats = float(max(np.log((n_rows + 1) / max(len(found), 1)), 0.0))

    def departed(self, X: Any) -> np.ndarray:
        """Where cells ``(rows, columns)`` of a table have another value; a missing one has none.

        Tables that are sparse, of which nothing is made dense, have no such cells.
        """
        if issparse(X) or not len(self.places):
            return np.zeros((X.shape[0] if hasattr(X, "shape") else len(X), 0), dtype=bool)
        cells = numbers_of(_safe_indexing(X, self.places, axis=1))
        low, high = np.minimum(cells, self.values), np.maximum(cells, self.values)
        return ~is_constant(low, high) & ~np.isnan(cells)
