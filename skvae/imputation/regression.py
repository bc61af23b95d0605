"""The regressors that refine imputations, each with honest predictions of its own rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.utils.parallel import Parallel, delayed

ALPHAS = np.logspace(-4, 4, 17)
# Of more rows more can be learned about numbers, by trees that differ more.
N_TREES, MOST_TREES, ROWS_PER_TREE = 32, 64, 50
N_LANDMARKS = 200
# Kernel's exponent at the mean distance of two rows.
NEARNESS = 0.3
FARTHEST = 6.0
LINE = 0.5
# Features that a split tries at most: time grows with them, on wide tables more than it is worth.
# Few as they are, trees try all: a column that another one tells takes finding that one.
MOST_TRIED = 25


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


# What answers, without having seen them, for rows of these features and places among those of fit.
LeftOut = Callable[[np.ndarray, np.ndarray], Any]


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
        self._fitted(A, y)
        return self

    def _fitted(self, A: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Fit; give what it takes to leave rows out."""
        loc, scale = A.mean(0), A.std(0)
        scale = np.where(self.standardise & (scale > 1e-9), scale, 1.0)
        self.low, self.high = y.min(), y.max()
        mean, n = y.mean(), len(y)
        white, left = (A - loc) / scale, y - mean
        # One decomposition serves every penalty.
        values, vectors = np.linalg.eigh(white.T @ white)
        turned = white @ vectors
        shrink = 1.0 / (np.maximum(values, 0.0)[:, None] + ALPHAS * n / 1000)
        weights = shrink * (turned.T @ left)[:, None]
        leverage = np.minimum(1.0 / n + turned**2 @ shrink, 1.0 - 1e-6)
        residuals = (left[:, None] - turned @ weights) / (1.0 - leverage)
        best = int(np.argmin((residuals**2).sum(0)))
        self.coefficient = vectors @ weights[:, best] / scale
        self.offset = mean - loc @ self.coefficient
        self.loc, self.scale, self.mean = loc, scale, mean
        return turned, vectors, shrink[:, best], weights[:, best], residuals[:, best]

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> LeftOut:
        """Fit; give what predicts ``(rows, 1)`` for each row by the others."""
        turned, vectors, shrink, weights, residual = self._fitted(A, y)

        def predict(asked: np.ndarray, rows: np.ndarray) -> np.ndarray:
            other = (asked - self.loc) / self.scale @ vectors
            shared = 1.0 / len(y) + (turned[rows] * other) @ shrink
            found = self.mean + other @ weights - shared * residual[rows]
            return np.clip(found, self.low, self.high)[:, None]

        return predict

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

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> LeftOut:
        """Fit; give what answers for each row by the others."""
        self.loc, self.scale = A.mean(0), A.std(0)
        self.scale = np.where(self.scale > 1e-9, self.scale, 1.0)
        white = self._white(A)
        # Rows are apart by the square root of twice the number of features that vary.
        gamma = NEARNESS / max(2.0 * (white**2).sum(1).mean(), 1e-9)
        n = min(N_LANDMARKS, len(A))
        self.map = Nystroem(gamma=gamma, n_components=n, random_state=self.seed).fit(white)
        self.ridge = Ridge(standardise=False)
        predict = self.ridge.fit_left_out(self._features(white), y)
        return lambda asked, rows: Answer.alone(predict(self._features(self._white(asked)), rows))

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

    def fit_left_out(self, A: np.ndarray, y: np.ndarray) -> LeftOut:
        """Grow the trees on samples; give what asks the trees that did not see a row."""
        self.forest = self._grown(A, y, bootstrap=True)
        unseen = np.ones((len(self.forest.estimators_), len(A)), dtype=bool)
        for ask, rows in zip(unseen, self.forest.estimators_samples_):
            ask[rows] = False
        # A row that every tree saw is left to them all.
        unseen[:, ~unseen.any(0)] = True
        return lambda asked, rows: self._answer(asked, unseen[:, rows])

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
        n_trees = N_TREES
        share = min(1.0, MOST_TRIED / A.shape[1])
        if self.n_classes is None:
            n_trees = int(np.clip(len(A) // ROWS_PER_TREE, N_TREES, MOST_TREES))
            share = min(share, 0.7) if bootstrap["bootstrap"] else share
        common = {"n_estimators": n_trees, "max_features": share, "n_jobs": self.n_jobs}
        common |= {"random_state": self.seed, **bootstrap}
        if self.n_classes is None:
            forest = ExtraTreesRegressor(**common)
        else:
            forest = ExtraTreesClassifier(min_samples_leaf=2, **common)
        return forest.fit(A, y)
