"""What is odd about the cells of a row: each by itself, and each given the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from .conditional import ConditionalScore
from .spaces import Described
from .surprise import Surprise

# Share of the rows that the conditional model leaves out: a few wrong rows must not teach it.
TRIM = 0.05
# Of each column; a bin without a row counts as so many rows.
N_BINS, EMPTY = 25, 0.1


class Statistic:
    """Base of the statistics: a number per row that is higher for odder ones.

    Rows come both as they are encoded and as the detector compares them.
    """

    def fit(self, model: Any, encoded: Any, held_out: np.ndarray) -> Statistic:
        """Look at the training rows."""
        return self

    def learn(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Learn what is common from ordinary rows; give their statistic."""
        return self(model, encoded, rows)

    def __call__(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Statistic of each row."""
        raise NotImplementedError


class Margins(Statistic):
    """How rare the values of a row are in their columns, each by itself, in nats per cell.

    The mean over encoded columns of -log of the share of training rows in the same one of 25
    bins of equal width.

    References
    ----------
    Goldstein and Dengel, Histogram-based Outlier Score (HBOS), 2012.
    """

    def learn(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Count the rows in each bin of each column."""
        self.low_, self.high_ = rows.inputs.min(0), rows.inputs.max(0)
        width = (self.high_ - self.low_) / N_BINS
        self.width_ = np.where(width > 0, width, np.float32(1.0))
        bins = self._bins(rows)
        n_columns = bins.shape[1]
        counts = np.zeros((n_columns, N_BINS + 2))
        np.add.at(counts, (np.arange(n_columns), bins), 1.0)
        # The first and the last one are for new rows beyond all others.
        self.nats_ = -np.log((counts + EMPTY) / len(bins))
        return self(model, encoded, rows)

    def __call__(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Mean over the cells of each row."""
        bins = self._bins(rows)
        return self.nats_[np.arange(bins.shape[1]), bins].mean(1)

    def _bins(self, rows: Described) -> np.ndarray:
        place = np.floor((rows.inputs - self.low_) / self.width_)
        beyond = (rows.inputs < self.low_) * -1.0 + (rows.inputs > self.high_) * float(N_BINS)
        inside = np.clip(place, 0, N_BINS - 1)
        return (np.where(beyond == 0, inside, beyond) + 1).astype(np.intp)


class CellSurprise(Statistic):
    """How unlikely the cells of a row are given the others, in nats of surprise per cell.

    Each cell counts by how few cells of its column are as unlikely, not by how unlikely it is,
    so that columns that others determine and columns that nothing determines weigh the same.

    Attributes
    ----------
    conditional_ : ConditionalScore
        The conditional model.
    """

    def fit(self, model: Any, encoded: Any, held_out: np.ndarray) -> CellSurprise:
        """Train the conditional model."""
        # Rows of a rare condition are all unlikely before it is known what goes with it.
        trim = 0.0 if model.codec_.n_conditions_ else TRIM
        self.conditional_ = ConditionalScore(trim=trim).fit_encoded(model, encoded, held_out)
        return self

    def learn(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Learn how unlikely the cells of each column are."""
        cells = self._cells(model, encoded)
        self.surprises_ = [Surprise().fit(_observed(column)) for column in cells.T]
        return self._mean(cells)

    def __call__(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Mean over the cells of each row, missing ones surprising by nothing."""
        return self._mean(self._cells(model, encoded))

    def _mean(self, cells: np.ndarray) -> np.ndarray:
        observed = cells != 0.0
        total = np.zeros(len(cells))
        for surprise, column, seen in zip(self.surprises_, cells.T, observed.T):
            total += np.where(seen, surprise(column), 0.0)
        # Over all columns: where others are missing, too, an observed cell is harder to foresee.
        return total / len(self.surprises_)

    def _cells(self, model: Any, encoded: Any) -> np.ndarray:
        """Nats that each modelled cell is unlikely by, 0 where it is missing."""
        return -self.conditional_.cells_encoded(model, encoded)


def _observed(column: np.ndarray) -> np.ndarray:
    """The cells that are not missing, or all if none is there."""
    return column[column != 0.0] if column.any() else column


class Unlikelihood(Statistic):
    """Minus the log-likelihood of a row under the model, in nats."""

    def __call__(self, model: Any, encoded: Any, rows: Described) -> np.ndarray:
        """Minus the score of each row."""
        model._check_has_scores()
        return -model._encoded_in_units(encoded, model._log_marginal(model.n_draws))


STATISTICS = {"cells": CellSurprise, "likelihood": Unlikelihood, "margins": Margins}
