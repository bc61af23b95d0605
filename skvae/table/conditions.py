"""Cells that are given in advance: checked against the columns, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from .categories import CategoricalColumn
from .codec import TableCodec
from .columns import ConstantColumn
from .filling import filled
from .frames import container_of, labelled_as


class Conditions:
    """Given cells of one or several rows.

    Parameters
    ----------
    codec : TableCodec
        Fitted.
    given : mapping, DataFrame or sequence of mappings
        Values by the name of their column, or by its position in an array; a mapping is one
        condition, a frame or a sequence has one per row.
    asker : str
        Who asks, for the errors.

    Attributes
    ----------
    is_one : bool
        Whether one condition serves all rows.
    where : ndarray of bool (rows, columns)
        Which cells are given.
    frame : pandas.DataFrame
        The given cells; None elsewhere.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.table import TableCodec
    >>> X = pd.DataFrame({"size": [1.0, 2.0, 3.0], "shape": ["disc", "ring", "disc"]})
    >>> given = Conditions(TableCodec().fit(X), {"shape": "ring"}, "sample")
    >>> given.is_one, given.where
    (True, array([[False,  True]]))
    """

    def __init__(self, codec: TableCodec, given: Any, asker: str):
        self.codec, self.given, self.asker = codec, given, asker
        self.is_one = isinstance(given, Mapping)
        rows = [given] if self.is_one else _rows_of(given, asker)
        names = [column.name for column in codec.columns_]
        cells = np.full((len(rows), len(names)), None, dtype=object)
        self.where = np.zeros(cells.shape, dtype=bool)
        for i, row in enumerate(rows):
            for key, value in row.items():
                place = self._place(key, names)
                cells[i, place] = self._checked(codec.columns_[place], value)
                self.where[i, place] = True
        if self.where.all(1).any():
            raise ValueError(
                f"{asker} expects at least one column to draw, got all {len(names)} columns in "
                "given. Leave out those that are to be drawn."
            )
        self.frame = pd.DataFrame(
            {j: _series(column, cells[:, j]) for j, column in enumerate(codec.columns_)}
        )
        self.frame.columns = pd.Index(names, tupleize_cols=False)

    def in_container(self, container: str) -> Any:
        """The given cells as a table of this library."""
        if container == "pandas":
            return self.frame
        if container == "polars":
            import polars as pl

            from .polars_frames import frame_of

            return frame_of(
                [
                    pl.Series(str(n), [x if x == x else None for x in c], strict=False)
                    for n, c in self.frame.items()
                ]
            )
        numbers = [pd.to_numeric(self.frame.iloc[:, j]) for j in range(self.frame.shape[1])]
        return np.column_stack([column.to_numpy(np.float64) for column in numbers])

    def check_count(self, n_samples: int) -> None:
        """Refuse a number of rows that several conditions do not have."""
        if not self.is_one and n_samples not in (1, len(self.where)):
            raise ValueError(
                f"{self.asker} got {len(self.where)} conditions for n_samples={n_samples}. "
                "Leave out n_samples, or pass one condition for all rows."
            )

    def put_into(self, table: Any) -> Any:
        """The table with the given cells as given; one condition serves all its rows."""
        container = container_of(table)
        cells, where = self.in_container(container), self.where
        if self.is_one:
            place = np.zeros(len(table), dtype=np.intp)
            where = where[place]
            cells = cells.iloc[place] if container == "pandas" else cells[place]
        return labelled_as(filled(table, where, cells), self.given)

    def _place(self, key: Any, names: list) -> int:
        if key in names:
            return names.index(key)
        whole = isinstance(key, Integral) and not isinstance(key, bool)
        if whole and self.codec.container_ == "numpy" and 0 <= int(key) < len(names):
            return int(key)
        known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        if self.codec.container_ == "numpy":
            known = f"positions from 0 to {len(names) - 1}"
        raise ValueError(
            f"{self.asker} got a given value for column {key!r}, which fit has not seen; "
            f"expected {known}."
        )

    def _checked(self, column: Any, value: Any) -> Any:
        """The value as a cell of the column."""
        scalar = isinstance(value, (str, bytes)) or np.ndim(value) == 0
        if not scalar:
            self._refuse(column, "one value", value, "For one condition per row pass a DataFrame")
        if value is None or value is pd.NaT or value is pd.NA or value != value:
            self._refuse(column, "a value", value, "Leave out the column to have it drawn")
        if _is_time(column):
            value = self._time(column, value)
        if isinstance(column, CategoricalColumn):
            if value not in column.categories + column.rare:
                levels = ", ".join(map(repr, column.categories[:20]))
                more = ", ..." if column.size > 20 else ""
                self._refuse(column, f"one of its categories, {levels}{more}", value)
        elif isinstance(column, ConstantColumn):
            if (value.timestamp() if _is_time(column) else value) != column.value:
                known = f"its only value in fit, {column.value!r}"
                self._refuse(column, known, value, "Leave it out")
        else:
            value = self._number(column, value)
        return value

    def _time(self, column: Any, value: Any) -> pd.Timestamp:
        zone, time = column.form.zone, pd.NaT
        if not isinstance(value, (Real, np.number, np.bool_)):
            time = pd.to_datetime(value, errors="coerce")
        if not isinstance(time, pd.Timestamp) or (time.tz is not None and zone is None):
            kind = "a date-time" if zone else "a date-time without a time zone"
            self._refuse(column, kind, value)
        if zone is None:
            return time
        return time.tz_localize(zone) if time.tz is None else time.tz_convert(zone)

    def _number(self, column: Any, value: Any) -> Any:
        number = getattr(column.form, "number", None)
        if number is None:
            return value
        kind = np.dtype(number).kind
        flags = kind == "b"
        if flags and value not in (False, True):
            self._refuse(column, "True or False", value)
        is_number = isinstance(value, (Real, np.number, np.bool_))
        if kind in "iufb" and not is_number:
            self._refuse(column, "a number", value)
        if kind in "iuf" and not np.isfinite(float(value)):
            self._refuse(column, "a finite number", value)
        if kind in "iu" and float(value) != np.rint(float(value)):
            self._refuse(column, "a whole number", value)
        outside = getattr(column, "outside", None)
        if outside is not None and is_number:
            beyond = outside(np.array([float(value)]))
            if beyond is not None and beyond.any():
                self._refuse(column, column.domain, value)
        return bool(value) if flags else value

    def _refuse(self, column: Any, expected: str, value: Any, remedy: str = "") -> None:
        end = f" {remedy}." if remedy else ""
        raise ValueError(
            f"{self.asker}: the given value of column {column.name!r} should be {expected}; got "
            f"{value!r} of type {type(value).__name__}.{end}"
        )


def _is_time(column: Any) -> bool:
    return column.form.role == "datetime"


def _series(column: Any, cells: np.ndarray) -> pd.Series:
    series = pd.Series(cells, dtype=object)
    if not _is_time(column):
        return series.infer_objects()
    return pd.to_datetime(series, utc=True).dt.tz_convert(column.form.zone)


def _rows_of(given: Any, asker: str) -> list[Mapping]:
    if container_of(given) == "pandas":
        return [dict(zip(given.columns, row)) for row in given.itertuples(index=False, name=None)]
    if container_of(given) == "polars":
        return given.to_dicts()
    if isinstance(given, Sequence) and given and all(isinstance(row, Mapping) for row in given):
        return list(given)
    raise TypeError(
        f"{asker} expects given to be a dict of column to value, or a DataFrame or list of dicts "
        f"with one condition per row, got {type(given).__name__}."
    )
