"""Columns of real numbers by their ranks, whatever their shape."""

import numpy as np

from .bins import BinnedColumn, has_bins
from .columns import ConstantColumn, MappedColumn
from .margins import Margin
from .refusals import refuse_infinite
from .statistics import is_constant


class RankColumn(MappedColumn):
    """Real numbers by their normal scores; one of few or recurring values comes in bins."""

    def __init__(self, name, form, had_missing, margin):
        super().__init__(name, form, had_missing)
        self.margin = margin

    def _details(self) -> str:
        low, high = self.margin.knots[[0, -1]]
        return f"low={low:.3g}, high={high:.3g}"

    @classmethod
    def fit(cls, names, panel, weight, range_ratio):
        return [
            _fit_one(name, form, cells, weight)
            for name, form, cells in zip(names, panel.forms, panel.matrix.T, strict=True)
        ]

    def forward(self, cells):
        """Return normal scores of cells, and the logarithm of the slope of cells by scores."""
        return self.margin.forward(cells), self.margin.log_slope(cells)

    def decode(self, values, uniform=None):
        return self.margin.backward(values), None


def _fit_one(name, form, cells, weight):
    seen = ~np.isnan(cells)
    had_missing = not seen.all()
    values, place = np.unique(cells[seen].astype(np.float64), return_inverse=True)
    if np.isinf(values[[0, -1]] if len(values) else values).any():
        refuse_infinite(name)
    if is_constant(values[:1], values[-1:]).all():
        return ConstantColumn(name, form, had_missing, float(values[0]) if len(values) else None)
    shares = np.bincount(place, None if weight is None else weight[seen])
    shares = shares / shares.sum()
    number = np.dtype(form.number or np.float64)
    eps = float(np.finfo(number).eps) if number.kind == "f" else None
    if has_bins(shares):
        return BinnedColumn.of(name, form, had_missing, values, shares, len(place), eps)
    return RankColumn(name, form, had_missing, Margin.fit(values, shares, len(place), eps))
