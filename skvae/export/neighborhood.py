"""Distances to the nearest reference rows in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..scores.company import Company
from ..scores.neighborhood import RELATIVE_NEIGHBORS, Neighborhood
from ..scores.neighbors import SPARE
from ..scores.spaces import FARTHEST, JointSpace, Space, WhitenedSpace
from .graph import Graph, Value
from .registry import Exporters

SPACES = Exporters("space")


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

    def place_of(self, rows: Described) -> Value:
        """Where rows stand among these, or -1, ``(rows, 1)``."""
        x, others = (cells(None, part) for part in (rows, self.rows))
        nearest, place = _nearest(x, _apart(x, others), others, 1)
        return x.graph.where(nearest <= noise_of(Space, x), place, np.int64(-1))


class Found(NamedTuple):
    """Whom a search finds: ``k`` sorted distances, the rough squares of all, and the noise."""

    exact: Value
    apart: Value
    noise: Value
    k: int


def statistics(
    part: Neighborhood, rows: Described, reference: Reference, itself: Value
) -> list[Value]:
    """Statistics ``(rows, 1)`` of a neighbourhood of which rows are ``itself``, or -1."""
    exact, apart, noise, k = _found(part, rows, reference, itself, part.index_)
    found = [_log_mean(exact, m, noise) for m in part.n_neighbors]
    if part.relative:
        m = min(RELATIVE_NEIGHBORS, k)
        own = _mean_of(part.own_, apart, m, exact.take([m - 1]), noise)
        found.append(_log_mean(exact, m, noise) - own)
    return [value.cast(np.float64) for value in found]


def averaged(
    part: Company, rows: Described, reference: Reference, itself: Value, values: Value
) -> Value:
    """Means of values ``(rows, 1)`` over rows and those nearest to them."""
    exact, apart, noise, k = _found(part, rows, reference, itself, None)
    n = min(part.n_neighbors, k)
    others = _mean_of(part.own_, apart, n, exact.take([n - 1]), noise)
    return (values + others * float(n)) / float(n + 1)


def _found(part: Any, rows: Described, reference: Reference, itself: Value, index: Any) -> Found:
    """The nearest of the reference, or of some of it by place, to each row."""
    graph = rows.inputs.graph
    write: Callable = SPACES(part.space)
    x, others = write(part.space, rows), write(part.space, reference.rows)
    n_rows = reference.n_rows
    if index is not None:
        others, n_rows = others.take(index, 0), len(index)
        place = np.full(reference.n_rows, -1)
        place[index] = np.arange(n_rows)
        found_there = graph.constant(place).take(itself.at_least(0), 0)
        itself = graph.where(itself >= 0, found_there, np.int64(-1))
    n = min(part.n_searched + 1 + SPARE, n_rows)
    k = max(min(part.n_searched, n - 1), 1)
    apart, noise = _apart(x, others), noise_of(part.space, x)
    exact, places = _nearest(x, apart, others, n)
    if n > k:
        # No row is its own neighbour.
        exact, _ = graph.top(graph.where(places.equals(itself), np.inf, exact), k)
        apart = graph.where(itself.equals(np.arange(n_rows)), np.inf, apart)
    return Found(exact, apart, noise, k)


def noise_of(space: Any, x: Value) -> Value:
    """Distance ``(rows, 1)`` below which there is nothing but rounding."""
    return ((x * x).sum(-1, keep=True).apply("Sqrt") + 1.0) * space.rounding


def _apart(x: Value, others: Value) -> Value:
    """Squared distances ``(rows, others)``, up to rounding."""
    squares = (others * others).reduce("Sum", -1)
    return squares - (x @ others.transposed(1, 0)) * 2.0 + (x * x).sum(-1, keep=True)


def _nearest(x: Value, apart: Value, others: Value, n: int) -> tuple[Value, Value]:
    """Sorted distances to the ``n`` nearest of the others ``(rows, n)``, and their places."""
    graph = x.graph
    _, places = graph.top(apart, n)
    away = others.take(places, 0) - x.expanded(1)
    exact, order = graph.top((away * away).sum(-1).apply("Sqrt"), n)
    return exact, graph.op("GatherElements", places, order, axis=-1)


def _mean_of(values: np.ndarray, apart: Value, n: int, last: Value, noise: Value) -> Value:
    """As that of ``skvae.scores.neighbors``, of all rows."""
    graph = apart.graph
    low, high = (last - noise).at_least(0.0), last + noise
    apart = apart.at_least(0.0)
    nearer = apart < low * low
    alike = (apart <= high * high) & ~nearer
    (total, n_nearer), (among, n_alike) = (
        [graph.where(part, each, 0.0, np.float64).sum(-1, keep=True) for each in (values, 1.0)]
        for part in (nearer, alike)
    )
    return (total + (-n_nearer + float(n)) * among / n_alike) / float(n)


def _log_mean(distances: Value, n: int, noise: Value) -> Value:
    near = distances.take(np.arange(n))
    near = near.graph.where(near > noise, near, 0.0)
    return near.reduce("Mean", -1, keep=True).at_least(noise).log()
