"""Places among sorted numbers, and maps that are linear between them."""

from __future__ import annotations

import numpy as np

from .graph import Value

# More edges are searched in two steps, block and place within it.
MOST_AT_ONCE = 64


def place_of(x: Value, edges: np.ndarray, right: bool = False) -> Value:
    """How many edges lie below ``x (rows, 1)``, as ``numpy.searchsorted`` counts them.

    Parameters
    ----------
    x : Value (rows, 1)
    edges : ndarray
        In rising order.
    right : bool, default=False
        Whether an edge that equals a number lies below it.

    Returns
    -------
    Value of int64 (rows,)
    """
    edges = np.asarray(edges, dtype=np.float64)
    if len(edges) <= MOST_AT_ONCE:
        return _count(x, edges[None], right)
    width = int(np.ceil(np.sqrt(len(edges))))
    blocks = np.full((-(-len(edges) // width), width), np.inf)
    blocks.ravel()[: len(edges)] = edges
    block = (_count(x, blocks[None, :, 0], right) - 1).at_least(0)
    within = _count(x, x.graph.constant(blocks).take(block, 0), right)
    return block * width + within


def _count(x: Value, edges, right: bool) -> Value:
    below = x >= edges if right else x > edges
    return below.cast(np.int64).sum(-1)


def interpolated(x: Value, knots: np.ndarray, heights: np.ndarray) -> Value:
    """As ``numpy.interp``: linear between knots and constant beyond, ``(rows, 1)``."""
    knots, heights = (np.asarray(part, dtype=np.float64) for part in (knots, heights))
    graph = x.graph
    if len(knots) == 1:
        return x * 0.0 + heights[0]
    inside = x.clipped(knots[0], knots[-1])
    place = (place_of(inside, knots, right=True) - 1).at_least(0).at_most(len(knots) - 2)
    slopes = np.diff(heights) / np.diff(knots)
    start, height, slope = (
        graph.constant(part).take(place, 0).expanded(-1)
        for part in (knots[:-1], heights[:-1], slopes)
    )
    return slope * (inside - start) + height
