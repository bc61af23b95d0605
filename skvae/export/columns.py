"""Kinds of columns: cells as what is modelled, as what the encoder sees, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..table.bins import BinnedColumn
from ..table.categories import CategoricalColumn, OrdinalColumn
from ..table.columns import LARGEST, ContinuousColumn
from ..table.discrete import BinaryColumn, CountColumn
from ..table.margins import Margin
from ..table.positive import PositiveColumn
from ..table.ranks import RankColumn
from ..table.row_sizes import SMALLEST_TOTAL, SizedCountColumn
from .graph import ML, Value
from .registry import Exporters
from .searching import interpolated, place_of
from .table import MISSING_TEXT, Cells, is_text, labels_of

COLUMNS = Exporters("column")
MISSING, UNSEEN = -1, -2


class Encoded(NamedTuple):
    """Columns of one kind in a graph, ``(rows, columns)`` each.

    Parameters
    ----------
    values : Value of float32
        0 where a cell is missing.
    observed : Value of bool
    log_jacobian : Value of float64 or None
        As that of ``skvae.table.codec.Encoded``, but for missing cells, where it is anything.
    refused : Value of bool or None
        Cells that skvae raises an error for.
    """

    values: Value
    observed: Value
    log_jacobian: Value | None = None
    refused: Value | None = None


def _array(columns: list, name: str) -> np.ndarray:
    return np.array([getattr(column, name) for column in columns], dtype=np.float64)


def _observed(cells: Value, work: Value) -> tuple[Value, Value]:
    """Values in float32 with 0 in the place of missing cells, and where there are some."""
    missing = cells.apply("IsNaN", bool)
    work = cells.graph.where(missing, 0.0, work.clipped(-LARGEST, LARGEST))
    return work.cast(np.float32), ~missing


@COLUMNS.of(ContinuousColumn)
class Continuous:
    """Standardised numbers."""

    @staticmethod
    def encode(columns: list, positions: list[int], cells: Cells, unknown: str) -> Encoded:
        """Cells as values."""
        x = cells.numbers(positions)
        return Encoded(*_observed(x, (x - _array(columns, "loc")) / _array(columns, "scale")))

    @staticmethod
    def features(columns: list, values: Value, observed: Value) -> Value:
        """What the encoder sees."""
        return values

    @staticmethod
    def decode(column: Any, values: Value) -> Value:
        """Cells of values ``(rows, 1)``, both float64."""
        return values * column.scale + column.loc


@COLUMNS.of(PositiveColumn)
class Positive(Continuous):
    """Numbers by their logarithm, which goes on as its tangent below all that was seen."""

    @staticmethod
    def encode(columns, positions, cells, unknown):
        x, low = cells.numbers(positions), _array(columns, "low")
        log_slope = x.at_least(low).log()
        logs = log_slope + (x - low).at_most(0.0) / low
        values = (logs - _array(columns, "loc")) / _array(columns, "scale")
        return Encoded(*_observed(x, values), log_slope)

    @staticmethod
    def decode(column, values):
        logs = (values * column.scale + column.loc).at_most(np.log(np.finfo(np.float64).max))
        return logs.exp().at_least(column.low)


@COLUMNS.of(RankColumn)
class Rank(Continuous):
    """Numbers by their normal scores."""

    @staticmethod
    def encode(columns, positions, cells, unknown):
        x = cells.numbers(positions)
        each = [_scores(c.margin, part) for c, part in zip(columns, x.parts([1] * len(columns)))]
        scores, log_slopes = (x.graph.joined(parts) for parts in zip(*each))
        return Encoded(*_observed(x, scores), log_slopes - np.log(_array(columns, "scale")))

    @staticmethod
    def decode(column, values):
        margin = column.margin
        x = interpolated(values, margin.scores, margin.knots)
        below = (values - margin.scores[0]).at_most(0.0) * margin.low_slope
        above = (values - margin.scores[-1]).at_least(0.0) * margin.high_slope
        return _recorded(margin, x + below + above)


def _scores(margin: Margin, x: Value) -> tuple[Value, Value]:
    """Normal scores of cells ``(rows, 1)``, and the logarithm of the slope of cells by them."""
    low, high = margin.knots[0], margin.knots[-1]
    y = interpolated(x, margin.knots, margin.scores)
    below = (x - low).at_most(0.0) / margin.low_slope
    above = (x - high).at_least(0.0) / margin.high_slope
    place = place_of(x, margin.knots, right=True)
    at_end = x.equals(high).squeezed(-1)
    place = x.graph.where(at_end, len(margin.knots) - 1, place)
    log_slope = x.graph.constant(margin.log_slopes).take(place, 0).expanded(-1)
    return y + below + above, log_slope


def _recorded(margin: Margin, x: Value) -> Value:
    low, high = float(margin.knots[0]), float(margin.knots[-1])
    if margin.levels is not None:
        middle = margin.levels[:-1] + 0.5 * np.diff(margin.levels)
        levels = x.graph.constant(np.asarray(margin.levels, dtype=np.float64))
        return levels.take(place_of(x, middle), 0).expanded(-1)
    if margin.step:
        x = ((x - margin.origin) / margin.step).apply("Round") * margin.step + margin.origin
        digits = 10.0**margin.decimals
        return ((x * digits).apply("Round") / digits).clipped(low, high)
    largest = float(np.finfo(np.float64).max)
    return x.clipped(low if low >= 0 else -largest, high if high <= 0 else largest)


class _Raw(Continuous):
    """Numbers as they are; the encoder sees them standardised."""

    @staticmethod
    def squash(values: Value) -> Value:
        return values

    @staticmethod
    def outside(x: Value) -> Value:
        raise NotImplementedError

    @classmethod
    def encode(cls, columns, positions, cells, unknown):
        x = cells.numbers(positions)
        return Encoded(*_observed(x, x), refused=cls.outside(x))

    @classmethod
    def features(cls, columns, values, observed):
        mean, sd = (_array(columns, name).astype(np.float32) for name in ("mean", "sd"))
        return (cls.squash(values) - mean) / sd * observed.cast(np.float32)

    @staticmethod
    def decode(column, values):
        low, high = column.bounds
        return values.clipped(low, min(high, float(np.finfo(np.float64).max)))


@COLUMNS.of(BinaryColumn)
class Binary(_Raw):
    """Zeros and ones, or shares."""

    @staticmethod
    def outside(x):
        return (x < 0.0) | (x > 1.0)


@COLUMNS.of(CountColumn)
class Count(_Raw):
    """Whole numbers from 0."""

    @staticmethod
    def squash(values):
        # In float64, as there is no log1p.
        return (values.cast(np.float64) + 1.0).log().cast(np.float32)

    @staticmethod
    def outside(x):
        whole = x.apply("Round").equals(x) | x.apply("IsNaN", bool)
        return (x < 0.0) | (x > LARGEST) | ~whole


@COLUMNS.of(SizedCountColumn)
class SizedCount(Count):
    """Counts that the encoder sees as in a row of typical size."""

    @classmethod
    def features(cls, columns, values, observed):
        total = values.cast(np.float64).sum(-1, keep=True).at_least(SMALLEST_TOTAL)
        seen = observed.cast(np.float64) * _array(columns, "expected")
        size = total / seen.sum(-1, keep=True).at_least(SMALLEST_TOTAL)
        return super().features(columns, values / size.cast(np.float32), observed)


@COLUMNS.of(CategoricalColumn, OrdinalColumn)
class Categorical(Continuous):
    """Labels by their place."""

    @staticmethod
    def encode(columns, positions, cells, unknown):
        each = [_codes(c, p, cells, labels_of(c)) for c, p in zip(columns, positions)]
        codes = cells.graph.joined(each)
        observed, jacobian = codes >= 0, None
        if any(column.rare for column in columns):
            jacobian = cells.graph.joined([_log_shares(c, v) for c, v in zip(columns, each)])
        refused = codes.equals(UNSEEN) if unknown == "error" else None
        last = np.array([column.size - 1 for column in columns], dtype=np.int64)
        values = codes.at_least(0).at_most(last).cast(np.float32)
        return Encoded(values, observed, jacobian, refused)

    @staticmethod
    def features(columns, values, observed):
        repeated = np.repeat(np.arange(len(columns)), [column.size for column in columns])
        codes = np.concatenate([np.arange(column.size) for column in columns])
        shown = values.take(repeated).equals(codes.astype(np.float32))
        return (shown & observed.take(repeated)).cast(np.float32)

    @staticmethod
    def decode(column, values):
        codes = values.apply("Round").clipped(0.0, column.size - 1.0).cast(np.int64)
        labels = np.array(column.categories + column.rare, dtype=object)
        if not is_text(column):
            labels = np.array(column.categories + column.rare, dtype=np.float64)
        return values.graph.constant(labels).take(codes, 0)


def unseen(column: Any, position: int, cells: Cells) -> Value:
    """Rows ``(rows, 1)`` with another category than the only one of a column."""
    return _codes(column, position, cells, [column.value]).equals(UNSEEN)


def _codes(column: Any, position: int, cells: Cells, labels: list) -> Value:
    """Places among the labels ``(rows, 1)``, or ``MISSING`` or ``UNSEEN``."""
    if is_text(column):
        keys = {text: MISSING for text in MISSING_TEXT} | {x: i for i, x in enumerate(labels)}
        return cells.graph.op(
            "LabelEncoder",
            cells.text(position),
            dtype=np.int64,
            domain=ML,
            keys_strings=list(keys),
            values_int64s=list(keys.values()),
            default_int64=UNSEEN,
        )
    x = cells.numbers([position])
    same = x.equals(np.array(labels, dtype=np.float64)).cast(np.int64)
    place = (same * np.arange(1, len(labels) + 1)).sum(-1, keep=True) - 1
    missing = x.apply("IsNaN", bool)
    return cells.graph.where(missing, MISSING, x.graph.where(place >= 0, place, UNSEEN))


def _log_shares(column: Any, codes: Value) -> Value:
    shares = np.r_[np.ones(len(column.categories)), column.rare_shares]
    return codes.graph.constant(-np.log(shares)).take(codes.at_least(0), 0)


@COLUMNS.of(BinnedColumn)
class Binned(Continuous):
    """Numbers by bins."""

    features = Categorical.features

    @staticmethod
    def encode(columns, positions, cells, unknown):
        x = cells.numbers(positions)
        each = [_bins(c, part) for c, part in zip(columns, x.parts([1] * len(columns)))]
        codes, log_widths = (x.graph.joined(parts) for parts in zip(*each))
        return Encoded(*_observed(x, codes.cast(np.float64)), log_widths)

    @staticmethod
    def decode(column, values):
        codes = values.apply("Round").clipped(0.0, column.size - 1.0).cast(np.int64)
        middle, _ = column.decode(np.arange(column.size, dtype=np.float64))
        return values.graph.constant(middle).take(codes, 0)


def _bins(column: BinnedColumn, x: Value) -> tuple[Value, Value]:
    """Bins of cells ``(rows, 1)``, and what the density within them takes off."""
    graph, ends = x.graph, np.arange(column.size)
    code = place_of(x, column.middle).expanded(-1)

    def at(table: np.ndarray) -> Value:
        return graph.constant(np.asarray(table, dtype=np.float64)).take(code, 0)

    result = at(column.log_width)
    sides = (
        (at(column.low) - x, column.room[0], ends == 0),
        (x - at(column.high), column.room[1], ends == column.size - 1),
    )
    for beyond, room, endless in sides:
        log_room = np.log(np.where(room > 0, room, 1.0) / column.leak)
        away = at(log_room) + at(endless * 1.0) * (beyond / column.reach)
        result = graph.where(beyond > 0.0, away, result)
    return code, result
