"""Surprise: how few rows are at least as odd, in nats."""

from __future__ import annotations

import numpy as np

# Beyond this share of the rows the tail is exponential; below it, the rows themselves say it.
TAIL = 0.1
N_KNOTS = 33
# Knots that differ by less, in units of the largest, differ by rounding.
SAME = 1e-10


class Surprise:
    """Map a statistic to -log of the share of rows that have at least as much of it.

    Between quantiles of the rows it was fitted to the map is linear, and beyond the last tenth
    of them exponential with the mean excess, so that it goes on where no row has been.  It
    rises strictly: ranks are those of the statistic.

    Attributes
    ----------
    knots_, nats_ : ndarray
        Quantiles of the statistic and their surprise.
    scale_ : float
        Mean excess over the last knot.

    References
    ----------
    Pickands, Statistical Inference Using Extreme Order Statistics, 1975.

    Examples
    --------
    >>> import numpy as np
    >>> surprise = Surprise().fit(np.random.RandomState(0).exponential(size=10_000))
    >>> surprise(np.array([1.0, 5.0])).round()
    array([1., 5.])
    """

    def fit(self, statistic: np.ndarray) -> Surprise:
        """Learn the shares from a statistic ``(n_samples,)`` of ordinary rows."""
        shares = np.linspace(0.0, 1.0 - TAIL, N_KNOTS)
        knots = np.quantile(statistic, shares)
        # Of knots at one place the last one tells how many rows lie below.
        last = np.append(np.diff(knots) > SAME * np.abs(knots).max(), True)
        self.knots_, self.nats_ = knots[last], -np.log1p(-shares[last])
        excess = statistic[statistic > self.knots_[-1]] - self.knots_[-1]
        scale = excess.mean() if len(excess) else 0.0
        least = np.finfo(np.float64).eps * max(abs(self.knots_[-1]), 1.0)
        self.scale_ = float(max(scale, np.std(statistic) * 1e-3, least))
        return self

    def __call__(self, statistic: np.ndarray) -> np.ndarray:
        """Nats of surprise; a little below 0 for rows more ordinary than any."""
        low, high = self.knots_[0], self.knots_[-1]
        nats = np.interp(statistic, self.knots_, self.nats_)
        below = np.minimum(statistic - low, 0.0) / self.scale_
        above = np.maximum(statistic - high, 0.0) / self.scale_
        return nats + above + 0.01 * below
