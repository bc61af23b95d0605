"""Spaces: in which sense two rows are near each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.covariance import LedoitWolf

# Residuals are measured in units of their spread, but not in smaller ones.
LEAST_SPREAD = 0.05
# Robust units beyond which a cell is no farther away.
FARTHEST = 8.0
NORMAL_IQR = 1.349
# Rows that are multiplied at once, always so many.
BLOCK = 256


class Described(NamedTuple):
    """Rows as a fitted model sees them.

    Parameters
    ----------
    inputs : ndarray of float32 (rows, n_inputs)
        Encoded cells, standardised; missing ones as the model expects them, given the others.
        Where columns are conditions: by how much the other cells differ from what these let
        expect, so that rows of unlike contexts compare.
    residuals : ndarray of float32 (rows, n_columns)
        Cells minus what the model puts in their place, 0 where missing.
    """

    inputs: np.ndarray
    residuals: np.ndarray

    def take(self, index: np.ndarray) -> Described:
        """These rows."""
        return Described(self.inputs[index], self.residuals[index])


class Space:
    """Base of the spaces: encoded cells as they are.

    Attributes
    ----------
    rounding : float
        Distances by which rows are told apart, per unit of their own from the origin: what is
        less is rounding of float32, which comes out in another way on another machine.
    """

    rounding = 1e-6

    def noise(self, points: np.ndarray) -> np.ndarray:
        """Distance ``(rows,)`` of points below which there is nothing but rounding."""
        return self.rounding * (np.sqrt(np.einsum("nc,nc->n", points, points)) + 1.0)

    def fit(self, rows: Described) -> Space:
        """Learn units from the training rows."""
        return self

    def __call__(self, rows: Described) -> np.ndarray:
        """Coordinates of rows, ``(rows, dimensions)``."""
        return rows.inputs.astype(np.float64)


class JointSpace(Space):
    """Encoded cells beside their residuals: rows are near if they are alike and equally odd."""

    # A residual is the difference of two numbers.
    rounding = 1e-5

    def fit(self, rows: Described) -> JointSpace:
        """Learn the spread of the residuals."""
        spread = rows.residuals.std(0, dtype=np.float64)
        self.spread_ = np.maximum(spread, LEAST_SPREAD)
        return self

    def __call__(self, rows: Described) -> np.ndarray:
        """Both, side by side."""
        return np.concatenate([rows.inputs, rows.residuals / self.spread_], 1)


class WhitenedSpace(Space):
    """Robustly scaled cells without their correlations: what breaks one is far away.

    References
    ----------
    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
    2004.
    """

    rounding = 1e-5

    def fit(self, rows: Described) -> WhitenedSpace:
        """Learn quartiles, and the shrunk covariance of the cells."""
        lower, self.median_, upper = np.quantile(rows.inputs, [0.25, 0.5, 0.75], axis=0)
        unit, spread = (upper - lower) / NORMAL_IQR, rows.inputs.std(0, dtype=np.float64)
        # Where most cells are equal the quartiles say nothing.
        unit = np.where(unit > 1e-3 * spread, unit, spread)
        self.unit_ = np.where(unit > 0, unit, 1.0)
        found = LedoitWolf(assume_centered=False).fit(self.scaled(rows.inputs))
        variances, axes = np.linalg.eigh(found.covariance_)
        floor = 1e-6 * max(variances[-1], np.finfo(np.float64).tiny)
        self.whitening_ = axes / np.sqrt(np.maximum(variances, floor))
        return self

    def __call__(self, rows: Described) -> np.ndarray:
        """Whitened cells."""
        return in_blocks(self.scaled(rows.inputs), self.whitening_)

    def scaled(self, inputs: np.ndarray) -> np.ndarray:
        """Cells in robust units."""
        return np.clip((inputs - self.median_) / self.unit_, -FARTHEST, FARTHEST)


def in_blocks(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``rows @ matrix``; a product of the whole would round by how many rows there are."""
    out = np.empty((len(rows), matrix.shape[1]))
    block = np.zeros((BLOCK, rows.shape[1]))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        block[: len(part)] = part
        out[start : start + BLOCK] = (block @ matrix)[: len(part)]
    return out


def row_keys(inputs: np.ndarray) -> np.ndarray:
    """A number per row that equal rows share, and no others but for one in 2^32."""
    bits = (inputs + np.float32(0.0)).astype(np.float64).view(np.uint64)
    most = np.iinfo(np.int64).max
    factors = np.asarray(np.random.RandomState(0).randint(1, most, size=bits.shape[1]))
    odd = factors.astype(np.uint64) | np.uint64(1)
    mixed = (bits ^ (bits >> np.uint64(29))) * odd
    return mixed.sum(1, dtype=np.uint64)


def describe(model: Any, encoded: Any, gaps: Any) -> Described:
    """The rows of an encoded table as a fitted detector sees them.

    ``gaps`` fills missing inputs, see ``skvae.scores.gaps``; None leaves them.
    """
    encoded = model._without_gaps(encoded, gaps)
    return Described(model._compared_cells(encoded), model._residuals(encoded))
