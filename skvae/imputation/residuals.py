"""How far imputations are off: errors of held-out cells, in units of the predicted spread."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from scipy.special import ndtri

# Fewer errors leave the tails to the normal distribution.
FEWEST_ERRORS = 20
FEWEST_SQUARES = 50
# Pull towards the first guess of a variance, as a share of the cells.
PULL = 0.1
# A guess below this share of its mean says no more than that the error is small.
SMALLEST_SHARE = 1e-2


class Spread:
    """How large an error to expect, from several guesses of its variance.

    The logarithm of the squared error is regressed on those of the guesses.

    Parameters
    ----------
    guesses : ndarray (cells, guesses)
        Variances.
    errors : ndarray (cells,)
    """

    # Files of earlier versions have none.
    floor: np.ndarray | float = 0.0

    def __init__(self, guesses: np.ndarray, errors: np.ndarray):
        self.offset, self.powers = 0.0, np.r_[0.5, np.zeros(guesses.shape[1] - 1)]
        if len(errors) < FEWEST_SQUARES:
            return
        self.floor = SMALLEST_SHARE * guesses.mean(0)
        A, y = self.logarithms(guesses), _log(errors**2 + 1e-4 * np.mean(errors**2))
        centre, level = A.mean(0), y.mean()
        # Few errors: stay near the first guess.
        pull = np.sqrt(PULL * len(y)) * np.eye(A.shape[1])
        target = np.r_[y - level, pull[:, 0]]
        powers, _ = nnls(np.vstack([A - centre, pull]), target)
        self.offset, self.powers = 0.5 * (level - centre @ powers), 0.5 * powers

    def __call__(self, guesses: np.ndarray) -> np.ndarray:
        """Spread of the error of each cell, up to a factor."""
        # Those of earlier versions knew the first guesses only.
        known = guesses[:, : len(self.powers)]
        return np.exp(self.offset + self.logarithms(known) @ self.powers)

    def level(self, last: np.ndarray) -> np.ndarray:
        """Mean logarithm of each of the last guesses."""
        floor = np.broadcast_to(self.floor, len(self.powers))[-last.shape[1] :]
        return _log(np.maximum(last, floor)).mean(0)

    def logarithms(self, guesses: np.ndarray) -> np.ndarray:
        """Those of variances that are not too small."""
        return _log(np.maximum(guesses, self.floor))


def _log(x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(x, 1e-12))


class Residuals:
    """Quantiles of the errors of one column's held-out cells.

    A held-out cell is like a missing one, except that its value is known: whatever the shape
    of the errors, as large a share of new ones lies between two of their quantiles.

    Parameters
    ----------
    errors : ndarray
        Value minus prediction, over the predicted standard deviation.
    """

    def __init__(self, errors: np.ndarray):
        errors = np.sort(errors[np.isfinite(errors)])
        if len(errors) < FEWEST_ERRORS:
            spread = np.sqrt(np.mean(errors**2)) if len(errors) else 1.0
            shares = (np.arange(FEWEST_ERRORS) + 0.5) / FEWEST_ERRORS
            errors = max(spread, 1.0) * ndtri(shares)
        self.errors = errors

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Error below which these shares of the errors lie."""
        n = len(self.errors)
        # The k-th of n errors is exceeded by a new one with probability 1 - k / (n + 1).
        return np.interp(shares, np.arange(1, n + 1) / (n + 1), self.errors)

    def central(self, coverage: float) -> tuple[float, float]:
        """Errors between which this share lies, the more extreme ones where n is small."""
        tail, n = 0.5 * (1.0 - coverage), len(self.errors)
        k = min(max(int(np.floor(tail * (n + 1))), 1), (n + 1) // 2)
        return float(self.errors[k - 1]), float(self.errors[n - k])
