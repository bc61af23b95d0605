"""Columns whose numbers are modelled as they are: counts and flags."""

import numpy as np

from .columns import LARGEST, NumericColumn
from .reach import highest


class _RawColumn(NumericColumn):
    """Cells kept as they are in `values`, and standardised for the encoder only."""

    bounds = (0.0, np.inf)

    def __init__(self, name, form, had_missing, mean, sd):
        super().__init__(name, form, had_missing)
        self.mean = float(mean)
        self.sd = float(sd)

    def _details(self) -> str:
        return f"mean={self.mean:.3g}, sd={self.sd:.3g}"

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = values
        cls.squash(out, out=out)
        out -= np.array([column.mean for column in columns], dtype=np.float32)
        out /= np.array([column.sd for column in columns], dtype=np.float32)
        if observed is not None:
            out *= observed

    def decode(self, values, uniform=None):
        return np.clip(values, *self.bounds), None


class CountColumn(_RawColumn):
    """Whole numbers from zero; `mean` and `sd` are those of ``log1p``."""

    kind = "count"
    domain = "non-negative whole numbers up to 1e9"
    remedy = (
        'Use a likelihood of continuous columns, as likelihood="normal", or '
        'column_kinds={{{name!r}: "continuous"}}, or repair the column.'
    )

    def __init__(self, name, form, had_missing, mean, sd, ceiling=np.inf):
        super().__init__(name, form, had_missing, mean, sd)
        self.ceiling = float(ceiling)

    @classmethod
    def from_summary(cls, name, form, summary, j):
        ceiling = highest(summary.low[j], summary.high[j])
        return cls(name, form, summary.had_missing[j], summary.mean[j], summary.scale[j], ceiling)

    @staticmethod
    def squash(cells, out=None):
        return np.log1p(cells, out=out)

    @staticmethod
    def outside(cells):
        finite = np.isfinite(cells)
        return (cells < 0) | (finite & ((cells != np.rint(cells)) | (cells > LARGEST)))


class BinaryColumn(_RawColumn):
    """Zeros and ones, or shares in between."""

    kind = "binary"
    bounds = (0.0, 1.0)
    domain = "values between 0 and 1"
    remedy = (
        "Rescale it, e.g. (x - x.min()) / (x.max() - x.min()), or use "
        'column_kinds={{{name!r}: "continuous"}}.'
    )
    # The sd of an event of probability 1 %: rarer ones must not be blown up further.
    smallest_sd = 0.1

    @classmethod
    def from_summary(cls, name, form, summary, j):
        mean = summary.mean[j]
        sd = max(np.sqrt(max(mean * (1.0 - mean), 0.0)), cls.smallest_sd)
        return cls(name, form, summary.had_missing[j], mean, sd)

    @staticmethod
    def outside(cells):
        return (cells < 0) | (cells > 1)
