"""What is odd about the cells of a row: each by itself, and each given the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from .conditional import ConditionalScore
from .spaces import Described
from .surprise import Surprise


class Statistic:
    """Base of the statistics: a number per row that is higher for odder ones."""

    def fit(self, model: Any, X, held_out: np.ndarray) -> Statistic:
        """Look at the training rows."""
        return self

    def learn(self, model: Any, X, rows: Described) -> np.ndarray:
        """Learn what is common from ordinary rows; give their statistic."""
        return self(model, X, rows)

    def __call__(self, model: Any, X, rows: Described) -> np.ndarray:
        """Statistic of each row."""
        raise NotImplementedError


class Tails(Statistic):
    """How far out the cells of a row are on their side of their columns, in nats per cell.

    The mean over columns of -log of the share of training rows at least as far out.

    References
    ----------
    Li et al., ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution
    Functions, 2022.
    """

    def learn(self, model: Any, X, rows: Described) -> np.ndarray:
        """Keep the order of each column."""
        self.ordered_ = np.ascontiguousarray(np.sort(rows.inputs, axis=0).T)
        return self(model, X, rows)

    def __call__(self, model: Any, X, rows: Described) -> np.ndarray:
        """Mean over the cells of each row."""
        n, total = self.ordered_.shape[1], np.zeros(len(rows.inputs))
        for ordered, cells in zip(self.ordered_, rows.inputs.T):
            below = np.searchsorted(ordered, cells, "right")
            above = n - np.searchsorted(ordered, cells, "left")
            total -= np.log((np.minimum(below, above) + 0.5) / (n + 1))
        return total / max(len(self.ordered_), 1)


class CellSurprise(Statistic):
    """How unlikely the cells of a row are given the others, in nats of surprise per cell.

    Each cell counts by how few cells of its column are as unlikely, not by how unlikely it is,
    so that columns that others determine and columns that nothing determines weigh the same.

    Attributes
    ----------
    conditional_ : ConditionalScore
        The conditional model.
    """

    def fit(self, model: Any, X, held_out: np.ndarray) -> CellSurprise:
        """Train the conditional model."""
        self.conditional_ = ConditionalScore().fit(model, X, held_out)
        return self

    def learn(self, model: Any, X, rows: Described) -> np.ndarray:
        """Learn how unlikely the cells of each column are."""
        cells = self._cells(model, X)
        self.surprises_ = [Surprise().fit(_observed(column)) for column in cells.T]
        return self._mean(cells)

    def __call__(self, model: Any, X, rows: Described) -> np.ndarray:
        """Mean over the observed cells of each row."""
        return self._mean(self._cells(model, X))

    def _mean(self, cells: np.ndarray) -> np.ndarray:
        observed = cells != 0.0
        total = np.zeros(len(cells))
        for surprise, column, seen in zip(self.surprises_, cells.T, observed.T):
            total += np.where(seen, surprise(column), 0.0)
        return total / np.maximum(observed.sum(1), 1)

    def _cells(self, model: Any, X) -> np.ndarray:
        """Nats that each modelled cell is unlikely by, 0 where it is missing."""
        return -self.conditional_.cells(model, X)[:, model.codec_.modelled_index_]


def _observed(column: np.ndarray) -> np.ndarray:
    """The cells that are not missing, or all if none is there."""
    return column[column != 0.0] if column.any() else column


class Unlikelihood(Statistic):
    """Minus the log-likelihood of a row under the model, in nats."""

    def __call__(self, model: Any, X, rows: Described) -> np.ndarray:
        """Minus the score of each row."""
        model._check_has_scores()
        return -model._score(X, model.n_draws)


STATISTICS = {"cells": CellSurprise, "likelihood": Unlikelihood, "tails": Tails}
