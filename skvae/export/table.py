"""The cells of a table on their way into a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..exceptions import ExportError
from ..table.columns import Column
from .graph import Graph, Value

# What a missing cell of a column of strings may be, unless it is a category.
MISSING_TEXT = ("", "nan", "NaN", "None", "<NA>", "NaT")


def labels_of(column: Column) -> list:
    """All categories of a column, none where it has no such."""
    return [*getattr(column, "categories", ()), *getattr(column, "rare", ())]


def is_text(column: Column) -> bool:
    """Whether the cells of a column are strings."""
    if column.form.role != "categorical":
        return False
    labels, value = labels_of(column), getattr(column, "value", None)
    return any(isinstance(label, str) for label in [*labels, value]) or not labels


def cell_type(column: Column) -> Any:
    """What the cells of a column come as: ``str``, or the float that holds them exactly.

    Dates are seconds since 1970 in UTC.
    """
    if is_text(column):
        return str
    number = column.form.number
    return np.float32 if number and np.can_cast(number, np.float32) else np.float64


def missing_texts(column: Column) -> list[str]:
    """What a missing cell of a column of strings may be: no category."""
    labels = labels_of(column)
    return [text for text in MISSING_TEXT if text not in labels]


def missing_text(column: Column) -> str:
    """What stands for a missing cell of a column of strings."""
    return next(iter(missing_texts(column)), MISSING_TEXT[0])


class Cells:
    """The inputs of a graph as columns, in the order of the table.

    Parameters
    ----------
    values : sequence of Value (rows, width)
        One for all columns, one for each, or anything in between.
    widths : sequence of int
    columns : list of Column
    """

    def __init__(self, values: Sequence[Value], widths: Sequence[int], columns: list):
        if sum(widths) != len(columns):
            raise ExportError(
                f"The inputs have {sum(widths)} columns, and the model was fitted to "
                f"{len(columns)}: {[str(column.name) for column in columns][:10]}."
            )
        self.graph: Graph = values[0].graph
        self.values, self.columns = list(values), columns
        self.places = [(i, j) for i, width in enumerate(widths) for j in range(width)]
        self._numbers: dict[int, Value] = {}

    @classmethod
    def inputs(cls, graph: Graph, columns: list) -> Cells:
        """New inputs: ``X`` for a table of numbers, else one by the name of each column."""
        types = [cell_type(column) for column in columns]
        numbers = all(column.form.role in ("numeric", "boolean") for column in columns)
        if numbers:
            whole = graph.input("X", np.result_type(*types).type, len(columns))
            return cls([whole], [len(columns)], columns)
        values = [graph.input(str(c.name), kind, 1) for c, kind in zip(columns, types)]
        return cls(values, [1] * len(columns), columns)

    def numbers(self, positions: Sequence[int]) -> Value:
        """Columns of numbers ``(rows, columns)`` in float64."""
        sources = {self.places[p][0] for p in positions}
        if len(sources) > 1:
            return self.graph.joined([self.numbers([p]) for p in positions], 1)
        (source,) = sources
        whole, within = self._as_numbers(source), [self.places[p][1] for p in positions]
        return whole if within == list(range(self._width(source))) else whole.take(within, 1)

    def text(self, position: int) -> Value:
        """A column of strings ``(rows, 1)``."""
        source, within = self.places[position]
        value, column = self.values[source], self.columns[position]
        if value.dtype is not str:
            raise ExportError(
                f"Column {column.name!r} holds strings, and its input in the graph holds "
                "numbers. Give it an input of its own, of strings."
            )
        return value if self._width(source) == 1 else value.take([within], 1)

    def _width(self, source: int) -> int:
        return sum(place[0] == source for place in self.places)

    def _as_numbers(self, source: int) -> Value:
        if source not in self._numbers:
            value = self.values[source]
            if value.dtype is str:
                names = [c.name for c, (s, _) in zip(self.columns, self.places) if s == source]
                raise ExportError(
                    f"The columns {names} hold numbers, and their input in the graph holds "
                    "strings. Give them an input of numbers."
                )
            self._numbers[source] = value.cast(np.float64)
        return self._numbers[source]

    def refused(self) -> Value | None:
        """Rows ``(rows, 1)`` with an infinite number, which no table may hold."""
        sources = sorted({place[0] for place in self.places})
        numbers = [self._as_numbers(s) for s in sources if self.values[s].dtype is not str]
        return self.graph.either(*(x.apply("IsInf", bool).any() for x in numbers))
