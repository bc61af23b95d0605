"""Distances to the nearest reference rows in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..scores.neighborhood import LEAST_DISTANCE, RELATIVE_NEIGHBORS, Neighborhood
from ..scores.neighbors import SPARE
from ..scores.spaces import FARTHEST, JointSpace, Space, WhitenedSpace
from .graph import Graph, Value
from .registry import Exporters

SPACES = Exporters("space")
# Arithmetic of two machines differs by rounding: rows are equal within these distances, per unit
# of their own.  What the model leaves of a cell is the difference of two numbers.
SAME = {Space: 1e-6, JointSpace: 1e-5, WhitenedSpace: 1e-5}


class Described(NamedTuple):
    """Rows as a fitted model sees them, ``(rows, ...)`` of float32 each."""

    inputs: Value
    residuals: Value


@SPACES.of(Space)
def cells(space: Any, rows: Described) -> Value:
    """Encoded cells."""
    return rows.inputs.cast(np.float64)


@SPACES.of(JointSpace)
def joint(space: Any, rows: Described) -> Value:
    """Encoded cells beside their residuals."""
    wide = rows.inputs.cast(np.float64), rows.residuals.cast(np.float64) / space.spread_
    return rows.inputs.graph.joined(wide)


@SPACES.of(WhitenedSpace)
def whitened(space: Any, rows: Described) -> Value:
    """Whitened cells."""
    scaled = (rows.inputs.cast(np.float64) - space.median_) / space.unit_
    return scaled.clipped(-FARTHEST, FARTHEST) @ space.whitening_


class Reference:
    """The training rows that others are compared with, as constants.

    Parameters
    ----------
    graph : Graph
    rows : Described
        Those of ``skvae.scores.spaces``.
    """

    def __init__(self, graph: Graph, rows: Any):
        self.rows = Described(graph.constant(rows.inputs), graph.constant(rows.residuals))
        self.n_rows = len(rows.inputs)

    def holds(self, rows: Described) -> Value:
        """Which rows ``(rows, 1)`` are among these."""
        x, others = (cells(None, part) for part in (rows, self.rows))
        nearest, _ = _nearest(x, others, 1, SAME[Space])
        return nearest.equals(0.0)


def statistics(
    part: Neighborhood, rows: Described, reference: Reference, held: Value
) -> list[Value]:
    """Statistics ``(rows, 1)`` of a neighbourhood; ``held`` says which rows are its own."""
    graph = rows.inputs.graph
    write: Callable = SPACES(part.space)
    x, others = write(part.space, rows), write(part.space, reference.rows)
    n_rows = reference.n_rows
    if part.index_ is not None:
        others, n_rows = others.take(part.index_, 0), len(part.index_)
    n_wanted = max(RELATIVE_NEIGHBORS if part.relative else 1, *part.n_neighbors)
    n = min(n_wanted + 1 + SPARE, n_rows)
    k = max(min(n_wanted, n - 1), 1)
    exact, places = _nearest(x, others, n, SAME[type(part.space)])
    if n > k:
        is_first = held & exact.take([0]).equals(0.0)
        exact, places = (
            graph.where(is_first, near.take(np.arange(1, k + 1)), near.take(np.arange(k)))
            for near in (exact, places)
        )
    found = [_log_mean(exact, m) for m in part.n_neighbors]
    if part.relative:
        m = min(RELATIVE_NEIGHBORS, k)
        own = graph.constant(part.own_).take(places.take(np.arange(m)), 0)
        found.append(_log_mean(exact, m) - own.reduce("Mean", -1, keep=True))
    return [value.cast(np.float64) for value in found]


def _nearest(x: Value, others: Value, n: int, same: float) -> tuple[Value, Value]:
    """Sorted distances to the ``n`` nearest of the others ``(rows, n)``, and their places."""
    graph = x.graph
    squares = (others * others).reduce("Sum", -1)
    apart = squares - (x @ others.transposed(1, 0)) * 2.0
    _, places = graph.top(apart, n)
    # Of equal distances the first row comes first.
    places, _ = graph.top(places, n)
    away = others.take(places, 0) - x.expanded(1)
    exact = (away * away).sum(-1).apply("Sqrt")
    unit = (x * x).sum(-1, keep=True).apply("Sqrt") + 1.0
    exact, order = graph.top(graph.where(exact <= unit * same, 0.0, exact), n)
    return exact, graph.op("GatherElements", places, order, axis=-1)


def _log_mean(distances: Value, n: int) -> Value:
    near = distances.take(np.arange(n))
    return near.reduce("Mean", -1, keep=True).at_least(LEAST_DISTANCE).log()
