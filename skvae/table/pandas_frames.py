"""pandas frames as tables."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from numbers import Complex, Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from .casting import cast, label_cells, number_cells
from .dates import date_form, read_ticks, write_ticks
from .frames import Form, Panel, Part, Table
from .refusals import (
    plain_labels,
    refuse_column,
    refuse_complex,
    refuse_duplicates,
    refuse_infinite,
    refuse_string,
)

_MASKED = {
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
    "b": pd.arrays.BooleanArray,
}


class PandasTable(Table):
    """A `pandas.DataFrame`."""

    container = "pandas"

    def __init__(self, X: pd.DataFrame):
        super().__init__(X)
        refuse_duplicates(self.names)

    @property
    def names(self) -> list:
        return self.X.columns.tolist()

    @property
    def level_names(self) -> list:  # type: ignore[override]
        return list(self.X.columns.names)

    def take(self, keep: np.ndarray) -> "PandasTable":
        return PandasTable(self.X.iloc[np.flatnonzero(keep)])

    def infinite(self) -> Any:
        if _is_numeric_matrix(self.X) and np.isfinite(self.X.to_numpy().sum()):
            return None
        for position, (name, dtype) in enumerate(zip(self.names, self.X.dtypes, strict=True)):
            if types.is_float_dtype(dtype) and not isinstance(dtype, pd.SparseDtype):
                if np.isinf(_floats(self.X.iloc[:, position])).any():
                    return name
        return None

    def panels(self) -> Iterator[Panel]:
        if _is_numeric_matrix(self.X):
            forms = [Form("numeric", d.name, number=d.name) for d in self.X.dtypes]
            yield Panel(None, forms, self.X.to_numpy())
            return
        for position, (name, dtype) in enumerate(zip(self.names, self.X.dtypes, strict=True)):
            read = next(read for applies, read in _READERS if applies(dtype))
            form, cells, labels = read(name, self.X.iloc[:, position])
            yield Panel(position, [form], cells[:, None], labels)

    @classmethod
    def below(cls, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(parts, ignore_index=True)

    @classmethod
    def build(cls, forms: Sequence[Form], parts: Iterable[Part], n_rows: int) -> pd.DataFrame:
        names, arrays = [], {}
        for position, part in enumerate(parts):
            names.append(part.name)
            arrays[position] = _WRITERS[part.form.role](part)
        frame = pd.DataFrame(arrays, index=pd.RangeIndex(n_rows), copy=False)
        several = isinstance(names[0], tuple)
        frame.columns = pd.MultiIndex.from_tuples(names) if several else pd.Index(names)
        return frame

    @classmethod
    def with_level_names(cls, rows: pd.DataFrame, names: list | None) -> pd.DataFrame:
        # Tuples that are labels of one level come back as labels of several.
        if names is not None and len(names) == rows.columns.nlevels:
            rows.columns.names = names
        return rows


def _is_numeric_matrix(X: pd.DataFrame) -> bool:
    return all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in X.dtypes)


def _floats(column: pd.Series) -> np.ndarray:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _number_of(dtype) -> str:
    return getattr(dtype, "numpy_dtype", dtype).name


def _read_numbers(name, column):
    form = Form("numeric", str(column.dtype), number=_number_of(column.dtype))
    return form, _floats(column), None


def _read_flags(name, column):
    return Form("boolean", str(column.dtype), number="bool"), _floats(column), None


def _read_declared(name, column):
    levels = column.cat.categories
    labels = plain_labels(name, column.dtype, levels)
    form = Form(
        "categorical",
        "category",
        levels=labels,
        level_dtype=str(levels.dtype),
        ordered=bool(column.cat.ordered),
    )
    codes = column.cat.codes.to_numpy()
    return form, np.where(codes < 0, np.nan, codes), labels


def _read_text(name, column):
    codes, labels = pd.factorize(column, sort=True)
    form = Form("categorical", str(column.dtype))
    return form, np.where(codes < 0, np.nan, codes), [str(label) for label in labels]


def _read_dates(name, column):
    dtype = column.dtype
    zone = column.dt.tz
    if zone is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        if not _is_named(zone):
            refuse_column(name, zone, f"df[{name!r}].dt.tz_convert('UTC')")
    unit = column.dt.unit
    dates = column.to_numpy(dtype=f"datetime64[{unit}]", na_value=np.datetime64("NaT"))
    seconds = read_ticks(dates.view(np.int64), np.isnat(dates), unit)
    form = date_form(str(dtype), seconds, None if zone is None else str(zone))
    return form, seconds, None


def _is_named(zone) -> bool:
    """Whether a time zone can be had again by its name, which is all that is kept."""
    try:
        # Of UTC there are several, which are not equal: those of datetime and of zoneinfo.
        return str(zone) == "UTC" or pd.DatetimeTZDtype("ns", str(zone)).tz == zone
    except (TypeError, ValueError, KeyError):
        return False


def _read_objects(name, column):
    present = column[column.notna()]
    kind = types.infer_dtype(present)
    if kind == "string":
        return _read_text(name, column)
    if kind == "boolean":
        return Form("boolean", "object", number="bool"), _floats(column), None
    if kind not in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        _refuse_objects(name, present)
    cells = _floats(column)
    if np.isinf(cells).any():
        refuse_infinite(name)
    number = "int64" if kind == "integer" else "float64"
    return Form("numeric", "object", number=number), cells, None


_DATES = ("date", "datetime", "datetime64", "Timestamp")


def _refuse_objects(name, present):
    for cell in present:
        if isinstance(cell, str):
            refuse_string(
                cell,
                f"column {name!r} mixes strings with other objects: make every cell a number, "
                f'or use df[{name!r}].astype("category") to model it as categories',
            )
        if isinstance(cell, Complex) and not isinstance(cell, Real):
            refuse_complex(name)
    others = (cell for cell in present if not isinstance(cell, (Real, Decimal)))
    other = type(next(others, None)).__name__
    if other != "NoneType":
        dates = f"pd.to_datetime(df[{name!r}])"
        repair = dates if other in _DATES else "turn it into columns of numbers, or drop it"
        refuse_column(name, f"object, which holds {other} cells,", repair)


def _refuse(repair):
    def read(name, column):
        refuse_column(name, column.dtype, repair.format(name=name))

    return read


def _refuse_complex_column(name, column):
    refuse_complex(name)


def _is_timedelta(dtype) -> bool:
    return getattr(dtype, "kind", "") == "m"


def _is_period(dtype) -> bool:
    return isinstance(dtype, pd.PeriodDtype)


# The first that applies reads the column; the order matters where pandas' predicates overlap.
_READERS = (
    (
        lambda dtype: isinstance(dtype, pd.SparseDtype),
        _refuse(
            "df[{name!r}].sparse.to_dense(); where all columns are, df.sparse.to_dense(), or "
            "df.sparse.to_coo().tocsr() with a likelihood of counts or flags"
        ),
    ),
    (lambda dtype: isinstance(dtype, pd.CategoricalDtype), _read_declared),
    (lambda dtype: dtype.kind == "O" and isinstance(dtype, np.dtype), _read_objects),
    (types.is_bool_dtype, _read_flags),
    (types.is_complex_dtype, _refuse_complex_column),
    (types.is_numeric_dtype, _read_numbers),
    (_is_timedelta, _refuse("df[{name!r}].dt.total_seconds(), or drop the column")),
    (_is_period, _refuse("df[{name!r}].dt.to_timestamp()")),
    (types.is_datetime64_any_dtype, _read_dates),
    (types.is_string_dtype, _read_text),
    (lambda dtype: True, _refuse('df[{name!r}].astype(str).astype("category"), or drop it')),
)


def _write_numbers(part):
    form, cells = part.form, part.cells
    missing = np.isnan(cells)
    if form.dtype == "object" or (form.dtype == "bool" and missing.any()):
        return number_cells(cells, form.number)
    kind = np.dtype(form.number).kind
    if form.dtype == form.number:
        return cells if kind != "f" and missing.any() else cast(cells, form.number)
    numbers = cast(np.where(missing, 0.0, cells), form.number)
    column = pd.Series(_MASKED[kind](numbers, missing))
    return column if str(column.dtype) == form.dtype else column.astype(form.dtype)


def _write_labels(part):
    form = part.form
    if form.is_text:
        return pd.Series(label_cells(part.cells, part.labels), dtype=form.dtype)
    levels = part.labels if form.levels is None else form.levels
    place = {level: code for code, level in enumerate(levels)}
    recode = np.array([place[label] for label in part.labels] + [-1], dtype=np.intp)
    codes = recode[np.where(np.isnan(part.cells), -1, part.cells).astype(np.intp)]
    return pd.Categorical.from_codes(
        codes, categories=pd.Index(levels, dtype=form.level_dtype), ordered=form.ordered
    )


def _write_dates(part):
    form = part.form
    dtype = types.pandas_dtype(form.dtype if form.dtype != "datetime" else "datetime64[us]")
    column = pd.Series(write_ticks(part.cells, form.step, _unit_of(dtype)))
    if form.zone is not None:
        column = column.dt.tz_localize("UTC").dt.tz_convert(form.zone)
    if form.dtype in (str(column.dtype), "datetime"):
        return column
    return column.astype(dtype)


def _unit_of(dtype) -> str:
    arrow = getattr(dtype, "pyarrow_dtype", None)
    if arrow is not None:
        return getattr(arrow, "unit", "s")
    return np.datetime_data(getattr(dtype, "base", dtype))[0]


_WRITERS = {
    "numeric": _write_numbers,
    "boolean": _write_numbers,
    "categorical": _write_labels,
    "datetime": _write_dates,
}
