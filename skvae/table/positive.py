"""Columns of positive numbers."""

import numpy as np

from .columns import MappedColumn
from .reach import highest

# How many standard deviations of the logarithm below its mean the logarithm ends.
REACH = 8.0


class PositiveColumn(MappedColumn):
    """Positive numbers, by their standardised logarithm.

    Far below all that `fit` has seen the logarithm goes on as its tangent, so that a zero or
    a negative number among new cells has a score, a very low one.
    """

    title = "positive"
    domain = "numbers greater than 0"
    remedy = (
        'Add a constant, repair the column, or use column_kinds={{{name!r}: "continuous"}}, or '
        '"count" where it holds whole numbers.'
    )

    def __init__(self, name, form, had_missing, loc, scale, low, high=np.inf):
        super().__init__(name, form, had_missing)
        self.loc = float(loc)
        self.scale = float(scale)
        self.low = float(low)
        self.ceiling = float((np.log(high) - self.loc) / self.scale)

    def _details(self) -> str:
        return f"log_loc={self.loc:.3g}, log_scale={self.scale:.3g}"

    @classmethod
    def from_summary(cls, name, form, summary, j):
        # Of numbers very near to one another all logarithms may be the same float.
        loc = summary.mean[j]
        scale = max(summary.scale[j], np.spacing(max(abs(loc), 1.0)))
        smallest = float(summary.low[j])
        low = min(np.exp(loc - REACH * scale), 0.5 * smallest)
        tiny = np.finfo(np.float64).tiny
        high = highest(smallest, summary.high[j])
        return cls(name, form, summary.had_missing[j], loc, scale, max(low, tiny), high)

    @staticmethod
    def squash(cells, out=None):
        return np.log(cells, out=out)

    @staticmethod
    def outside(cells):
        return cells <= 0

    def forward(self, cells):
        """Return values of cells, and the logarithm of the slope of cells by values."""
        # On the tangent the slope stays that of its point.
        slope = np.maximum(cells, self.low)
        logs = np.log(slope) + np.minimum(cells - self.low, 0.0) / self.low
        return (logs - self.loc) / self.scale, np.log(slope) + np.log(self.scale)

    def decode(self, values, uniform=None):
        with np.errstate(over="ignore"):
            logs = values * self.scale + self.loc
            cells = np.exp(np.minimum(logs, np.log(np.finfo(np.float64).max)))
        return np.maximum(cells, self.low), None
