"""Frames that say something of each cell of a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


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
    index = X.index if isinstance(X, pd.DataFrame) else None
    return pd.DataFrame(values, index=index, columns=list(names))
