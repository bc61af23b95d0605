"""The linear special case in closed form: factor analysis and probabilistic PCA.

A VAE with linear maps is a factor model, whose maximum likelihood needs no training.  The
trained model starts there, so that it can only be better, and no latent is lost on the way.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from .incomplete_rows import MAX_FACTORS, moments_of_gaps

# Beyond so many columns the eigenvalue problems of factor analysis cost more than training.
MAX_COLUMNS = 300
N_FOLDS = 5
# Nats per column by which one noise per column must explain held-out rows better: below that,
# codes of one shared noise are the better ones, and what they lose is made up for in training.
LEAST_GAIN = 0.1
# A fold starts from scratch, as the model of all rows knows those held out; it may end early,
# as only the difference of two likelihoods counts.
FOLD_TOL = 1e-2
MAX_ROWS = 20_000
# Up to so many columns all eigenvectors come sooner than the largest ones alone.
FEW_COLUMNS = 64
# Steps that only take what is explained out of the variances: slow, but from them the larger
# steps that follow lead to the nearest maximum and not to a distant one.
N_SMALL_STEPS = 3
MAX_ITER = 100
MAX_STEP = 2.0
# Where many noises are as likely, little damping would lead to needlessly small ones.
MIN_DAMPING, MAX_DAMPING = 0.03, 10.0


@dataclass
class FactorModel:
    """x = mean + W z + noise, with ``W' diag(1/variance) W`` diagonal.

    Parameters
    ----------
    mean : ndarray (columns,)
    loadings : ndarray (columns, n_components)
        The factors in order of information, zero where the data have fewer.
    variance : ndarray (columns,)
        Noise variance per column.
    """

    mean: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray

    @classmethod
    def fit(
        cls, mean, covariance, n_components, shared, floor, noise=None, tol=1e-3
    ) -> FactorModel:
        """Maximise the likelihood, with one noise for all columns or one per column.

        A given ``noise`` scale is kept; a noise variance is at least ``floor``.  The search for
        noises per column ends when a step gains less than ``tol / 2`` nats per row.
        """
        n_factors = min(n_components, len(mean))
        if shared:
            values, vectors = _largest(covariance, n_factors)
            trace = np.trace(covariance)
            return cls._of_axes(mean, values, vectors, trace, n_components, floor, noise)
        maximum = _factor_analysis(covariance, n_factors, floor, tol)
        variance = np.exp(maximum.log_variance)
        return cls(np.asarray(mean), _signed(maximum.loadings, n_components), variance)

    @classmethod
    def fit_rows(cls, mean, rows, n_components, floor, noise=None) -> FactorModel:
        """The same with one noise for all columns, whose covariance is ``rows.T @ rows``.

        Where columns are more than rows, the products of rows hold the same in less.
        """
        n_factors = min(n_components, *rows.shape)
        values, vectors = _largest(rows @ rows.T, n_factors)
        axes = rows.T @ (vectors / np.sqrt(np.maximum(values, 1e-30)))
        return cls._of_axes(mean, values, axes, (rows**2).sum(), n_components, floor, noise)

    @classmethod
    def _of_axes(cls, mean, values, vectors, trace, n_components, floor, noise) -> FactorModel:
        """Probabilistic PCA, of the largest eigenvalues of a covariance and its trace."""
        n_columns = len(mean)
        rest = (trace - values.sum()) / max(n_columns - len(values), 1)
        variance = np.full(n_columns, max(rest, floor) if noise is None else noise**2)
        loadings = vectors * np.sqrt(np.maximum(values - variance[0], 0.0))
        return cls(np.asarray(mean), _signed(loadings, n_components), variance)

    def posterior(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix, offset and log-scale of the exact posterior ``N(x @ matrix + offset, ...)``."""
        scaled = self.loadings / self.variance[:, None]
        precision = 1.0 + (self.loadings * scaled).sum(0)
        matrix = scaled / precision
        return matrix, -self.mean @ matrix, -0.5 * np.log(precision)

    def log_density(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of complete rows, nats."""
        scaled = self.loadings / self.variance[:, None]
        precision = 1.0 + (self.loadings * scaled).sum(0)
        centred = X - self.mean
        explained = centred @ (scaled / np.sqrt(precision))
        distance = centred**2 @ (1.0 / self.variance) - (explained**2).sum(1)
        log_det = np.log(2 * np.pi * self.variance).sum() + np.log(precision).sum()
        return -0.5 * (distance + log_det)

    def log_likelihood(self, X: np.ndarray) -> float:
        """Mean of log p(x) over complete rows, nats."""
        return float(self.log_density(X).mean())


class _Explained:
    """What the likeliest loadings for given noise variances explain, and how likely it is."""

    def __init__(self, covariance: np.ndarray, n_factors: int, log_variance: np.ndarray):
        self.log_variance = log_variance
        root = np.exp(0.5 * log_variance)
        diagonal = np.diag(covariance)
        values, vectors = _largest(covariance / root / root[:, None], n_factors)
        self.loadings = root[:, None] * vectors * np.sqrt(np.maximum(values - 1.0, 0.0))
        self.left = diagonal - (self.loadings**2).sum(1)
        found = values > 1.0
        self.factors, values = vectors[:, found], values[found]
        # Minus two log-likelihoods per row, but for a constant, and its slopes.
        self.deficit = log_variance.sum() + (diagonal / root**2).sum()
        self.deficit += (np.log(values) + 1.0 - values).sum()
        self.slope = 1.0 - self.left / root**2

    def scoring_step(self, lowest: float, damping: float) -> np.ndarray:
        """Log-variances after a step of Fisher scoring; they never fall below ``lowest``."""
        free = (self.log_variance > lowest) | (self.slope < 0)
        explained = self.factors @ self.factors.T
        information = explained**2
        # A noise at its lowest that would fall further has no say in the others' steps.
        information[~free] = 0.0
        diagonal = (1.0 - explained.diagonal()) ** 2 + damping
        np.fill_diagonal(information, np.where(free, diagonal, 1.0))
        step = np.linalg.solve(information, np.where(free, -self.slope, 0.0))
        return np.maximum(self.log_variance + np.clip(step, -MAX_STEP, MAX_STEP), lowest)


def _factor_analysis(covariance, n_factors, floor, tol) -> _Explained:
    """Climb to the maximum of the likelihood over one noise variance per column."""
    diagonal, lowest = np.diag(covariance), np.log(floor)
    at = _Explained(covariance, n_factors, np.log(np.maximum(0.5 * diagonal, floor)))
    # As many factors as columns leave no information about the noise to take larger steps by.
    saturated = n_factors == len(covariance)
    for _ in range(MAX_ITER if saturated else N_SMALL_STEPS):
        log_variance = np.log(np.maximum(at.left, floor))
        if np.abs(log_variance - at.log_variance).max() < 1e-3:
            return at
        at = _Explained(covariance, n_factors, log_variance)
    damping = MIN_DAMPING
    for _ in range(0 if saturated else MAX_ITER):
        moved = _Explained(covariance, n_factors, at.scoring_step(lowest, damping))
        gain = at.deficit - moved.deficit
        if gain >= 0:
            at, damping = moved, max(damping / 10, MIN_DAMPING)
            if gain < tol:
                break
        elif damping > MAX_DAMPING:
            break
        else:
            damping *= 10
    return at


def _signed(loadings: np.ndarray, n_components: int) -> np.ndarray:
    """With the largest entry of each factor positive, so that seeds agree on signs."""
    n_columns, n_factors = loadings.shape
    signs = np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_factors)])
    padded = np.zeros((n_columns, n_components))
    padded[:, :n_factors] = loadings * np.where(signs == 0, 1.0, signs)
    return padded


def _largest(matrix: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(matrix)
    if size <= FEW_COLUMNS:
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[size - n :], vectors[:, size - n :]
    else:
        values, vectors = linalg.eigh(matrix, subset_by_index=[size - n, size - 1])
    return values[::-1], vectors[:, ::-1]


class _Sums:
    """Weighted sums over rows of 1, ``x_i`` and ``x_i x_j``, where both columns are observed.

    Those of disjoint rows add up.  Where no cell is missing, the former two are the same for
    all ``j`` and kept once.
    """

    def __init__(self, X, mask, weights):
        self.complete = mask is None
        seen = np.ones((len(X), 1)) if mask is None else mask.astype(np.float64)
        X = X if mask is None else X * seen
        by = np.ones((len(X), 1)) if weights is None else weights[:, None]
        weighted = X if weights is None else X * by
        self.parts = [(seen * by).T @ seen, weighted.T @ seen, weighted.T @ X]

    def __add__(self, other: _Sums) -> _Sums:
        total = copy.copy(self)
        total.parts = [mine + theirs for mine, theirs in zip(self.parts, other.parts)]
        return total

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance."""
        pairs, first, second = self.parts
        total = np.maximum(pairs, 1e-12)
        mean = (first / total)[:, 0] if self.complete else np.diag(first / total)
        crossed = first * mean
        covariance = (second - crossed - crossed.T + pairs * np.outer(mean, mean)) / total
        if self.complete:
            return mean, covariance
        # Pairwise averages need not be a covariance: the nearest one has no negative eigenvalue.
        values, vectors = np.linalg.eigh(covariance)
        return mean, (vectors * np.maximum(values, 0.0)) @ vectors.T


def linear_model(
    X, mask, weights, n_components, floor, shared=None, noise=None
) -> tuple[FactorModel, bool]:
    """Fit the factor model of a table; also give whether its columns share one noise.

    Where ``shared`` is None they do unless held-out rows are clearly likelier otherwise: over
    five folds the gain must be worth it and exceed its standard error, because a few rows that
    break the rule of a nearly constant column outweigh all others.
    """
    centre = X.mean(0, dtype=np.float64)
    X = X - centre
    weights = None if weights is None else weights.astype(np.float64)
    n, n_columns = X.shape
    if shared is None and (n_columns > MAX_COLUMNS or n < 2 * N_FOLDS or n_columns == 1):
        shared = True
    if shared and n_columns > max(MAX_COLUMNS, n):
        mean, rows = _scaled_rows(X, mask, weights)
        return FactorModel.fit_rows(mean + centre, rows, n_components, floor, noise), True
    folds = [_cut(slice(k, MAX_ROWS, N_FOLDS), X, mask, weights) for k in range(N_FOLDS)]
    sums: Any = (_Sums(*fold) for fold in folds)
    sums = list(sums) if shared is None else sums
    mean, covariance = sum(sums, _Sums(*_cut(slice(MAX_ROWS, None), X, mask, weights))).moments()
    # As many factors as columns leave no noise, and the likeliest of such models is of no use.
    climbs = n_components < n_columns - 1 and n_columns <= MAX_COLUMNS
    if mask is not None and climbs and not mask.all():
        n_factors = min(2 * n_components + 2, n_columns - 1, MAX_FACTORS)
        mean, covariance = moments_of_gaps(X, mask, weights, mean, covariance, n_factors)
    model = None
    if shared is None:
        model = FactorModel.fit(mean, covariance, n_components, False, floor)
        shared = not _own_noise_is_likelier(folds, sums, n_components, floor)
    if model is None or shared:
        model = FactorModel.fit(mean, covariance, n_components, shared, floor, noise)
    model.mean = model.mean + centre
    return model, shared


def _scaled_rows(X, mask, weights) -> tuple[np.ndarray, np.ndarray]:
    """Means of the columns, and rows whose squares add up to variances; gaps are at the mean."""
    by = np.ones((len(X), 1)) if weights is None else weights[:, None]
    seen = np.broadcast_to(by, X.shape) if mask is None else by * mask
    total = np.maximum(seen.sum(0), 1e-12)
    mean = (X * seen).sum(0) / total
    return mean, (X - mean) * np.sqrt(seen / total)


def _own_noise_is_likelier(folds, sums, n_components, floor) -> bool:
    gains, shares = [], []
    for k, (X, mask, weights) in enumerate(folds):
        others = [part for j, part in enumerate(sums) if j != k]
        mean, covariance = sum(others[1:], others[0]).moments()
        held_out = X if mask is None else np.where(mask, X, mean)
        own = FactorModel.fit(mean, covariance, n_components, False, floor, tol=FOLD_TOL)
        one = FactorModel.fit(mean, covariance, n_components, True, floor)
        gains.append(own.log_density(held_out) - one.log_density(held_out))
        shares.append(np.ones(len(X)) if weights is None else weights)
    gain, share = np.concatenate(gains), np.concatenate(shares)
    share /= share.sum()
    mean_gain = share @ gain
    error = np.linalg.norm(share * (gain - mean_gain))
    return bool(mean_gain > max(error, LEAST_GAIN * len(mean)))


def _cut(rows: slice, *arrays) -> list[np.ndarray | None]:
    return [None if array is None else array[rows] for array in arrays]
