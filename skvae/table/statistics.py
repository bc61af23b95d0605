"""Location and scale of the columns of a matrix, in one code for every magnitude."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

# One chunk of float64 stays in a core's cache, and no full float64 copy is ever made.
_CHUNK_CELLS = 2**17
_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.nextafter(0.0, 1.0))


def chunks(n_rows: int, n_columns: int, n_cells: int = _CHUNK_CELLS) -> Iterator[slice]:
    """Cut the rows of a matrix into slices of a cache-friendly number of cells."""
    step = max(1, n_cells // max(n_columns, 1))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


class Summary(NamedTuple):
    """Per column of a matrix; NaN where every cell is missing."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    had_missing: np.ndarray
    is_constant: np.ndarray


def extremes(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest observed cell per column, NaN where there is none."""
    low = high = np.full(matrix.shape[1], np.nan)
    for rows in chunks(*matrix.shape):
        part = matrix[rows]
        low = np.fmin(low, np.fmin.reduce(part, axis=0))
        high = np.fmax(high, np.fmax.reduce(part, axis=0))
    return low, high


def is_constant(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where nothing varies, by the extremes of columns."""
    # Values that differ in their last bits only are the same number, computed in two ways.
    with np.errstate(over="ignore"):
        return ~(high - low > 16 * _EPS * np.fmax(np.abs(low), np.abs(high)))


def summarise(
    matrix: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    weight: np.ndarray | None,
    range_ratio: float | None,
    squash: Callable[[np.ndarray], np.ndarray],
) -> Summary:
    """Summarise the observed cells of each column, whose `extremes` are known.

    Mean and scale are those of ``squash(matrix)``, an increasing function; the
    scale is the standard deviation, but at least the range over `range_ratio`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1e300, 5.0], [3e300, 5.0]])
    >>> summary = summarise(X, *extremes(X), None, None, squash=np.positive)
    >>> summary.mean, summary.scale, summary.is_constant
    (array([2.e+300, 5.e+000]), array([1.e+300, 5.e-324]), array([False,  True]))
    """
    bottom, top = squash(low), squash(high)
    largest = np.nan_to_num(np.fmax(np.abs(bottom), np.abs(top)))
    # A power of two at most as large as the largest value: divisions by it are exact, and
    # squares can neither overflow nor vanish.
    unit = np.ldexp(1.0, np.frexp(np.where(largest > 0, largest, 1.0))[1] - 1)

    had_missing, mean, _ = _moments(matrix, weight, squash, unit, 0.0)
    # The second pass corrects the first one's rounding: offsets of 1e9 keep their noise.
    _, rest, square = _moments(matrix, weight, squash, unit, mean)
    deviation = np.sqrt(np.maximum(square - rest**2, 0.0))
    if range_ratio is not None:
        deviation = np.fmax(deviation, (top / unit - bottom / unit) / range_ratio)
    return Summary(
        low,
        high,
        (mean + rest) * unit,
        np.maximum(deviation * unit, _TINY),
        had_missing,
        is_constant(low, high),
    )


def _moments(matrix, weight, squash, unit, shift):
    had_missing = np.zeros(matrix.shape[1], dtype=bool)
    seen, first, second = np.zeros((3, matrix.shape[1]))
    for rows in chunks(*matrix.shape):
        part = np.divide(squash(matrix[rows].astype(np.float64)), unit)
        part -= shift
        missing = np.isnan(part)
        np.copyto(part, 0.0, where=missing)
        had_missing |= missing.any(axis=0)
        w = np.ones(len(part)) if weight is None else weight[rows]
        seen += w @ ~missing
        first += w @ part
        np.square(part, out=part)
        second += w @ part
    share = np.where(seen > 0, seen, 1.0)
    return had_missing, first / share, second / share
