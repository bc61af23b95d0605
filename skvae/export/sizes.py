"""Sizes of rows of counts in a graph: integrated out of scores."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from ..distributions.sized_counts import LARGEST_STEP, NEWTON_STEPS, NODES, WIDE_NODES, nodes_of
from .arrays import HALF_LOG_2PI, array_of
from .graph import Value


class Sizes:
    """A log-normal factor that all means of a row share, in float64.

    Parameters
    ----------
    block : Counts
        Counts of rows of size 1, with ``counted``, ``slopes`` and ``mean`` by logarithms of
        means.
    """

    def __init__(self, block: Any):
        self.block = block
        self.loc, self.scale = (
            array_of(tensor).astype(np.float64)
            for tensor in (block.part.size_loc, block.part.size_scale)
        )

    @property
    def point(self) -> Value:
        """Means in a row of the median size."""
        return self.block.mean(self.block.log_mean + self.loc)

    def log_prob(self, values: Value) -> Value:
        """Of each cell alone."""
        points, log_weights = nodes_of(WIDE_NODES)
        terms = [
            self.block.counted(values, self.block.log_mean + (self.loc + self.scale * point))
            + log_weight
            for point, log_weight in zip(points, log_weights)
        ]
        return _log_sum_exp(terms) - HALF_LOG_2PI

    def log_prob_rows(self, values: Value, mask: Value) -> Value:
        """Of the observed cells of each row, ``(members, draws, rows)``."""
        centre, width = self._mode(values, mask)
        terms = []
        for point, log_weight in zip(*nodes_of(NODES)):
            log_size = centre + width * point
            cells = self.block.counted(values, self.block.log_mean + log_size)
            rows = _observed(cells, mask) + self._log_prior(log_size)
            # The weights are of a standard normal, which the nodes around a mode divide out.
            terms.append(rows + (log_weight + 0.5 * point**2))
        return (_log_sum_exp(terms) + width.log()).squeezed(-1)

    def _mode(self, values: Value, mask: Value) -> tuple[Value, Value]:
        """Likeliest logarithm of the size of each row, and its width, ``(..., rows, 1)``."""
        block, precision = self.block, 1.0 / np.square(self.scale)
        expected = _observed(block.mean(block.log_mean), mask)
        seen = _observed(values, mask)
        log_size = (seen + precision).log() - (expected + precision * np.exp(-self.loc)).log()
        curvature = None
        for _ in range(NEWTON_STEPS):
            slope, curvature = (
                _observed(part, mask) for part in block.slopes(values, block.log_mean + log_size)
            )
            curvature = curvature + precision
            slope = slope + (self.loc - log_size) * precision
            log_size = log_size + (slope / curvature).clipped(-LARGEST_STEP, LARGEST_STEP)
        assert curvature is not None
        return log_size, 1.0 / curvature.apply("Sqrt")

    def _log_prior(self, log_size: Value) -> Value:
        standard = (log_size - self.loc) / self.scale
        return standard * standard * -0.5 - (np.log(self.scale) + HALF_LOG_2PI)


def _observed(cells: Value, mask: Value) -> Value:
    return cells.graph.where(mask, cells, 0.0).sum(-1, keep=True)


def _log_sum_exp(terms: list[Value]) -> Value:
    top = functools.reduce(lambda a, b: a.at_least(b), terms)
    return functools.reduce(operator.add, [(term - top).exp() for term in terms]).log() + top
