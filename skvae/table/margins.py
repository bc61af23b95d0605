"""Margins: the distribution of a column as a map to normal scores and back."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

_LARGEST = 1e9
_HUGE = 0.25 * float(np.finfo(np.float64).max)
_TINY = float(np.nextafter(0.0, 1.0))
# So many rows per distinct value make a column of values that recur: it is given back as such.
RECURRING = 4
MAX_LEVELS = 65_536
# Most pieces of a smooth margin, and the fewest rows of one: fewer would follow the sample.
MAX_PIECES = 1000
ROWS_PER_PIECE = 8
MAX_DECIMALS = 9


class Margin:
    """An increasing map from values to normal scores, linear between knots.

    Where values recur, each lies in the middle of a cell that is as wide as the resolution at
    which the column was recorded, and standard normal scores come back as these values with
    their own frequencies.  Elsewhere the knots lie between order statistics.  Beyond the
    observed range the map goes on as a straight line, so that the density has normal tails.

    Parameters
    ----------
    knots : ndarray of float64, shape (n_knots,)
        Increasing values.
    scores : ndarray of float64, shape (n_knots,)
        Their normal scores, increasing.
    step : float
        Resolution at which the column was recorded; 0 where it has none.
    decimals : int
        Decimals of `step`.
    origin : float
        A value on that grid.
    levels : ndarray of float64 or None
        The values themselves, where they recur.

    Examples
    --------
    >>> import numpy as np
    >>> values, counts = np.unique(np.repeat([1.0, 2.0, 3.0], [10, 20, 10]), return_counts=True)
    >>> margin = Margin.fit(values, counts / 40, 40)
    >>> margin.backward(np.array([-5.0, -0.6, 0.6, 5.0]))
    array([1., 2., 2., 3.])
    >>> margin.forward(np.array([2.0]))
    array([0.])
    """

    def __init__(self, knots, scores, step, decimals, origin, levels):
        self.knots, self.scores = knots, scores
        self.step, self.decimals, self.origin = step, decimals, origin
        self.levels = levels
        slopes = np.diff(knots) / np.diff(scores)
        self.low_slope, self.high_slope = self._tail(0), self._tail(len(knots) - 1)
        self.log_slopes = np.log(np.maximum(np.r_[self.low_slope, slopes, self.high_slope], _TINY))

    @classmethod
    def fit(cls, values: np.ndarray, shares: np.ndarray, n_rows: int, eps=None) -> Margin:
        """Make the margin of increasing distinct values with these shares.

        ``eps`` is the spacing of the numbers around 1 that hold the values, float64's by default.
        """
        # Differences must not overflow.
        values = np.clip(values, -_HUGE, _HUGE)
        step, decimals = resolution(values, eps)
        recurring = len(values) <= min(n_rows / RECURRING, MAX_LEVELS)
        upto = np.cumsum(shares)[:-1]
        middle = values[:-1] + 0.5 * np.diff(values)
        if recurring:
            knots, ranks = _borders(values, shares, middle, upto, step)
        else:
            kept = _spaced(upto, n_rows)
            knots, ranks = middle[kept], upto[kept]
        knots = np.r_[values[0], knots, values[-1]]
        scores = ndtri(np.r_[0.5 * shares[0], ranks, 1.0 - 0.5 * shares[-1]])
        distinct = np.r_[True, (np.diff(knots) > 0) & (np.diff(scores) > 0)]
        knots, scores = knots[distinct], scores[distinct]
        levels = values if recurring else None
        return cls(knots, scores, step, decimals, float(values[0]), levels)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Normal scores of values, at most 1e9."""
        y = np.interp(x, self.knots, self.scores)
        with np.errstate(over="ignore"):
            below, above = x - self.knots[0], x - self.knots[-1]
            y = np.where(below < 0, self.scores[0] + below / self.low_slope, y)
            y = np.where(above > 0, self.scores[-1] + above / self.high_slope, y)
        return np.clip(y, -_LARGEST, _LARGEST)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the derivative of the value by the score."""
        place = np.searchsorted(self.knots, x, side="right")
        return self.log_slopes[np.where(x == self.knots[-1], len(self.knots) - 1, place)]

    def backward(self, y: np.ndarray) -> np.ndarray:
        """Values of normal scores."""
        x = np.interp(y, self.scores, self.knots)
        below, above = y - self.scores[0], y - self.scores[-1]
        with np.errstate(over="ignore"):
            x = np.where(below < 0, self.knots[0] + below * self.low_slope, x)
            x = np.where(above > 0, self.knots[-1] + above * self.high_slope, x)
        return self.recorded(x)

    def recorded(self, x: np.ndarray) -> np.ndarray:
        """Values as the column records them: on its grid and in its range."""
        low, high = self.knots[0], self.knots[-1]
        if self.levels is not None:
            middle = self.levels[:-1] + 0.5 * np.diff(self.levels)
            nearest = self.levels[np.searchsorted(middle, x)]
            return np.where(np.isnan(x), x, nearest)
        if self.step:
            x = np.rint((x - self.origin) / self.step) * self.step + self.origin
            return np.clip(np.round(x, self.decimals), low, high)
        # A column of one sign keeps it.
        return np.clip(x, low if low >= 0 else None, high if high <= 0 else None)

    def _tail(self, end: int) -> float:
        """Slope of the outermost unit of score."""
        inner = self.scores[end] + (1.0 if end == 0 else -1.0)
        other = int(np.argmin(np.abs(self.scores - inner)))
        other = other if other != end else abs(end - 1)
        rise = self.scores[other] - self.scores[end]
        return max(float((self.knots[other] - self.knots[end]) / rise), _TINY)


def _borders(values, shares, middle, upto, step) -> tuple[np.ndarray, np.ndarray]:
    """Knots at the borders of the cells of the values, and the shares below them.

    Between cells that do not touch lie gaps, to which each neighbour gives a part of its own
    share, and gets it back where scores become values.
    """
    spaces = np.diff(values)
    half = 0.5 * (step or spaces.min())
    gaps = spaces > 3.0 * half
    given = 0.25 * np.minimum(shares[:-1], shares[1:])
    knots = np.r_[middle, (values[:-1] + half)[gaps], (values[1:] - half)[gaps]]
    ranks = np.r_[upto, (upto - given)[gaps], (upto + given)[gaps]]
    order = np.argsort(knots, kind="stable")
    return knots[order], ranks[order]


def _spaced(upto: np.ndarray, n_rows: int) -> np.ndarray:
    """Which places between order statistics become knots: dense in the tails, even elsewhere."""
    width = max(n_rows / MAX_PIECES, ROWS_PER_PIECE)
    tail = 2.0 ** np.arange(np.floor(np.log2(width)) + 1)
    tail = tail[tail < n_rows / 2] / n_rows
    even = np.arange(width, n_rows, width) / n_rows
    targets = np.unique(np.r_[tail, even, 1.0 - tail])
    return np.unique(np.searchsorted(upto, targets - 1e-12).clip(max=len(upto) - 1))


def resolution(values: np.ndarray, eps: float | None = None) -> tuple[float, int]:
    """Largest step whose multiples the differences of the values are, and its decimals.

    The step is 0 where the values have no such step of at most nine decimals.

    Examples
    --------
    >>> import numpy as np
    >>> resolution(np.array([0.25, 0.5, 1.0])), resolution(np.array([100.0, 300.0, 700.0]))
    ((0.25, 2), (200.0, 0))
    >>> resolution(np.array([0.1, np.pi]))
    (0.0, 0)
    """
    eps = np.finfo(np.float64).eps if eps is None else eps
    largest = float(np.abs(values).max())
    if len(values) < 2 or not largest < 1e300:
        return 0.0, 0
    for decimals in range(MAX_DECIMALS + 1):
        tolerance = 4.0 * eps * largest * 10.0**decimals
        if tolerance > 0.05:
            break
        scaled = values * 10.0**decimals
        whole = np.rint(scaled)
        if np.abs(scaled - whole).max() <= tolerance:
            steps = (whole - whole[0]).astype(np.int64)
            return float(np.gcd.reduce(steps)) / 10.0**decimals, decimals
    return 0.0, 0
