"""Columns of numbers that come in bins: few distinct values, or values of a large share."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from .categories import CategoricalColumn
from .columns import NumericColumn
from .margins import Margin, resolution

# Bins per column; more where there are so many rows for each, so that what lies within a bin
# matters less the more is known of it.
MAX_BINS = 32
MOST_BINS = 128
ROWS_PER_BIN = 32
# A column of at most so many distinct values has no shape that a density could follow.
FEW_VALUES = 64


def has_bins(shares: np.ndarray) -> bool:
    """Whether a column of distinct values with these shares is better modelled by bins."""
    return len(shares) <= FEW_VALUES or shares.max() > 1.0 / MAX_BINS


class BinnedColumn(NumericColumn):
    """Numbers by bins: values of a large share are bins of their own, the others share bins.

    A cell of a bin with one value has the probability of the bin, any other cell a density
    that is even within the bin.  The bins and the spaces between them cover the line, with a
    small part of each bin's probability for the space next to it, so that any number has a
    density.

    Parameters
    ----------
    low, high : ndarray of float64, shape (size,)
        Borders of the bins, in increasing order; equal where a bin is one value.
    atoms : ndarray of int
        Bins of one value.
    margin : Margin or None
        Distribution of the cells that are in other bins.
    leak : float
        Share of a bin for the space at each of its sides.
    """

    kind = "categorical"
    is_linear = False
    draws_cells = True
    features = CategoricalColumn.features

    def __init__(self, name, form, had_missing, low, high, margin, leak):
        super().__init__(name, form, had_missing)
        self.low, self.high, self.margin, self.leak = low, high, margin, leak
        self.size = self.n_inputs = len(low)
        self.atoms = np.flatnonzero(low == high)
        self._tile()

    def _details(self) -> str:
        return f"bins={self.size}, values={len(self.atoms)}"

    @classmethod
    def of(cls, name, form, had_missing, values, shares, n_rows: int, eps) -> BinnedColumn:
        """Make the column of increasing distinct values with these shares."""
        place = _places(shares, n_rows)
        first = np.flatnonzero(np.diff(place, prepend=-1))
        low, high = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
        wide = low < high
        margin = None
        if wide.any():
            among = wide[place]
            mass = shares[among] / shares[among].sum()
            margin = Margin.fit(values[among], mass, round(n_rows * shares[among].sum()), eps)
            step = resolution(values, eps)[0]
            half = 0.5 * step
            low, high = np.where(wide, low - half, low), np.where(wide, high + half, high)
            # Neighbours meet halfway, where no value of the grid lies.
            way = 0.5 * (low[1:] - high[:-1])
            middle = high[:-1] + (np.floor(way / step + 1e-6) * step if step else way)
            both = wide[:-1] & wide[1:]
            high[:-1] = np.where(both, middle, high[:-1])
            low[1:] = np.where(both, middle, low[1:])
        return cls(name, form, had_missing, low, high, margin, 0.5 / (n_rows + 1))

    def _tile(self) -> None:
        """Lay out the spaces between bins, the outermost without end."""
        space = np.maximum(self.low[1:] - self.high[:-1], 0.0)
        self.middle = self.high[:-1] + 0.5 * space
        self.reach = float(0.5 * self.high[-1] - 0.5 * self.low[0])
        outer = (self.reach,)
        self.room = np.r_[outer, 0.5 * space], np.r_[0.5 * space, outer]
        kept = 1.0 - self.leak * ((self.room[0] > 0) * 1.0 + (self.room[1] > 0))
        width = self.high - self.low
        self.log_width = np.log(np.where(width > 0, width, 1.0) / kept)

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out, log_jacobian):
        matrix = cls.numbers(columns, panel, chosen)[:, chosen]
        missing = np.isnan(matrix)
        for j, column in enumerate(columns):
            cells = matrix[:, j].astype(np.float64)
            code = np.where(missing[:, j], 0, np.searchsorted(column.middle, cells))
            out[:, j] = code
            log_jacobian[:, j] = np.where(missing[:, j], 0.0, column._log_width_at(cells, code))
        return ~missing if missing.any() else None

    def _log_width_at(self, cells: np.ndarray, code: np.ndarray) -> np.ndarray:
        """What to subtract from the logarithm of a bin's probability for a cell's density."""
        result = self.log_width[code]
        sides = (
            (self.low[code] - cells, self.room[0], 0),
            (cells - self.high[code], self.room[1], -1),
        )
        for beyond, room, last in sides:
            outside = np.flatnonzero(beyond > 0)
            at = code[outside]
            width = np.log(room[at] / self.leak)
            endless = at == np.arange(self.size)[last]
            result[outside] = width + np.where(endless, beyond[outside] / self.reach, 0.0)
        return result

    def decode(self, values, uniform=None):
        missing = np.isnan(values)
        code = np.clip(np.rint(np.where(missing, 0.0, values)), 0, self.size - 1).astype(np.intp)
        cells = self.low[code]
        wide = np.flatnonzero(self.high[code] > cells)
        if len(wide):
            place = code[wide]
            start, stop = (ndtr(self.margin.forward(end)) for end in (self.low, self.high))
            share = 0.5 if uniform is None else uniform[wide]
            share = start[place] + share * (stop[place] - start[place])
            cells[wide] = self.margin.backward(ndtri(share))
        return np.where(missing, np.nan, cells), None


def _places(shares: np.ndarray, n_rows: int) -> np.ndarray:
    """Bin of each distinct value: its own where it is large, else one of about equal shares."""
    most = int(np.clip(n_rows // ROWS_PER_BIN, MAX_BINS, MOST_BINS))
    if len(shares) <= most:
        return np.arange(len(shares))
    atom = shares > 1.0 / most
    rest = np.where(atom, 0.0, shares)
    n_bins = max(int(np.ceil(most * rest.sum())), 1)
    group = np.floor((np.cumsum(rest) - 0.5 * rest) / rest.sum() * n_bins).astype(int)
    # A bin ends where a large value stands.
    bounds = np.r_[True, (np.diff(group) > 0) | atom[1:] | atom[:-1]]
    return np.cumsum(bounds) - 1
