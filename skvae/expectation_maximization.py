"""Mixtures of normals by expectation maximisation, for codes of which there are few.

At the sizes of tables a general implementation spends its time on everything but the
mathematics, and a search pays that once per candidate.  Here an iteration is two matrix
products: the log-density of a normal is linear in the latents and their pairwise products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

# Beyond so many latents their pairwise products take more memory than they save time.
MAX_PRODUCT_LATENTS = 32
N_STARTS = 2
MAX_LLOYD_ITER = 20
# Share of the rows below which changes of cluster are left to what follows k-means.
SETTLED = 0.01
# Rows that every component has of all the codes' distribution: one that lost its own rows
# becomes the normal of all codes instead of dividing by zero, and no other one notices.
SHARED_ROWS = 1e-10
# Smallest variance in units of that of all codes: float64 resolves it after cancellation.
FLOOR = 1e-9


@dataclass
class FittedMixture:
    """A mixture of normals with the path that led to it.

    Parameters
    ----------
    weights : ndarray (n_mixture,)
    means : ndarray (n_mixture, latents)
    whitening : ndarray (n_mixture, latents, latents) or (n_mixture, latents)
        Upper triangular; ``(x - mean) @ whitening`` has unit covariance.  A vector of
        inverse standard deviations where the covariances are diagonal.
    log_likelihood : ndarray (n_iter,)
        Mean over the rows after each iteration, nats; the last is that of this mixture.
    """

    weights: np.ndarray
    means: np.ndarray
    whitening: np.ndarray
    log_likelihood: np.ndarray

    @classmethod
    def fit(
        cls, codes, n_mixture, seed, full=True, reg_covar=1e-3, tol=1e-3, max_iter=200, n_pooled=0
    ) -> FittedMixture:
        """Maximise the likelihood of ``codes (rows, latents)``.

        Starts at the better of two k-means clusterings, and stops once an iteration gains
        less than ``tol`` nats per row.  ``reg_covar`` is added to every variance.  ``n_pooled``
        rows beside those of each normal have the mean covariance of all normals: normals of few
        rows are then as wide as the others.
        """
        codes = np.asarray(codes, dtype=np.float64)
        if not np.isfinite(codes).all():
            raise ValueError("A mixture is fitted to finite codes; these hold NaN or infinity.")
        centre, scale = codes.mean(0), codes.std(0)
        scale[scale == 0] = 1.0
        centred = codes - centre
        reg = np.maximum(reg_covar / scale**2, FLOOR)
        em = _ExpectationMaximization(centred / scale, full, reg, n_pooled)
        random = np.random.RandomState(seed)
        columns = np.ascontiguousarray(centred.T)
        starts = [em.step(_k_means(columns, n_mixture, random)) for _ in range(N_STARTS)]
        state = max(starts, key=lambda start: start.log_likelihood)
        path = [state.log_likelihood]
        while len(path) < max_iter:
            state = em.step(state.responsibilities)
            path.append(state.log_likelihood)
            if path[-1] - path[-2] < tol:
                break
        whitening = state.whitening / (scale[:, None] if full else scale)
        log_likelihood = np.array(path) - np.log(scale).sum()
        return cls(state.weights, state.means * scale + centre, whitening, log_likelihood)


@dataclass
class _State:
    weights: np.ndarray
    means: np.ndarray
    whitening: np.ndarray
    log_likelihood: float
    responsibilities: np.ndarray


class _ExpectationMaximization:
    """One iteration over standardised codes ``(rows, latents)``."""

    def __init__(self, X: np.ndarray, full: bool, reg: np.ndarray, n_pooled: float):
        n_rows, n_latents = X.shape
        self.shape: _Full | _Diagonal = _Full(n_latents) if full else _Diagonal(n_latents)
        by_products = n_latents <= MAX_PRODUCT_LATENTS or not full
        self.rows = (_ByProducts if by_products else _ByComponent)(X, self.shape)
        self.reg = np.where(self.shape.i == self.shape.j, reg[self.shape.i], 0.0)
        self.shared = self.rows.sums(np.full((1, n_rows), SHARED_ROWS / n_rows))
        self.n_pooled = n_pooled
        self.constant = -0.5 * n_latents * np.log(2 * np.pi)

    def step(self, responsibilities: np.ndarray) -> _State:
        """Maximise over the parameters, then ask which component each row is of."""
        sums = self.rows.sums(responsibilities)
        count, first, second = (own + shared for own, shared in zip(sums, self.shared))
        means = first / count[:, None]
        covariance = second / count[:, None] - means[:, self.shape.i] * means[:, self.shape.j]
        weights = count / count.sum()
        pooled = (self.n_pooled / (count + self.n_pooled))[:, None]
        covariance += pooled * (weights @ covariance - covariance)
        whitening = self.shape.whitening(covariance + self.reg)
        constant = np.log(weights) + self.shape.log_det(whitening) + self.constant
        joint = self.rows.log_density(constant, means, whitening)
        top = joint.max(0)
        joint -= top
        np.exp(joint, out=joint)
        total = joint.sum(0)
        joint /= total
        return _State(weights, means, whitening, float((np.log(total) + top).mean()), joint)


class _Full:
    """Covariances and precisions as vectors of their entries at ``i <= j``."""

    def __init__(self, n_latents: int):
        self.i, self.j = np.triu_indices(n_latents)
        self.place = np.empty((n_latents, n_latents), dtype=np.intp)
        self.place[self.i, self.j] = self.place[self.j, self.i] = np.arange(len(self.i))
        # Above the diagonal an entry stands for two.
        self.share = np.where(self.i == self.j, -0.5, -1.0)

    def whitening(self, covariance: np.ndarray) -> np.ndarray:
        factors = np.linalg.cholesky(covariance[:, self.place])
        return np.stack([lapack.dtrtri(factor, lower=1)[0].T for factor in factors])

    def log_det(self, whitening: np.ndarray) -> np.ndarray:
        return np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(1)

    def coefficients(self, means, whitening) -> tuple[np.ndarray, np.ndarray]:
        """Those of the latents and of their products in the log-density."""
        precision = whitening @ whitening.swapaxes(1, 2)
        linear = (precision @ means[..., None])[..., 0]
        return linear, precision[:, self.i, self.j] * self.share


class _Diagonal:
    """Covariances and precisions as vectors of their diagonals."""

    def __init__(self, n_latents: int):
        self.i = self.j = np.arange(n_latents)

    def whitening(self, covariance: np.ndarray) -> np.ndarray:
        return 1.0 / np.sqrt(covariance)

    def log_det(self, whitening: np.ndarray) -> np.ndarray:
        return np.log(whitening).sum(1)

    def coefficients(self, means, whitening) -> tuple[np.ndarray, np.ndarray]:
        precision = whitening**2
        return precision * means, -0.5 * precision


class _ByProducts:
    """All components at once: one, the latents and their products are the features of a row."""

    def __init__(self, X: np.ndarray, shape: _Full | _Diagonal):
        self.shape = shape
        self.n_latents = X.shape[1]
        columns = np.ascontiguousarray(X.T)
        products = columns[shape.i] * columns[shape.j]
        self.features = np.concatenate([np.ones((1, len(X))), columns, products])

    def log_density(self, constant, means, whitening) -> np.ndarray:
        """Log of weight times density, ``(n_mixture, rows)``."""
        linear, quadratic = self.shape.coefficients(means, whitening)
        constant = constant - 0.5 * np.vecdot(linear, means)
        return np.hstack([constant[:, None], linear, quadratic]) @ self.features

    def sums(self, responsibilities) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of rows, sum of latents and sum of products per component."""
        sums = responsibilities @ self.features.T
        return sums[:, 0], sums[:, 1 : self.n_latents + 1], sums[:, self.n_latents + 1 :]


class _ByComponent:
    """One component after the other, without the features of ``_ByProducts``."""

    def __init__(self, X: np.ndarray, shape: _Full | _Diagonal):
        self.X = X
        self.shape = shape
        self.scratch = np.empty_like(X)

    def log_density(self, constant, means, whitening) -> np.ndarray:
        density = np.empty((len(means), len(self.X)))
        for k in range(len(means)):
            white = np.matmul(self.X, whitening[k], out=self.scratch)
            white -= means[k] @ whitening[k]
            np.vecdot(white, white, out=density[k])
        density *= -0.5
        density += constant[:, None]
        return density

    def sums(self, responsibilities) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        second = np.empty((len(responsibilities), len(self.shape.i)))
        for k, root in enumerate(np.sqrt(responsibilities)):
            # The product of a matrix with itself costs half of one of two matrices.
            rooted = np.multiply(self.X, root[:, None], out=self.scratch)
            second[k] = (rooted.T @ rooted)[self.shape.i, self.shape.j]
        return responsibilities.sum(1), responsibilities @ self.X, second


def _k_means(columns: np.ndarray, n_clusters: int, random) -> np.ndarray:
    """Cluster ``columns (latents, rows)``; responsibilities of zero and one."""
    centres = _far_apart(columns, n_clusters, random)
    numbers = np.arange(n_clusters)[:, None]
    labels = np.full(columns.shape[1], -1)
    for _ in range(MAX_LLOYD_ITER):
        before = labels
        near = centres @ columns - 0.5 * np.vecdot(centres, centres)[:, None]
        labels = near.argmax(0)
        members = (labels == numbers).astype(np.float64)
        if np.count_nonzero(labels != before) <= SETTLED * len(labels):
            break
        count = members.sum(1)[:, None]
        # A cluster without rows stays where it is.
        np.divide(members @ columns.T, count, out=centres, where=count > 0)
    return members


def _far_apart(columns: np.ndarray, n: int, random) -> np.ndarray:
    """Draw rows by k-means++, each the best of a few draws, as scikit-learn does."""
    n_rows = columns.shape[1]
    norms = (columns**2).sum(0)

    def distances(rows) -> np.ndarray:
        squared = norms - 2.0 * (columns[:, rows].T @ columns) + norms[rows, None]
        return np.maximum(squared, 0.0, out=squared)

    chosen = [random.randint(n_rows)]
    nearest = distances(chosen)[0]
    for _ in range(n - 1):
        edges = nearest.cumsum()
        draws = random.uniform(size=2 + int(np.log(n))) * edges[-1]
        candidates = np.minimum(edges.searchsorted(draws), n_rows - 1)
        left = np.minimum(distances(candidates), nearest)
        best = left.sum(1).argmin()
        nearest = left[best]
        chosen.append(candidates[best])
    return columns[:, chosen].T.copy()
