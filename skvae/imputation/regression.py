"""The regressors that refine imputations, each with honest predictions of its own rows."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

ALPHAS = np.logspace(-3, 4, 15)
N_TREES = 40
# Uncertain features never explain more of the error than all but this share.
SMALLEST_NOISE = 0.05
# Features that a split tries at most: time grows with them, on wide tables more than it is worth.
MOST_TRIED = 50


class Ridge:
    """Ridge regression whose penalty has the least exact leave-one-out error."""

    def fit(self, A: np.ndarray, y: np.ndarray) -> Ridge:
        """Fit to the rows of ``A``."""
        self.loc, self.scale = A.mean(0), A.std(0)
        self.scale = np.where(self.scale > 1e-9, self.scale, 1.0)
        self.low, self.high = y.min(), y.max()
        mean, n = y.mean(), len(y)
        white = (A - self.loc) / self.scale
        # The smaller of the two Gram matrices; its eigenvectors serve every penalty.
        U, s, Vt = np.linalg.svd(white, full_matrices=False)
        kept = s > 1e-7 * max(s.max(initial=0.0), 1e-30)
        U, s, Vt = U[:, kept], s[kept], Vt[kept]
        rotated = U.T @ (y - mean)
        best = np.inf
        for alpha in ALPHAS * n / 1000:
            shrink = s**2 / (s**2 + alpha)
            leverage = np.minimum(1.0 / n + U**2 @ shrink, 1.0 - 1e-6)
            residual = (y - mean - U @ (shrink * rotated)) / (1.0 - leverage)
            error = residual @ residual
            if error < best:
                best, self._left_out = error, np.clip(y - residual, self.low, self.high)
                coefficient = Vt.T @ (s / (s**2 + alpha) * rotated)
        self.coefficient = coefficient / self.scale
        self.noise = best / n
        self.offset = mean - self.loc @ self.coefficient
        return self

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fit; give each row's prediction ``(rows, 1)`` by the others."""
        return self.fit(A, y)._left_out[:, None]

    def variance(self, variances: np.ndarray) -> np.ndarray:
        """Variance of errors where features are uncertain by these variances."""
        return self.noise + variances @ self.coefficient**2

    def explain(self, variances: np.ndarray) -> Ridge:
        """Take off the noise what uncertain features have put into the rows of ``fit``."""
        explained = float(np.mean(variances @ self.coefficient**2))
        self.noise = max(self.noise - explained, SMALLEST_NOISE * self.noise)
        return self

    def predict(self, A: np.ndarray) -> np.ndarray:
        """Predictions ``(rows, 1)``, never beyond what was seen."""
        return np.clip(A @ self.coefficient + self.offset, self.low, self.high)[:, None]


class Trees:
    """Extremely randomised trees; one column of probabilities per class, or one of means.

    Parameters
    ----------
    n_classes : int or None
        None for regression.
    rng : RandomState
    n_jobs : int or None
    """

    def __init__(self, n_classes: int | None, rng, n_jobs=None):
        self.n_classes, self.n_jobs = n_classes, n_jobs
        self.seed = rng.randint(np.iinfo(np.int32).max)

    def fit(self, A: np.ndarray, y: np.ndarray) -> Trees:
        """Grow the trees on all rows, which predict better than trees on samples."""
        self.forest = self._grown(A, y, bootstrap=False)
        return self

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Grow the trees on samples; give each row's prediction by trees that did not see it."""
        self.forest = forest = self._grown(A, y, bootstrap=True, oob_score=True)
        if self.n_classes is None:
            return forest.oob_prediction_[:, None]
        return self._spread(forest, np.nan_to_num(forest.oob_decision_function_, nan=0.0))

    def predict(self, A: np.ndarray) -> np.ndarray:
        """Predictions ``(rows, classes or 1)``."""
        if self.n_classes is None:
            return self.forest.predict(A)[:, None]
        return self._spread(self.forest, self.forest.predict_proba(A))

    def _grown(self, A, y, **bootstrap):
        common = {"n_estimators": N_TREES, "random_state": self.seed, "n_jobs": self.n_jobs}
        if self.n_classes is None:
            share = 0.7 if bootstrap["bootstrap"] else 1.0
            share = min(share, MOST_TRIED / A.shape[1])
            forest = ExtraTreesRegressor(max_features=share, **common, **bootstrap)
        else:
            forest = ExtraTreesClassifier(min_samples_leaf=2, **common, **bootstrap)
        return forest.fit(A, y)

    def _spread(self, forest, probabilities):
        """Put the classes that were seen in their places among all."""
        assert self.n_classes is not None
        out = np.zeros((len(probabilities), self.n_classes))
        out[:, forest.classes_.astype(int)] = probabilities
        return out
