"""Scores that put several statistics together by how rarely they are so large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ._base import Score
from .likelihood import LikelihoodScore
from .neighborhood import Neighborhood
from .spaces import Described, JointSpace, Space, WhitenedSpace, describe, row_keys
from .surprise import Surprise

# More rows are compared with a random choice of so many.
MOST_REFERENCE_ROWS = 20_000
# Neighbours of novelties, and of members of a table whose outliers may lie together.
NOVELTY_NEIGHBORS, MEMBER_NEIGHBORS = 5, 20


class LocalScore(Score):
    """How far a row is from the training rows nearby, in three geometries.

    The geometries are the encoded cells, the cells beside the residuals that the model leaves
    of them, and the cells without their correlations.  Each distance becomes its surprise,
    -log of the share of training rows that are at least as far out, and so does the mean of
    these, as in Fisher's combination of p-values: a score of -4.6 says that one training row
    in a hundred is at least as odd.

    Rows of the training table are judged as members of a table that may hold outliers, with 20
    neighbours and without a reference far from all others; new rows are judged as novelties
    beside rows that are normal, with 5 neighbours and their density relative to that of these.
    ``novelty`` of the detector makes all rows judged one way.  A training row is never its own
    neighbour.  At most 20,000 rows are kept.

    References
    ----------
    Ramaswamy, Rastogi and Shim, Efficient Algorithms for Mining Outliers from Large Data Sets,
    2000; Breunig et al., LOF: Identifying Density-Based Local Outliers, 2000; Fisher,
    Statistical Methods for Research Workers, 1932.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEOutlierDetector
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = VAEOutlierDetector(score_function="local", random_state=0).fit(X)
    >>> bool(detector.score_samples(X[:1] + 10 * X.std(axis=0))[0] < -10)
    True
    """

    def others(self) -> Sequence[Score]:
        """Scores whose surprise counts beside that of the distances."""
        return ()

    def fit(self, model: Any, X, held_out: np.ndarray) -> LocalScore:
        """Keep the reference, and the shares of all statistics among the training rows."""
        rows = describe(model, X)
        self.others_ = [score.fit(model, X, held_out) for score in self.others()]
        odd = [-score.rows(model, X) for score in self.others_]
        self.keys_ = np.unique(row_keys(rows.inputs)) if model.novelty == "auto" else None
        reference = rows.take(_chosen(len(rows.inputs), model.random_state))
        ways = (False, True) if model.novelty == "auto" else (model.novelty,)
        self.ways_ = {novelty: _Way(novelty).fit(reference, rows, odd) for novelty in ways}
        return self

    def rows(self, model: Any, X) -> np.ndarray:
        """Minus the surprise of each row."""
        rows = describe(model, X)
        odd = [-score.rows(model, X) for score in self.others_]
        if self.keys_ is None:
            (way,) = self.ways_.values()
            return -way(rows, odd)
        novel = ~np.isin(row_keys(rows.inputs), self.keys_)
        out = np.empty(len(novel))
        for novelty, way in self.ways_.items():
            chosen = np.flatnonzero(novel == novelty)
            if len(chosen):
                out[chosen] = -way(rows.take(chosen), [part[chosen] for part in odd])
        return out


class BlendedScore(LocalScore):
    """The distances of :class:`LocalScore` and what the model says itself, blended.

    The surprise of the log-likelihood counts like that of a distance.

    Examples
    --------
    >>> from skvae.scores import BlendedScore
    >>> BlendedScore()
    BlendedScore()
    """

    def others(self) -> Sequence[Score]:
        """The model's own scores."""
        return (LikelihoodScore(),)


class _Way:
    """Statistics and their shares for rows that are judged in one way."""

    def __init__(self, novelty: bool):
        k = NOVELTY_NEIGHBORS if novelty else MEMBER_NEIGHBORS
        spaces = Space(), JointSpace(), WhitenedSpace()
        self.neighborhoods = [
            Neighborhood(space, k, trimmed=not novelty, relative=novelty and i == 0)
            for i, space in enumerate(spaces)
        ]

    def fit(self, reference: Described, rows: Described, others: list[np.ndarray]) -> _Way:
        for part in self.neighborhoods:
            part.fit(reference)
        statistics = self._statistics(rows, others)
        self.surprises = [Surprise().fit(statistic) for statistic in statistics]
        self.surprise = Surprise().fit(self._mean(statistics))
        return self

    def __call__(self, rows: Described, others: list[np.ndarray]) -> np.ndarray:
        return self.surprise(self._mean(self._statistics(rows, others)))

    def _statistics(self, rows: Described, others: list[np.ndarray]) -> list[np.ndarray]:
        near = [statistic for part in self.neighborhoods for statistic in part(rows)]
        return near + others

    def _mean(self, statistics: list[np.ndarray]) -> np.ndarray:
        pairs = zip(self.surprises, statistics)
        return np.mean([surprise(statistic) for surprise, statistic in pairs], axis=0)


def _chosen(n_rows: int, random_state) -> np.ndarray:
    if n_rows <= MOST_REFERENCE_ROWS:
        return np.arange(n_rows)
    generator = check_random_state(random_state)
    return np.sort(generator.permutation(n_rows)[:MOST_REFERENCE_ROWS])
