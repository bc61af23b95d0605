"""Frames that say something of each cell of a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .frames import open_table
from .pandas_frames import PandasTable


def per_cell(X: Any, names: Sequence, values: np.ndarray) -> pd.DataFrame:
    """A frame with a column for each name, its rows labelled as those of the table.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_columns)
        The table.
    names : sequence
        Names of the columns.
    values : ndarray of shape (n_rows, n_names)
        What is said.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.per_cell import per_cell
    >>> per_cell(np.eye(2), ["x0", "x1"], np.zeros((2, 2)))
        x0   x1
    0  0.0  0.0
    1  0.0  0.0
    """
    if not isinstance(X, pd.DataFrame):
        return pd.DataFrame(values, columns=list(names))
    columns: Any = list(names)
    if X.columns.nlevels > 1:
        rest = ("",) * (X.columns.nlevels - 1)
        tuples = [name if isinstance(name, tuple) else (name, *rest) for name in names]
        columns = pd.MultiIndex.from_tuples(tuples)
    frame = pd.DataFrame(values, index=X.index, columns=columns)
    return PandasTable.with_level_names(frame, X.columns.names)


def numbers_of(X: Any) -> np.ndarray:
    """The cells of a table as numbers ``(rows, columns)``; those of other columns mean nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.per_cell import numbers_of
    >>> numbers_of(np.eye(1))
    array([[1.]])
    """
    table = open_table(X)
    numbers = np.full((table.n_rows, len(table.names)), np.nan)
    for panel in table.panels():
        place = slice(None) if panel.position is None else [panel.position]
        numbers[:, place] = panel.matrix
    return numbers
