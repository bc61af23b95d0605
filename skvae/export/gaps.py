"""Missing cells of rows that are compared, filled in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..scores.gaps import N_STEPS, NOTHING
from ..scores.spaces import FARTHEST
from .codec import Rows
from .graph import Value


def filled(gaps: Any, owners: np.ndarray, rows: Rows) -> Value:
    """Inputs ``(rows, n_inputs)`` without gaps, as ``skvae.scores.gaps.Gaps`` fills them."""
    graph, space = rows.inputs.graph, gaps.space_
    inputs, seen = rows.inputs, rows.mask.take(owners)
    n, n_inputs = len(owners), len(space.unit_)
    if n < n_inputs:
        flags = inputs.take(np.arange(n, n_inputs))
        always = flags.equals(flags)
        inputs = graph.joined([inputs.take(np.arange(n)), always.cast(np.float32)])
        seen = graph.joined([seen, always])
    scaled = (inputs.cast(np.float64) - space.median_) / space.unit_
    apart = scaled.clipped(-FARTHEST, FARTHEST) - gaps.loc_
    left = graph.where(seen, 0.0, -(graph.where(seen, apart, 0.0) @ gaps.precision_))
    step, found, square = left, left.zeros(), (left * left).sum(-1, keep=True)
    enough = square * NOTHING
    for _ in range(N_STEPS):
        image = graph.where(seen, 0.0, step @ gaps.precision_)
        goes = square > enough
        along = graph.where(goes, (step * image).sum(-1, keep=True), 1.0)
        length = graph.where(goes, square / along, 0.0)
        found, left = found + length * step, left - length * image
        before, square = graph.where(goes, square, 1.0), (left * left).sum(-1, keep=True)
        step = left + graph.where(goes, square / before, 0.0) * step
    best = (found + gaps.loc_).clipped(-FARTHEST, FARTHEST) * space.unit_ + space.median_
    return graph.where(seen, inputs, best.cast(np.float32))
