"""The linear special case in closed form: factor analysis and probabilistic PCA.

A VAE with linear maps is a factor model, whose maximum likelihood needs no training.  The
trained model starts there, so that it can only be better, and no latent is lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

# Beyond so many columns the eigenvalue problems of factor analysis cost more than training.
MAX_COLUMNS = 300
N_FOLDS = 5
MAX_ROWS = 20_000


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
        cls, mean, covariance, n_components, shared, floor, noise=None, max_iter=100
    ) -> FactorModel:
        """Maximise the likelihood, with one noise for all columns or one per column.

        A given ``noise`` scale is kept; a noise variance is at least ``floor``.
        """
        n_columns = len(mean)
        n_factors = min(n_components, n_columns)
        diagonal = np.diag(covariance)
        if shared:
            values, vectors = _largest(covariance, n_factors)
            rest = (diagonal.sum() - values.sum()) / max(n_columns - n_factors, 1)
            variance = np.full(n_columns, max(rest, floor) if noise is None else noise**2)
            loadings = vectors * np.sqrt(np.maximum(values - variance[0], 0.0))
            max_iter = 0
        else:
            variance = np.maximum(0.5 * diagonal, floor)
        for i in range(max_iter):
            root = np.sqrt(variance)
            values, vectors = _largest(covariance / np.outer(root, root), n_factors)
            loadings = root[:, None] * vectors * np.sqrt(np.maximum(values - 1.0, 0.0))
            updated = np.maximum(diagonal - (loadings**2).sum(1), floor)
            change = np.abs(np.log(updated / variance)).max()
            if change < 1e-3 or i == max_iter - 1:
                # The posterior is exact for the variance that the loadings were found with.
                break
            variance = updated
        # The largest entry of each factor is positive, so that seeds agree on signs.
        signs = np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_factors)])
        padded = np.zeros((n_columns, n_components))
        padded[:, :n_factors] = loadings * np.where(signs == 0, 1.0, signs)
        return cls(np.asarray(mean), padded, variance)

    def posterior(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix, offset and log-scale of the exact posterior ``N(x @ matrix + offset, ...)``."""
        scaled = self.loadings / self.variance[:, None]
        precision = 1.0 + (self.loadings * scaled).sum(0)
        matrix = scaled / precision
        return matrix, -self.mean @ matrix, -0.5 * np.log(precision)

    def log_density(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of complete rows, nats."""
        covariance = self.loadings @ self.loadings.T + np.diag(self.variance)
        factor = np.linalg.cholesky(covariance)
        white = linalg.solve_triangular(factor, (X - self.mean).T, lower=True)
        constant = np.log(np.diag(factor)).sum() + 0.5 * X.shape[1] * np.log(2 * np.pi)
        return -0.5 * (white**2).sum(0) - constant

    def log_likelihood(self, X: np.ndarray) -> float:
        """Mean of log p(x) over complete rows, nats."""
        return float(self.log_density(X).mean())


def _largest(matrix: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    last = len(matrix) - 1
    values, vectors = linalg.eigh(matrix, subset_by_index=[last - n + 1, last])
    return values[::-1], vectors[:, ::-1]


def moments(X, mask, weights) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and covariance over the observed cells."""
    weights = np.ones(len(X)) if weights is None else weights.astype(np.float64)
    X = X.astype(np.float64)
    if mask is None:
        total = weights.sum()
        mean = weights @ X / total
        centred = X - mean
        return mean, (centred * weights[:, None]).T @ centred / total
    seen = mask.astype(np.float64)
    mean = (weights @ (X * seen)) / np.maximum(weights @ seen, 1e-12)
    centred = (X - mean) * seen
    pairs = np.maximum((seen * weights[:, None]).T @ seen, 1e-12)
    covariance = (centred * weights[:, None]).T @ centred / pairs
    # Pairwise averages need not be a covariance: the nearest one has no negative eigenvalue.
    values, vectors = np.linalg.eigh(covariance)
    return mean, (vectors * np.maximum(values, 0.0)) @ vectors.T


def columns_deserve_own_noise(X, mask, weights, n_components, floor) -> bool:
    """Whether held-out rows are likelier with one noise per column than with one for all.

    Five folds; the gain must exceed its standard error, because a few rows that break the
    rule of a nearly constant column outweigh all others.
    """
    n, n_columns = X.shape
    if n_columns > MAX_COLUMNS or n < 2 * N_FOLDS or n_columns == 1:
        return False
    X = X[:MAX_ROWS].astype(np.float64)
    mask = None if mask is None else mask[: len(X)]
    weights = None if weights is None else weights[: len(X)]
    fold = np.arange(len(X)) % N_FOLDS
    gains = np.empty(len(X))
    for k in range(N_FOLDS):
        kept = fold != k
        mean, covariance = moments(
            X[kept],
            None if mask is None else mask[kept],
            None if weights is None else weights[kept],
        )
        held_out = X[~kept] if mask is None else np.where(mask[~kept], X[~kept], mean)
        own, one = (
            FactorModel.fit(mean, covariance, n_components, shared, floor).log_density(held_out)
            for shared in (False, True)
        )
        gains[~kept] = own - one
    share = np.full(len(X), 1.0 / len(X)) if weights is None else weights / weights.sum()
    mean_gain = share @ gains
    return bool(mean_gain > np.sqrt((share * (gains - mean_gain)) @ (share * (gains - mean_gain))))
