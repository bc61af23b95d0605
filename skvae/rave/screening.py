"""Which direction among physical coordinates has the distribution of a code."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from .line_density import LineDensity

# Aligned numbers have mean 0 and variance 1.
LIMITS = (-5.0, 5.0)
N_BINS = 100
# So many rows tell two distributions apart.
MOST_ROWS = 20_000


def screened(
    codes: np.ndarray,
    X: np.ndarray,
    weights: np.ndarray,
    n_candidates: int,
    random_state: np.random.RandomState,
) -> tuple[np.ndarray, float]:
    """Direction of white rows whose distribution is nearest to that of their codes.

    Parameters
    ----------
    codes : ndarray (rows,)
    X : ndarray (rows, columns)
        White under the weights.
    weights : ndarray (rows,)
    n_candidates : int
        Random directions that are tried beside that of a linear regression of the codes; the
        search goes on from the best.
    random_state : RandomState

    Returns
    -------
    direction : ndarray (columns,)
        Of length 1; its numbers rise with the codes.
    divergence : float
        KL(P(z) || P(chi)) after alignment, nats.
    """
    if len(X) > MOST_ROWS:
        kept = random_state.choice(len(X), MOST_ROWS, replace=False)
        codes, X, weights = codes[kept], X[kept], weights[kept]
    share = weights / weights.sum()
    target = LineDensity.of(_aligned(codes, share), weights, LIMITS, N_BINS)

    def divergence(direction: np.ndarray) -> float:
        length = np.linalg.norm(direction)
        if length < 1e-12:
            return np.inf
        line = LineDensity.of(_aligned(X @ (direction / length), share), weights, LIMITS, N_BINS)
        return min(target.kl(line), target.kl(line.reversed()))

    slope = (share * (codes - share @ codes)) @ X
    candidates = np.vstack([slope, random_state.normal(size=(n_candidates, X.shape[1]))])
    lengths = np.linalg.norm(candidates, axis=1, keepdims=True)
    candidates = candidates / np.maximum(lengths, 1e-12)
    best = candidates[int(np.argmin([divergence(candidate) for candidate in candidates]))]
    if X.shape[1] > 1:
        best = minimize(divergence, best, method="Nelder-Mead").x
    best = best / np.linalg.norm(best)
    rises = (share * (codes - share @ codes)) @ (X @ best) >= 0
    return (best if rises else -best), divergence(best)


def _aligned(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    centred = values - share @ values
    return centred / max(np.sqrt(share @ centred**2), 1e-12)
