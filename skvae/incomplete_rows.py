"""Mean and covariance of rows with gaps, by expectation maximisation.

Averages over the pairs of cells that happen to be seen are the moments of a table only where
cells are missing completely at random.  The likelihood of what is seen asks for less: whether
a cell is missing may depend on the cells that are seen.
"""

from __future__ import annotations

import numpy as np

MAX_ITER = 50
# Nats per row that a step must gain.
TOL = 1e-3
# The first rows suffice for a start.
MAX_ROWS = 5_000
# A step takes the cube of the factors per row.
MAX_FACTORS = 32
# Of the variance of a column: the least that the other columns leave of it.
FLOOR = 1e-2


def patterns_of(mask):
    """Distinct rows of a mask in their order, and which of them each row is.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.incomplete_rows import patterns_of
    >>> patterns, which = patterns_of(np.array([[True, False], [False, True], [True, False]]))
    >>> patterns.astype(int).tolist(), which.tolist()
    ([[0, 1], [1, 0]], [1, 0, 1])
    """
    # As bits: rows of fields are slow to compare, and NumPy makes of an interrupt within a
    # comparison of them an error of types.
    bits = np.ascontiguousarray(np.packbits(mask, axis=1))
    rows = bits.view(np.dtype((np.void, bits.shape[1]))).ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    return mask[first], which


def moments_of_gaps(X, mask, weights, mean, covariance, n_factors):
    """Climb from a mean and a covariance towards the likeliest ones for the cells seen.

    The covariance is that of a model of at most so many factors and one noise per column.

    Parameters
    ----------
    X : ndarray (rows, columns)
        Centred, so that 0 is a fair guess.
    mask : ndarray of bool (rows, columns)
        Which cells are seen; the others are not looked at.
    weights : ndarray (rows,) or None
    mean, covariance : ndarray (columns,), (columns, columns)
        Where to start.
    n_factors : int

    Returns
    -------
    mean, covariance : ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.incomplete_rows import moments_of_gaps
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 1)) + 0.3 * rng.normal(size=(500, 3))
    >>> seen = np.ones(X.shape, dtype=bool)
    >>> seen[:, 0] = X[:, 1] < 0  # the mean of the cells that are seen is -0.8
    >>> mean, covariance = moments_of_gaps(X, seen, None, np.zeros(3), np.cov(X.T), 1)
    >>> bool(abs(mean[0]) < 0.15)
    True

    References
    ----------
    Rubin and Thayer, EM Algorithms for ML Factor Analysis, 1982.
    """
    seen = mask[:MAX_ROWS].astype(np.float64)
    # What is missing may be anything, also no number.
    X = np.where(mask[:MAX_ROWS], X[:MAX_ROWS], 0.0).astype(np.float64)
    share = np.ones(len(X)) if weights is None else weights[:MAX_ROWS]
    by = seen * share[:, None]
    gaps = patterns_of(mask[:MAX_ROWS])
    count, squares, sums = by.sum(0), (by * X**2).sum(0), by * X
    lowest = FLOOR * np.maximum(np.diag(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[-n_factors:], vectors[:, -n_factors:]
    rest = (np.trace(covariance) - values.sum()) / max(len(mean) - n_factors, 1)
    loadings = vectors * np.sqrt(np.maximum(values - rest, 0.0))
    variance = np.maximum(np.diag(covariance) - (loadings**2).sum(1), lowest)
    best, before = (mean, loadings, variance), -np.inf
    for _ in range(MAX_ITER):
        codes, spread, density = _explained(X, seen, gaps, mean, loadings, variance)
        now = np.average(density, weights=share)
        if now > before:
            best = mean, loadings, variance
        if now - before < TOL:
            break
        before = now
        # The mean of a column is the loading of a code that is always 1.
        codes = np.hstack([codes, np.ones((len(X), 1))])
        moments = codes[:, :, None] * codes[:, None]
        moments[:, :-1, :-1] += spread
        pairs = (by.T @ moments.reshape(len(X), -1)).reshape(-1, *moments.shape[1:])
        # One more row that has nothing in common with others: columns may have few cells.
        pairs += np.eye(n_factors + 1)
        products = sums.T @ codes
        found = np.linalg.solve(pairs, products[..., None])[..., 0]
        mean, loadings = found[:, -1], found[:, :-1]
        # What the found loadings leave, where they are the exact minimum of that.
        left = squares - (found * products).sum(1)
        variance = np.maximum(left / np.maximum(count, 1.0), lowest)
    mean, loadings, variance = best
    return mean, loadings @ loadings.T + np.diag(variance)


def _explained(X, seen, gaps, mean, loadings, variance) -> tuple:
    """Means and covariances of the codes of rows, and log-densities of the cells seen."""
    n_factors = loadings.shape[1]
    scaled = loadings / variance[:, None]
    products = (loadings[:, :, None] * scaled[:, None]).reshape(len(mean), -1)
    # Rows with the same gaps have the same covariance.
    patterns, which = gaps
    precision = (patterns @ products).reshape(-1, n_factors, n_factors) + np.eye(n_factors)
    log_det = patterns @ np.log(2 * np.pi * variance) + np.linalg.slogdet(precision)[1]
    centred = seen * (X - mean)
    pulled = centred @ scaled
    spread = np.linalg.inv(precision)[which]
    codes = (spread @ pulled[..., None])[..., 0]
    distance = centred**2 @ (1.0 / variance) - (pulled * codes).sum(1)
    return codes, spread, -0.5 * (distance + log_det[which])
