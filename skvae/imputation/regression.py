"""The regressors that refine imputations, each with honest predictions of its own rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.utils.parallel import Parallel, delayed

ALPHAS = np.logspace(-4, 4, 17)
# Of more rows more can be learned, by trees that differ more.
N_TREES, MOST_TREES, ROWS_PER_TREE = 32, 64, 50
N_LANDMARKS = 200
# Kernel's exponent at the mean distance of two rows.
NEARNESS = 0.3
FARTHEST = 6.0
LINE = 0.5
# Features that a split tries at most: time grows with them, on wide tables more than it is worth.
MOST_TRIED = 50


class Answer(NamedTuple):
    """What a regressor says of some rows.

    Parameters
    ----------
    mean : ndarray (rows, classes or 1)
        Means of numbers, probabilities of classes.
    variance : ndarray (rows,)
        How far the trees are apart about numbers; 0 elsewhere.
    excess : ndarray (rows,)
        What it costs the mean that only some of the trees may be asked about a row: squared
        error beyond that of all trees.
    """

    mean: np.ndarray
    variance: np.ndarray
    excess: np.ndarray

    @classmethod
    def alone(cls, mean: np.ndarray) -> Answer:
        """That of a regressor without trees."""
        return cls(mean, np.zeros(len(mean)), np.zeros(len(mean)))


class Ridge:
    """Ridge regression whose penalty has the least exact leave-one-out error.

    Parameters
    ----------
    standardise : bool, default=True
        Whether every feature is divided by its standard deviation.
    """

    def __init__(self, standardise=True):
        self.standardise = standardise

    def fit(self, A: np.ndarray, y: np.ndarray) -> Ridge:
        """Fit to the rows of ``A``."""
        loc, scale = A.mean(0), A.std(0)
        scale = np.where(self.standardise & (scale > 1e-9), scale, 1.0)
        self.low, self.high = y.min(), y.max()
        mean, n = y.mean(), len(y)
        white = (A - loc) / scale
        # One decomposition serves every penalty.
        U, s, Vt = np.linalg.svd(white, full_matrices=False)
        kept = s > 1e-7 * max(s.max(initial=0.0), 1e-30)
        U, s, Vt = U[:, kept], s[kept], Vt[kept]
        rotated, squares = U.T @ (y - mean), U**2
        best = np.inf
        for alpha in ALPHAS * n / 1000:
            shrink = s**2 / (s**2 + alpha)
            leverage = np.minimum(1.0 / n + squares @ shrink, 1.0 - 1e-6)
            residual = (y - mean - U @ (shrink * rotated)) / (1.0 - leverage)
            error = residual @ residual
            if error < best:
                best, self._left_out = error, np.clip(y - residual, self.low, self.high)
                coefficient = Vt.T @ (s / (s**2 + alpha) * rotated)
        self.coefficient = coefficient / scale
        self.offset = mean - loc @ self.coefficient
        return self

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Fit; give each row's prediction ``(rows, 1)`` by the others."""
        self.fit(A, y)
        left_out = self._left_out[:, None]
        del self._left_out
        return left_out

    def predict(self, A: np.ndarray) -> np.ndarray:
        """Predictions ``(rows, 1)``, never beyond what was seen."""
        return np.clip(A @ self.coefficient + self.offset, self.low, self.high)[:, None]


class SmoothRidge:
    """Ridge regression on the features and on smooth functions of them.

    The functions are those of a Gaussian kernel, by its values at some of the rows.  Features
    are cut far outside, where a smooth function says nothing.

    Parameters
    ----------
    rng : RandomState
        Chooses these rows.
    """

    def __init__(self, rng):
        self.seed = rng.randint(np.iinfo(np.int32).max)

    def fit(self, A: np.ndarray, y: np.ndarray) -> SmoothRidge:
        """Fit to the rows of ``A``."""
        self.fit_left_out(A, y)
        return self

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> Answer:
        """Fit; answer for each row by the others."""
        self.loc, self.scale = A.mean(0), A.std(0)
        self.scale = np.where(self.scale > 1e-9, self.scale, 1.0)
        white = self._white(A)
        # Rows are apart by the square root of twice the number of features that vary.
        gamma = NEARNESS / max(2.0 * (white**2).sum(1).mean(), 1e-9)
        n = min(N_LANDMARKS, len(A))
        self.map = Nystroem(gamma=gamma, n_components=n, random_state=self.seed).fit(white)
        self.ridge = Ridge(standardise=False)
        return Answer.alone(self.ridge.fit_left_out(self._features(white), y))

    def predict(self, A: np.ndarray) -> Answer:
        """Answer for rows, never beyond what was seen."""
        return Answer.alone(self.ridge.predict(self._features(self._white(A))))

    def _white(self, A: np.ndarray) -> np.ndarray:
        return np.clip((A - self.loc) / self.scale, -FARTHEST, FARTHEST)

    def _features(self, white: np.ndarray) -> np.ndarray:
        # As much variance for the straight line as for the rest.
        line = white * (LINE / np.sqrt(white.shape[1]))
        return np.hstack([self.map.transform(white), line])


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

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> Answer:
        """Grow the trees on samples; answer for each row by the trees that did not see it."""
        self.forest = self._grown(A, y, bootstrap=True)
        asked = np.ones((len(self.forest.estimators_), len(A)), dtype=bool)
        for ask, rows in zip(asked, self.forest.estimators_samples_):
            ask[rows] = False
        # A row that every tree saw is left to them all.
        asked[:, ~asked.any(0)] = True
        return self._answer(A, asked)

    def predict(self, A: np.ndarray) -> Answer:
        """Answer for rows by all trees."""
        return self._answer(A, np.ones((len(self.forest.estimators_), len(A)), dtype=bool))

    def _answer(self, A: np.ndarray, asked: np.ndarray) -> Answer:
        A = np.ascontiguousarray(A, dtype=np.float32)
        threads = Parallel(n_jobs=self.n_jobs, require="sharedmem", return_as="generator")
        trees = self.forest.estimators_
        said = threads(delayed(tree.tree_.predict)(A) for tree in trees)
        total = square = np.zeros((len(A), 1))
        for ask, part in zip(asked, said):
            part = np.where(ask[:, None], part.reshape(len(A), -1), 0.0)
            total, square = total + part, square + part[:, :1] ** 2
        n = asked.sum(0)
        mean = total / n[:, None]
        if self.n_classes is not None:
            out = np.zeros((len(A), self.n_classes))
            out[:, self.forest.classes_.astype(int)] = mean
            return Answer.alone(out)
        off = np.maximum(square - n[:, None] * mean**2, 0.0)[:, 0]
        variance = off / np.maximum(n - 1, 1)
        return Answer(mean, variance, variance * (1.0 / n - 1.0 / len(trees)))

    def _grown(self, A, y, **bootstrap):
        n_trees = int(np.clip(len(A) // ROWS_PER_TREE, N_TREES, MOST_TREES))
        common = {"n_estimators": n_trees, "random_state": self.seed, "n_jobs": self.n_jobs}
        if self.n_classes is None:
            share = 0.7 if bootstrap["bootstrap"] else 1.0
            share = min(share, MOST_TRIED / A.shape[1])
            forest = ExtraTreesRegressor(max_features=share, **common, **bootstrap)
        else:
            forest = ExtraTreesClassifier(min_samples_leaf=2, **common, **bootstrap)
        return forest.fit(A, y)
