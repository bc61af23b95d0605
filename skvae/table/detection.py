"""Which kind a column of numbers is, by its dtype and its values."""

import numpy as np
from scipy.special import gammaln, ndtr

from .columns import LARGEST, Column, ContinuousColumn
from .discrete import BinaryColumn, CountColumn
from .frames import Panel
from .positive import PositiveColumn
from .statistics import extremes, summarise

# By how many nats per row the log-normal must beat the normal.
CLEARLY = 0.1
# By how many nats in all a count distribution must beat both: a few rows fit anything.
BEYOND_DOUBT = 5.0
# As a share of the smallest value: within so little a logarithm is a straight line.
LEAST_RANGE = 1e-3
# Fewer distinct values say little about the shape of a column.
FEWEST_VALUES = 32


def detected(panel: Panel, weight: np.ndarray | None, is_frame: bool) -> list[type[Column]]:
    """Return the class of each numeric column.

    Whole numbers that are all 0 or 1 are binary.  In a frame, non-negative ones are counts
    where a negative binomial of their mean and variance explains them better than a normal
    and a log-normal do.  Other positive numbers are positive columns where the log-normal
    explains them clearly better than the normal.
    """
    matrix = panel.matrix
    low, high = extremes(matrix)
    whole = np.array([np.dtype(form.number).kind in "iu" for form in panel.forms])
    found: list[type[Column]] = [ContinuousColumn] * len(panel.forms)
    for j in np.flatnonzero(whole & (low == 0) & (high == 1)):
        found[j] = BinaryColumn
    if is_frame:
        varies = (low >= 0) & (high > low) & (high > 1) & (high <= LARGEST)
        for j in np.flatnonzero(whole & varies):
            if _is_count(matrix[:, j], weight):
                found[j] = CountColumn
    # Not the matrix of all columns: most tables have few candidates.
    bends = (low > 0) & (high > (1.0 + LEAST_RANGE) * low) & np.isfinite(high)
    candidates = np.flatnonzero(~whole & bends)
    for j in candidates[_is_skewed(matrix[:, candidates], weight)]:
        if len(np.unique(matrix[:, j])) >= FEWEST_VALUES:
            found[j] = PositiveColumn
    return found


def _is_skewed(matrix: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    if not matrix.shape[1]:
        return np.zeros(0, dtype=bool)
    low, high = extremes(matrix)
    plain = summarise(matrix, low, high, weight, None, np.positive)
    logs = summarise(matrix, low, high, weight, None, np.log)
    return np.log(plain.scale) - np.log(logs.scale) - logs.mean > CLEARLY


def _is_count(cells: np.ndarray, weight: np.ndarray | None) -> bool:
    seen = ~np.isnan(cells) if cells.dtype.kind == "f" else np.ones(len(cells), dtype=bool)
    values, place = np.unique(cells[seen].astype(np.float64), return_inverse=True)
    share = np.bincount(place, None if weight is None else weight[seen])
    n_rows = share.sum()
    share = share / n_rows
    mean = share @ values
    variance = share @ (values - mean) ** 2
    logs = np.log(np.maximum(values, 0.5))
    log_mean = share @ logs
    log_scale = np.sqrt(share @ (logs - log_mean) ** 2)
    with np.errstate(divide="ignore"):
        upper, lower = np.log(values + 0.5), np.log(np.maximum(values - 0.5, 0.0))
    normal = share @ _log_mass(values - 0.5, values + 0.5, mean, np.sqrt(variance))
    log_normal = share @ _log_mass(lower, upper, log_mean, log_scale)
    gain = share @ _log_count(values, mean, variance) - max(normal, log_normal)
    return bool(gain * n_rows > BEYOND_DOUBT)


def _log_mass(lower, upper, loc, scale):
    """Log probability of unit cells; from the nearer tail, where both ends are far out."""
    a, b = (lower - loc) / scale, (upper - loc) / scale
    mass = np.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
    return np.log(np.maximum(mass, np.finfo(np.float64).tiny))


def _log_count(values, mean, variance):
    """Log probability under a negative binomial, a Poisson where there is no excess variance."""
    if variance <= mean * (1.0 + 1e-6):
        return values * np.log(mean) - mean - gammaln(values + 1.0)
    total = mean**2 / (variance - mean)
    return (
        gammaln(values + total)
        - gammaln(total)
        - gammaln(values + 1.0)
        + total * np.log(total / (total + mean))
        + values * np.log(mean / (total + mean))
    )
