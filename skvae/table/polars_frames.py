"""polars frames as tables."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from .casting import cast, label_cells
from .dates import date_form, read_ticks, write_ticks
from .frames import Form, Panel, Part, Table
from .refusals import refuse_column

_NUMBERS = {
    getattr(pl, name): name.lower()
    for name in (
        *("Int8", "Int16", "Int32", "Int64"),
        *("UInt8", "UInt16", "UInt32", "UInt64"),
        *("Float32", "Float64"),
    )
}
_REPAIRS = {
    pl.Time: "numbers such as pl.col({name!r}).dt.hour(), or drop the column",
    pl.Duration: "pl.col({name!r}).dt.total_seconds(), or drop the column",
    pl.Decimal: "pl.col({name!r}).cast(pl.Float64)",
    pl.Binary: "pl.col({name!r}).cast(pl.String), or drop the column",
    pl.List: "turn it into columns of numbers or strings, or drop it",
    pl.Array: "turn it into columns of numbers or strings, or drop it",
    pl.Struct: "X.unnest({name!r})",
}


class PolarsTable(Table):
    """A `polars.DataFrame`."""

    container = "polars"

    @property
    def names(self) -> list[str]:
        return self.X.columns

    def take(self, keep: np.ndarray) -> "PolarsTable":
        return PolarsTable(self.X.filter(pl.Series(keep)))

    def infinite(self) -> Any:
        for column in self.X:
            if column.dtype.is_float() and column.is_infinite().any():
                return column.name
        return None

    def panels(self) -> Iterator[Panel]:
        if all(dtype in _NUMBERS for dtype in self.X.dtypes):
            forms = [_number_form(dtype) for dtype in self.X.dtypes]
            yield Panel(None, forms, self.X.to_numpy())
            return
        for position, column in enumerate(self.X):
            read = _READERS.get(column.dtype.base_type(), _refuse)
            form, cells, labels = read(column)
            yield Panel(position, [form], cells[:, None], labels)

    @classmethod
    def below(cls, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat(parts)

    @classmethod
    def build(cls, forms: Sequence[Form], parts: Iterable[Part], n_rows: int) -> pl.DataFrame:
        return frame_of([_WRITERS[part.form.role](part) for part in parts])


def frame_of(columns: list) -> pl.DataFrame:
    """The frame of these columns; of a list polars would name the one called ``""`` anew."""
    return pl.DataFrame({column.name: column for column in columns})


def _number_form(dtype) -> Form:
    return Form("numeric", str(dtype), number=_NUMBERS[dtype])


def _read_numbers(column):
    return _number_form(column.dtype), column.cast(pl.Float64).to_numpy(), None


def _read_nothing(column):
    form = Form("numeric", "Null", number="float64")
    return form, np.full(len(column), np.nan), None


def _read_flags(column):
    form = Form("boolean", "Boolean", number="bool")
    return form, column.cast(pl.Float64).to_numpy(), None


def _read_strings(column):
    labels = column.drop_nulls().unique().cast(pl.String).sort().to_list()
    form = Form("categorical", str(column.dtype.base_type()))
    return form, _codes(column, labels), labels


def _read_enum(column):
    labels = column.dtype.categories.to_list()
    return Form("categorical", "Enum", levels=labels), _codes(column, labels), labels


def _codes(column, labels):
    physical = column.cast(pl.String).cast(pl.Enum(labels)).to_physical()
    return physical.cast(pl.Float64).to_numpy()


def _read_dates(column):
    dtype = column.dtype
    unit: Any = getattr(dtype, "time_unit", "us")
    zone = getattr(dtype, "time_zone", None)
    ticks = column.cast(pl.Datetime(unit)).to_physical()
    missing = ticks.is_null().to_numpy()
    seconds = read_ticks(ticks.fill_null(0).to_numpy(), missing, unit)
    name = "Date" if dtype == pl.Date else unit
    return date_form(name, seconds, zone), seconds, None


def _refuse(column):
    repair = _REPAIRS.get(column.dtype.base_type(), "pl.col({name!r}).cast(pl.Float64)")
    refuse_column(column.name, column.dtype, repair.format(name=column.name))


_READERS = {
    **dict.fromkeys(_NUMBERS, _read_numbers),
    pl.Null: _read_nothing,
    pl.Boolean: _read_flags,
    pl.String: _read_strings,
    pl.Categorical: _read_strings,
    pl.Enum: _read_enum,
    pl.Date: _read_dates,
    pl.Datetime: _read_dates,
}


def _write_numbers(part):
    form, missing = part.form, np.isnan(part.cells)
    name = str(part.name)
    if form.dtype == "Null":
        return pl.Series(name, [None] * len(missing), dtype=pl.Null)
    column = pl.Series(name, cast(np.where(missing, 0.0, part.cells), form.number))
    if not missing.any():
        return column
    return pl.select(pl.when(pl.Series(~missing)).then(column).alias(name)).to_series()


def _write_labels(part):
    name, labels = str(part.name), part.labels
    if labels and not any(isinstance(label, str) for label in labels):
        # polars has no categories of numbers: they come as the numbers they are.
        return pl.Series(name, label_cells(part.cells, labels).tolist(), strict=False)
    dtype: Any = pl.String if part.form.is_text else pl.Categorical
    if part.form.dtype == "Enum":
        dtype = pl.Enum(part.form.levels)
    texts = label_cells(part.cells, [str(label) for label in labels]).tolist()
    return pl.Series(name, texts, dtype=dtype)


def _write_dates(part):
    form = part.form
    # polars has no unit of seconds.
    unit = form.dtype if form.dtype in ("ms", "us", "ns") else "us"
    column = pl.Series(str(part.name), write_ticks(part.cells, form.step, unit))
    if form.dtype == "Date":
        return column.cast(pl.Date)
    if form.zone is None:
        return column
    return column.dt.replace_time_zone("UTC").dt.convert_time_zone(form.zone)


_WRITERS = {
    "numeric": _write_numbers,
    "boolean": _write_numbers,
    "categorical": _write_labels,
    "datetime": _write_dates,
}
