"""Gaps of a table: where they are, and how they are filled without touching another cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .casting import cast
from .frames import container_of, open_table


def missing_cells(X: Any) -> np.ndarray:
    """Where cells are missing, ``(rows, columns)``.

    Examples
    --------
    >>> import numpy as np
    >>> missing_cells(np.array([[1.0, np.nan]]))
    array([[False,  True]])
    """
    table = open_table(X)
    missing = np.zeros((table.n_rows, len(table.names)), dtype=bool)
    for panel in table.panels():
        place = slice(None) if panel.position is None else [panel.position]
        missing[:, place] = np.isnan(panel.matrix)
    return missing


def blanked(X: Any, placeholder: Any) -> Any:
    """A copy of the table with missing cells where it holds ``placeholder``.

    Examples
    --------
    >>> import numpy as np
    >>> blanked(np.array([[1, -1]]), -1)
    array([[ 1., nan]])
    """
    container = container_of(X)
    return _BLANKED[container](np.asarray(X) if container == "numpy" else X, placeholder)


def filled(X: Any, where: np.ndarray, values: Any) -> Any:
    """A copy of the table with the cells of ``values`` in these places.

    Parameters
    ----------
    X : ndarray or DataFrame
    where : ndarray of bool (rows, columns)
    values : ndarray or DataFrame
        A table of the same shape and container.

    Examples
    --------
    >>> import numpy as np
    >>> filled(np.zeros((1, 2)), np.array([[False, True]]), np.ones((1, 2)))
    array([[0., 1.]])
    """
    return _FILLED[container_of(X)](X, where, values)


def clipped(X: Any, limits: Mapping[int, tuple[float | None, float | None]]) -> Any:
    """A copy of the table with the numbers of these columns between two others, None for no limit.

    Examples
    --------
    >>> import numpy as np
    >>> clipped(np.array([[-1.0, -1.0]]), {1: (0.0, None)})
    array([[-1.,  0.]])
    """
    return _CLIPPED[container_of(X)](X, limits) if limits else X


def columns_taken(X: Any, places: Sequence[int]) -> Any:
    """The table of these columns."""
    return _TAKEN[container_of(X)](X, list(places))


def columns_added(X: Any, names: Sequence[str], flags: np.ndarray) -> Any:
    """The table with columns of flags appended, named in a frame."""
    return _ADDED[container_of(X)](X, list(names), flags)


# -- NumPy ----------------------------------------------------------------------------------


def _blanked_array(X, placeholder):
    hits = X == placeholder
    if X.dtype.kind in "biu":
        X = X.astype(np.float64)
    out = X.copy()
    if np.any(hits):
        out[hits] = np.nan
    return out


def _filled_array(X, where, values):
    if not where.any():
        return X.copy()
    cells = values[where]
    if X.dtype.kind in "biuf" and cells.dtype.kind in "biuf":
        cells = cast(cells.astype(np.float64), X.dtype.name)
        out = X.copy()
    else:
        out = X.astype(object)
    out[where] = cells
    return out


def _clipped_array(X, limits):
    out = X.copy()
    for place, limit in limits.items():
        out[:, place] = np.clip(out[:, place], *limit)
    return out


def _added_to_array(X, names, flags):
    return np.hstack([X, flags.astype(X.dtype)])


# -- pandas ---------------------------------------------------------------------------------


def _blanked_pandas(X, placeholder):
    out = X.copy()
    for position in range(X.shape[1]):
        column = X.iloc[:, position]
        hits = (column == placeholder).fillna(False).to_numpy(dtype=bool)
        if hits.any():
            out.isetitem(position, column.mask(hits))
    return out


def _filled_pandas(X, where, values):
    out = X.copy()
    for position in np.flatnonzero(where.any(0)):
        rows = np.flatnonzero(where[:, position])
        column, new = X.iloc[:, position], values.iloc[:, position]
        if len(rows) == len(X) and not _fits(new.dtype, column.dtype):
            out.isetitem(position, new.array)
            continue
        # A column that was empty in fit has nothing to fill its gaps with.
        rows = rows[new.iloc[rows].notna().to_numpy()]
        cells = new.iloc[rows].to_list()
        array = column.array.copy()
        if hasattr(array, "add_categories"):
            there = set(array.categories)
            new = [cell for cell in dict.fromkeys(cells) if cell not in there]
            array = array.add_categories(new) if new else array
        elif getattr(array.dtype, "kind", "O") in "iu":
            cells = cast(np.asarray(cells, dtype=np.float64), _number_of(array.dtype)).tolist()
        array[rows] = cells
        out.isetitem(position, array)
    return out


def _fits(new, dtype) -> bool:
    """Whether a dtype is one for these cells: that of nothing but None, as in JSON, may not be."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "OMf":
        return True
    return new.kind in ("iuf" if dtype.kind == "f" else dtype.kind)


def _clipped_pandas(X, limits):
    out = X.copy()
    for place, limit in limits.items():
        out.isetitem(place, X.iloc[:, place].clip(*limit))
    return out


def _number_of(dtype) -> str:
    return getattr(dtype, "numpy_dtype", dtype).name


def _added_to_pandas(X, names, flags):
    out = X.copy()
    for name, column in zip(names, flags.T):
        out[name] = column
    return out


# -- polars ---------------------------------------------------------------------------------


def _blanked_polars(X, placeholder):
    import polars as pl

    from .polars_frames import frame_of

    same = pl.String if isinstance(placeholder, str) else pl.Float64
    columns = []
    for column in X.get_columns():
        hits = (column.cast(same, strict=False) == placeholder).fill_null(False)
        blank = pl.Series([None] * len(column), dtype=column.dtype)
        columns.append(column.zip_with(~hits, blank).alias(column.name))
    return frame_of(columns)


def _filled_polars(X, where, values):
    import polars as pl

    from .polars_frames import frame_of

    columns = []
    for position, column in enumerate(X.get_columns()):
        gaps = where[:, position]
        if gaps.any():
            cells = values.to_series(position)
            if column.dtype == pl.Null:
                column = column.cast(cells.dtype)
            if cells.dtype != column.dtype:
                cells = cells.cast(pl.Float64).round() if column.dtype.is_integer() else cells
                cells = cells.cast(column.dtype)
            column = column.zip_with(pl.Series(~gaps), cells).alias(column.name)
        columns.append(column)
    return frame_of(columns)


def _clipped_polars(X, limits):
    places = {X.columns[place]: limit for place, limit in limits.items()}
    return X.with_columns([X[name].clip(*limit) for name, limit in places.items()])


def _added_to_polars(X, names, flags):
    import polars as pl

    return X.with_columns([pl.Series(name, column) for name, column in zip(names, flags.T)])


_BLANKED = {"numpy": _blanked_array, "pandas": _blanked_pandas, "polars": _blanked_polars}
_FILLED = {"numpy": _filled_array, "pandas": _filled_pandas, "polars": _filled_polars}
_CLIPPED = {"numpy": _clipped_array, "pandas": _clipped_pandas, "polars": _clipped_polars}
_ADDED = {"numpy": _added_to_array, "pandas": _added_to_pandas, "polars": _added_to_polars}
_TAKEN = {
    "numpy": lambda X, places: X[:, places],
    "pandas": lambda X, places: X.iloc[:, places],
    "polars": lambda X, places: X[:, places],
}
