"""Raking: weights under which drawn rows have the margins of the real ones."""

from __future__ import annotations

import numpy as np

# Bins per column, as few real rows as one may hold, and how often all columns are gone through.
MOST_BINS = 32
FEWEST_ROWS = 20
N_SWEEPS = 12
# A margin moves the weight of a row by this factor at most.
LARGEST_FACTOR = 5.0


class Raking:
    """One factor per bin of each column, fitted by iterative proportional fitting.

    Parameters
    ----------
    real : ndarray (rows, columns)
        Features; NaN where a cell is missing.
    categorical : sequence of bool
        Which columns are codes of categories.

    References
    ----------
    Deming and Stephan, On a Least Squares Adjustment of a Sampled Frequency Table When the
    Expected Marginal Totals are Known, 1940.

    Examples
    --------
    >>> import numpy as np
    >>> real, drawn = np.array([[0.0]] * 30 + [[1.0]] * 90), np.array([[0.0], [1.0]] * 500)
    >>> raking = Raking(real, [True]).fit(drawn, np.zeros(1000))
    >>> weight = np.exp(raking.log_factors(drawn))
    >>> print(f"{weight[1] / weight[0]:.2f}")
    3.00
    """

    def __init__(self, real: np.ndarray, categorical):
        self.edges, self.targets = [], []
        for cells, is_code in zip(real.T, categorical):
            cells = cells[~np.isnan(cells)]
            self.edges.append(edges_of(cells, is_code, MOST_BINS, FEWEST_ROWS))
            counts = np.bincount(self._bins(cells, -1), minlength=len(self.edges[-1]) + 1)
            self.targets.append(counts / max(counts.sum(), 1))
        self.factors = [np.zeros(len(target)) for target in self.targets]

    def fit(self, drawn: np.ndarray, log_weight: np.ndarray) -> Raking:
        """Find the factors for drawn rows that have weights already."""
        bins = [self._bins(cells, j) for j, cells in enumerate(drawn.T)]
        log_weight = log_weight.copy()
        limit = np.log(LARGEST_FACTOR)
        for _ in range(N_SWEEPS):
            for j, place in enumerate(bins):
                weight = np.exp(log_weight - log_weight.max())
                share = np.bincount(place, weight, len(self.targets[j])) / weight.sum()
                both = (share > 0) & (self.targets[j] > 0)
                step = np.zeros(len(share))
                step[both] = np.log(self.targets[j][both] / share[both])
                step = np.clip(self.factors[j] + step, -limit, limit) - self.factors[j]
                self.factors[j] += step
                log_weight += step[place]
        return self

    def log_factors(self, features: np.ndarray) -> np.ndarray:
        """Logarithm of the product of the factors of each row."""
        columns = enumerate(features.T)
        return np.sum([self.factors[j][self._bins(c, j)] for j, c in columns], axis=0)

    def _bins(self, cells: np.ndarray, j: int) -> np.ndarray:
        return np.searchsorted(self.edges[j], cells, side="right")


def edges_of(cells: np.ndarray, is_code: bool, most: int, fewest: int) -> np.ndarray:
    """Inner borders of bins of about equal shares, or of single values that are frequent."""
    if not len(cells):
        return np.empty(0)
    values, counts = np.unique(cells, return_counts=True)
    least = max(fewest, 0 if is_code else len(cells) / most)
    # A bin is closed once it is full; the last one takes what is left over.
    edges, held, rest = [], 0, len(cells)
    for value, count in zip(values[1:], counts):
        held, rest = held + count, rest - count
        if held >= least and rest >= least:
            edges.append(value)
            held = 0
    return np.asarray(edges, dtype=np.float64)
