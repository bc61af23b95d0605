"""Tables in a graph: from cells to what a model reads, and back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ..exceptions import ExportError
from ..table.codec import TableCodec
from ..table.conditioned import ConditionedCodec
from .columns import COLUMNS, Encoded, unseen
from .graph import Graph, Value
from .registry import Exporters
from .table import Cells, cell_type

CODECS = Exporters("codec")


class Rows(NamedTuple):
    """A table as a model reads it, ``(rows, columns)`` each.

    Parameters
    ----------
    values : Value of float32
    mask : Value of bool
    inputs : Value of float32
    log_jacobian : Value of float64 or None
        0 where a cell is missing.
    refused : Value of bool (rows, 1) or None
        Rows that skvae raises an error for.
    """

    values: Value
    mask: Value
    inputs: Value
    log_jacobian: Value | None
    refused: Value | None


@CODECS.of(TableCodec)
def encoded(codec: Any, cells: Cells) -> Rows:
    """The modelled columns of a table."""
    graph, parts = cells.graph, []
    for exporter, columns, positions in _groups(codec):
        parts.append(exporter.encode(columns, positions, cells, codec.unknown))
    values, mask = (graph.joined([part[i] for part in parts]) for i in (0, 1))
    jacobian = None
    if any(part.log_jacobian is not None for part in parts):
        each = [_jacobian(part) for part in parts]
        jacobian = graph.where(mask, graph.joined(each), 0.0)
    bad = [part.refused.any() for part in parts if part.refused is not None]
    for position, column in enumerate(codec.columns_):
        only = column.kind == "constant" and column.form.role == "categorical"
        if only and column.value is not None and codec.unknown == "error":
            bad.append(unseen(column, position, cells))
    refused = graph.either(cells.refused(), *bad)
    return Rows(values, mask, _inputs(codec, parts), jacobian, refused)


@CODECS.of(ConditionedCodec)
def given(codec: Any, cells: Cells) -> Rows:
    """The modelled columns, with those that are given behind the inputs."""
    rows, conditions = encoded(codec, cells), encoded(codec.given_, cells)
    refused = cells.graph.either(rows.refused, conditions.refused)
    seen, pieces = [rows.inputs, conditions.inputs], codec.pieces_
    if len(pieces.columns):
        x = conditions.values.cast(np.float64).take(pieces.columns)
        share = ((x - pieces.edge) / pieces.width).clipped(0.0, 1.0)
        seen.append(((share - pieces.loc) / pieces.scale).cast(np.float32))
    inputs = cells.graph.joined(seen)
    return rows._replace(inputs=inputs, refused=refused)


def _groups(codec: Any) -> Iterable[tuple[Any, list, list[int]]]:
    """Modelled columns of one class, side by side, with their exporter and places."""
    order = codec.modelled_index_
    for _, group in groupby(order, lambda position: type(codec.columns_[position])):
        positions = list(group)
        columns = [codec.columns_[position] for position in positions]
        yield COLUMNS(columns[0]), columns, positions


def _jacobian(part: Encoded) -> Value:
    if part.log_jacobian is not None:
        return part.log_jacobian
    return part.values.cast(np.float64) * 0.0


def _inputs(codec: Any, parts: list[Encoded]) -> Value:
    found = [
        exporter.features(columns, part.values, part.observed)
        for (exporter, columns, _), part in zip(_groups(codec), parts)
    ]
    modelled = [codec.columns_[position] for position in codec.modelled_index_]
    indicated = [slot for slot, column in enumerate(modelled) if column.had_missing]
    graph = parts[0].values.graph
    if indicated:
        mask = graph.joined([part.observed for part in parts])
        found.append(mask.take(indicated).cast(np.float32))
    return graph.joined(found)


def shown(codec: Any, values: Value) -> Value:
    """What an encoder sees of values ``(rows, n_modelled)``, none of which is missing."""
    parts = values.parts([len(columns) for _, columns, _ in _groups(codec)])
    return _inputs(codec, [Encoded(part, part.equals(part)) for part in parts])


def decoded(codec: Any, values: Value, given: Cells | None = None) -> list[Value]:
    """Cells of best values ``(rows, n_modelled)``, one value ``(rows, 1)`` for each column.

    Columns that are conditions are those of the table that is ``given``.
    """
    wide = values.cast(np.float64)
    parts = wide.parts([1] * codec.n_modelled_)
    slot_of = {position: slot for slot, position in enumerate(codec.modelled_index_)}
    found = []
    for position, column in enumerate(codec.columns_):
        if position in slot_of:
            best, ceiling = parts[slot_of[position]], float(np.float32(column.ceiling))
            best = best if np.isinf(ceiling) else best.at_most(ceiling)
            cells = COLUMNS(column).decode(column, best)
        elif column.kind == "constant":
            cells = _constant(column, wide)
        elif given is None:
            raise ExportError(
                f"inverse_transform takes the condition {column.name!r} beside the codes, and "
                "cannot be exported. Export reconstruct, or fit with condition=None."
            )
        else:
            text = cell_type(column) is str
            cells = given.text(position) if text else given.numbers([position])
        found.append(cells if cells.dtype is str else _written(column, cells))
    return found


def _constant(column: Any, like: Value) -> Value:
    cell = column.value
    if cell_type(column) is str:
        return like.graph.filled(like, "" if cell is None else cell, str)
    return like.graph.filled(like, np.nan if cell is None else float(cell), np.float64)


def _written(column: Any, cells: Value) -> Value:
    """Numbers in the type that the column had."""
    form = column.form
    if form.role == "datetime":
        return (cells / form.step).apply("Round") * form.step if form.step else cells
    if form.role == "categorical":
        labels = getattr(column, "categories", None) or [column.value]
        return cells.cast(np.array(labels).dtype.type)
    if getattr(column, "value", 0.0) is None:
        return cells
    dtype = np.dtype(form.number)
    return _WRITTEN[dtype.kind](cells, dtype).cast(dtype.type)


def _whole(cells: Value, dtype: np.dtype) -> Value:
    info = np.iinfo(dtype)
    high = float(info.max)
    if int(high) > info.max:
        high = float(np.nextafter(high, 0.0))
    return cells.apply("Round").clipped(float(info.min), high)


def _real(cells: Value, dtype: np.dtype) -> Value:
    info = np.finfo(dtype)
    return cells.clipped(float(info.min), float(info.max))


_WRITTEN = {
    "b": lambda cells, dtype: cells >= 0.5,
    "i": _whole,
    "u": _whole,
    "f": _real,
}


def put_out(graph: Graph, codec: Any, cells: list[Value], name: str) -> None:
    """Outputs of a decoded table: one for an array, one for each column of a frame."""
    columns = codec.columns_
    if codec.container_ == "numpy" and not any(value.dtype is str for value in cells):
        dtype = np.result_type(*(value.dtype for value in cells)).type
        whole = graph.joined([value.cast(dtype) for value in cells])
        graph.output(name, whole, len(cells))
        return
    for column, value in zip(columns, cells):
        graph.output(f"{name}.{column.name}", value, 1)
