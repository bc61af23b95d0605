"""Scores that put several statistics together by how rarely they are so large."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples

from ._base import Score
from .company import Company
from .neighborhood import Crowd, Neighborhood
from .spaces import Described, JointSpace, Space, WhitenedSpace, describe, row_keys
from .statistics import STATISTICS, CellSurprise
from .surprise import Surprise
from .surroundings import Surroundings

# Of more rows a random choice of so many says how rare something is, and is compared with.
MOST_REFERENCE_ROWS = 10_000
ROWS_AT_ONCE = 20_000
# Neighbours of novelties, and of members of a table.
NOVELTY_NEIGHBORS, MEMBER_NEIGHBORS = (5, 20), 20
# Rows beside a member over which its plain oddness is averaged.
COMPANIONS = 8
# A conditional model of fewer rows is judged by rows that it has learned.
FEWEST_FOR_CELLS = 80
MARGINS = "margins"


class BlendedScore(Score):
    """Minus the surprise of a row: how far it is from rows nearby, and how odd its cells are.

    Statistics that are higher for odder rows are made comparable and averaged: each becomes
    its surprise, -log of the share of training rows with at least as much of it, and so does
    the mean of these, as in Fisher's combination of p-values.  A score of -4.6 says that one
    training row in a hundred is at least as odd.  The statistics are

    - the mean distance to the nearest training rows in three geometries: the encoded cells, the
      cells beside the residuals that the model leaves of them, and the cells without their
      correlations;
    - how unlikely each cell is given the others of its row, where 80 rows or more are known;
    - for rows of the training table, how rare the cells are in their columns, each by itself.

    Rows of the training table are judged as members of a table that may hold outliers: by 20
    neighbours and by a tenth of the table (of 1,000 of its rows), since outliers may lie together,
    and without a reference that is far from all others.  What is odd about their plain cells
    (distances, crowds and margins) is averaged over the row and the 8 nearest to it, so that
    outliers that lie together confirm each other.  New rows are judged as novelties beside
    rows that are normal: by 5 and by 20 neighbours, and by their density relative to that of
    these.  ``novelty`` of the detector makes all rows judged one way.  A training row is never
    its own neighbour, and where more rows are as far as the last neighbour than belong to them,
    each counts by a share.  At most 10,000 rows are kept.

    Attributes
    ----------
    statistics_ : dict of str to Statistic
        The fitted statistics beside the distances.
    gaps_ : Gaps or None
        What fills missing cells before rows are compared.

    References
    ----------
    Fisher, Statistical Methods for Research Workers, 1932; Ramaswamy, Rastogi and Shim,
    Efficient Algorithms for Mining Outliers from Large Data Sets, 2000; Breunig et al., LOF:
    Identifying Density-Based Local Outliers, 2000.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEOutlierDetector
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = VAEOutlierDetector(random_state=0).fit(X)
    >>> bool(detector.score_samples(X[:1] + 10 * X.std(axis=0))[0] < -10)
    True
    """

    def counted(self, novelty: bool, n_rows: int) -> tuple[str, ...]:
        """Names of the statistics that count beside distances, learned from so many rows."""
        names = ("cells", MARGINS)[: 1 if novelty else 2]
        return names if n_rows >= FEWEST_FOR_CELLS else names[1:]

    def neighborhoods(self, novelty: bool, spaces: tuple[Space, ...]) -> list[Neighborhood]:
        """The distances that count for rows that are judged in one way, in these spaces."""
        cells, joint, white = spaces
        if novelty:
            near, wide = NOVELTY_NEIGHBORS
            return [
                Neighborhood(cells, (near, wide), relative=True),
                Neighborhood(joint, (near, wide)),
                Neighborhood(white, (near,)),
            ]
        kept = [Neighborhood(space, (MEMBER_NEIGHBORS,), trimmed=True) for space in spaces]
        return [*kept, Crowd(cells)]

    def company(self, novelty: bool, spaces: tuple[Space, ...]) -> Company | None:
        """Over which rows what is odd about the plain cells of one is averaged."""
        return None if novelty else Company(spaces[0], COMPANIONS)

    def fit(self, model: Any, X, held_out: np.ndarray) -> BlendedScore:
        """Keep the reference, and the shares of all statistics in it.

        Parameters
        ----------
        model : VAEOutlierDetector
            Fitted but for its threshold.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The training rows.
        held_out : ndarray of int
            Places of the rows that training is stopped by, or of all rows where none were.

        Returns
        -------
        self : BlendedScore
            The fitted score.

        Raises
        ------
        ValueError
            If the table is sparse.
        """
        self.fit_rows(model, X, held_out)
        return self

    def fit_rows(self, model: Any, X, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit; the fit has looked at the rows of the reference already."""
        if issparse(X):
            raise ValueError(
                f"{type(self).__name__} of {type(model).__name__} compares dense rows, and the "
                "table is sparse. Use score_function='likelihood', or X.toarray()."
            )
        ways = (False, True) if model.novelty == "auto" else (model.novelty,)
        n_rows = _num_samples(X)
        chosen = _chosen(n_rows, model.random_state)
        counted = {novelty: self.counted(novelty, len(chosen)) for novelty in ways}
        names = sorted({name for part in counted.values() for name in part})
        whole = len(chosen) == n_rows
        reference = model._joined(X if whole else _safe_indexing(X, chosen))
        held_out = np.flatnonzero(np.isin(chosen, held_out))
        self.statistics_ = {
            name: STATISTICS[name]().fit(model, reference, held_out) for name in names
        }
        self.gaps_ = model._gaps(reference)
        rows = describe(model, reference, self.gaps_)
        odd = {n: part.learn(model, reference, rows) for n, part in self.statistics_.items()}
        spaces = Space(), JointSpace(), WhitenedSpace()
        near = {novelty: self.neighborhoods(novelty, spaces) for novelty in ways}
        if not any(near.values()) and len(set(counted.values())) == 1:
            # Members and novelties are judged alike.
            ways = ways[:1]
        # In the order of False and True, where there are two.
        self.ways_ = [_Way(near[way], counted[way], self.company(way, spaces)) for way in ways]
        # Training rows are judged in the first way, as members where there are two.
        surroundings = _surroundings(rows, [part for way in self.ways_ for part in way.searching])
        surprise = [way.fit(surroundings, odd) for way in self.ways_][0]
        self.reference_ = rows if any(near.values()) else None
        self.keys_ = None
        if len(ways) > 1:
            # Of the whole table, of which only a part is ever encoded.
            parts = [reference] if whole else (part for _, part in model._parts(X)[1])
            self.keys_ = np.unique(np.concatenate([row_keys(part.inputs) for part in parts]))
        return chosen, -surprise

    def __setstate__(self, state):
        super().__setstate__(state)
        for way in vars(self).get("ways_", ()):
            for part in way.searching:
                part.open(self.reference_)

    def shaped(self, model: Any, X):
        """The log-likelihood: surprises are those of ranks, whatever the table holds."""
        return model._score(X, model.n_draws) if model.vae_.posterior.has_bound else None

    def evidence(self, model: Any):
        """The conditional model, where the cells count."""
        cells = self.statistics_.get("cells")
        return cells.conditional_.evidence(model) if isinstance(cells, CellSurprise) else None

    def rows(self, model: Any, X) -> np.ndarray:
        """Minus the surprise of each row."""
        n_rows = _num_samples(X)
        if n_rows <= ROWS_AT_ONCE:
            return self._part(model, X)
        parts = [self._part(model, part) for part in _parts(X, n_rows)]
        return np.concatenate(parts)

    def _part(self, model: Any, X) -> np.ndarray:
        encoded = model._joined(X)
        rows = describe(model, encoded, self.gaps_)
        odd = {name: part(model, encoded, rows) for name, part in self.statistics_.items()}
        if self.keys_ is None:
            (way,) = self.ways_
            return -way(rows, odd)
        novel = ~np.isin(row_keys(encoded.inputs), self.keys_)
        out = np.empty(len(novel))
        for novelty, way in enumerate(self.ways_):
            chosen = np.flatnonzero(novel == novelty)
            if len(chosen):
                out[chosen] = -way(rows.take(chosen), {name: odd[name][chosen] for name in odd})
        return out


class LocalScore(BlendedScore):
    """The distances of :class:`BlendedScore` alone.

    Examples
    --------
    >>> from skvae.scores import LocalScore
    >>> LocalScore()
    LocalScore()
    """

    def counted(self, novelty: bool, n_rows: int) -> tuple[str, ...]:
        """Nothing beside distances."""
        return ()


class ModelScore(BlendedScore):
    """What models say of a row, no training rows kept.

    The statistics of :class:`BlendedScore` are its cells by themselves and given the others,
    and the log-likelihood takes the place of the distances.

    Examples
    --------
    >>> from skvae.scores import ModelScore
    >>> ModelScore()
    ModelScore()
    """

    def counted(self, novelty: bool, n_rows: int) -> tuple[str, ...]:
        """Cells by themselves and given the others, and the row as a whole."""
        return "cells", "likelihood", MARGINS

    def neighborhoods(self, novelty: bool, spaces: tuple[Space, ...]) -> list[Neighborhood]:
        """None."""
        return []

    def company(self, novelty: bool, spaces: tuple[Space, ...]) -> Company | None:
        """None."""
        return None


class _Way:
    """Statistics and their shares for rows that are judged in one way."""

    def __init__(
        self, neighborhoods: list[Neighborhood], counted: tuple[str, ...], company: Company | None
    ):
        self.neighborhoods = neighborhoods
        self.counted = counted
        self.company = company

    @property
    def searching(self) -> list[Neighborhood | Company]:
        """All that looks for neighbours."""
        company = [] if self.company is None else [self.company]
        return [*self.neighborhoods, *company]

    def fit(
        self, reference: dict[Space, Surroundings], others: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Learn from the reference; give its surprise."""
        near = [part.fit_rows(reference[part.space]) for part in self.neighborhoods]
        statistics = [*itertools.chain(*near), *(others[name] for name in self.counted)]
        self.surprises = [Surprise().fit(statistic) for statistic in statistics]
        company, nats = self.company, self._nats(statistics)
        if company is None:
            mean = nats.mean(0)
        else:
            spaces = [part.space for part, found in zip(self.neighborhoods, near) for _ in found]
            of_cells = [space is company.space for space in spaces]
            self.plain = np.array([*of_cells, *(name == MARGINS for name in self.counted)])
            plain = company.fit_rows(reference[company.space], nats[self.plain].sum(0))
            mean = self._mean(nats, plain)
        self.surprise = Surprise().fit(mean)
        return self.surprise(mean)

    def __call__(self, rows: Described, others: dict[str, np.ndarray]) -> np.ndarray:
        near = [statistic for part in self.neighborhoods for statistic in part(rows)]
        nats = self._nats([*near, *(others[name] for name in self.counted)])
        if self.company is None:
            return self.surprise(nats.mean(0))
        return self.surprise(self._mean(nats, self.company(rows, nats[self.plain].sum(0))))

    def _nats(self, statistics: list[np.ndarray]) -> np.ndarray:
        return np.stack([surprise(s) for surprise, s in zip(self.surprises, statistics)])

    def _mean(self, nats: np.ndarray, plain: np.ndarray) -> np.ndarray:
        """Mean of all statistics, those of the plain cells having become one sum."""
        return (nats[~self.plain].sum(0) + plain) / len(nats)


def _surroundings(
    rows: Described, parts: list[Neighborhood | Company]
) -> dict[Space, Surroundings]:
    """Of each space, searched for as many neighbours as any asks for in it."""
    spaces = dict.fromkeys(part.space for part in parts)
    return {
        space: Surroundings(space, rows, max(p.n_searched for p in parts if p.space is space))
        for space in spaces
    }


def _chosen(n_rows: int, random_state) -> np.ndarray:
    if n_rows <= MOST_REFERENCE_ROWS:
        return np.arange(n_rows)
    # Of another stream than that which holds rows out of the training, by the same seed.
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    generator = np.random.RandomState(seed)
    return np.sort(generator.permutation(n_rows)[:MOST_REFERENCE_ROWS])


def _parts(X, n_rows: int) -> Iterator[Any]:
    """A long table in parts."""
    for start in range(0, n_rows, ROWS_AT_ONCE):
        yield _safe_indexing(X, np.arange(start, min(start + ROWS_AT_ONCE, n_rows)))
