"""Refinement: what ensemble and regressors say together, weighed by held-out cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from .gaussian import WIDEST, Gaussian
from .layout import Layout
from .prediction import Prediction
from .regression import SmoothRidge, Trees
from .residuals import Residuals, Spread

# Regressors and errors are fitted on so many rows at most: their time and memory grow with it.
MOST_ROWS = 10_000
# Fewer observed cells do not carry a regression, and fewer held-out ones no weights.
FEWEST_CELLS = 30
FEWEST_HELD_OUT = 10
# Columns of more categories are left to the ensemble.
MOST_CATEGORIES = 50
# Pull of the weights towards equal ones, as a share of the held-out cells.
PULL = 0.05
SHARES = np.linspace(0.0, 1.0, 11)

Predictor = Callable[[np.ndarray, np.ndarray], Prediction]


@dataclass
class ColumnModel:
    """What is known about the imputation of one column.

    Parameters
    ----------
    weights : ndarray
        Of the ensemble, of the normal distribution where the column is one of numbers, and of
        each regressor.
    regressors : list
        In the order of the weights.
    residuals : Residuals or None
        Errors of held-out cells, in units of ``spread``; None for categories.
    spread : Spread or None
    atom : tuple of float
        The most frequent value of a numeric column, and its share.
    """

    weights: np.ndarray
    regressors: list[Any] = field(default_factory=list)
    residuals: Residuals | None = None
    spread: Spread | None = None
    atom: tuple[float, float] = (0.0, 0.0)

    def mix(self, parts: list[np.ndarray]) -> np.ndarray:
        """Weighted sum of predictions ``(rows, parameters)``."""
        return sum(w * part for w, part in zip(self.weights, parts) if w > 0)


class Refinement:
    """Completes expanded tables, column by column.

    Parameters
    ----------
    layout : Layout
    predict : callable
        Prediction of the ensemble for values and visible cells.
    rng : RandomState
        Seeds the trees, and chooses the rows of large tables.
    n_rounds : int
        How often each column is fitted anew to the table that the others have improved; 0
        leaves all to the ensemble.
    n_jobs : int or None
        Threads of the trees.

    Attributes
    ----------
    models : list of ColumnModel
        Per column.
    normal : Gaussian or None
        Of all columns; None without rounds or numbers, or with too many.
    """

    def __init__(self, layout: Layout, rng, n_rounds: int, n_jobs=None):
        self.layout, self.rng, self.n_rounds, self.n_jobs = layout, rng, n_rounds, n_jobs
        self.models: list[ColumnModel] = []
        self.normal: Gaussian | None = None
        self.order: list[int] = []

    def fit(self, predict: Predictor, values, mask, folds) -> Refinement:
        """Fit to a table: first with each column hidden, then to the improved table."""
        if len(values) > MOST_ROWS:
            chosen = self.rng.permutation(len(values))[:MOST_ROWS]
            values, mask, folds = values[chosen], mask[chosen], folds[chosen]
        self.expanded = self.layout.expand(values)
        wide = self.layout.repeat(mask)
        base, _ = predict(values, mask).mixture()
        table = np.where(wide, self.expanded, base)
        if self.n_rounds and 0 < len(self.layout.numeric) <= WIDEST:
            self.normal = Gaussian(self.layout, self.rng).fit(table, mask)
        line = self._line(table, mask)
        improved = table.copy()
        refined = set(self._refinable(mask)) if self.n_rounds else set()
        for j in range(self.layout.n_columns):
            visible = mask.copy()
            visible[:, j] = False
            apart = predict(values, visible)
            start = np.where(self.layout.repeat(visible), self.expanded, apart.mixture()[0])
            model = self._fit_column(j, apart, start, line, mask[:, j], folds[:, j], j in refined)
            self.models.append(model)
            if j in refined:
                place = self.layout.slices[j]
                improved[~mask[:, j], place] = self._impute(j, start, base, line, ~mask[:, j])
        self.order = sorted(refined, key=lambda j: (~mask[:, j]).sum())
        table = improved
        # Without gaps the first table is as good as any; trees on all rows still are better.
        for _ in range(self.n_rounds - 1 if not mask.all() else min(self.n_rounds, 1)):
            for j in self.order:
                seen = mask[:, j]
                self._fit_regressors(j, table, seen)
                table[~seen, self.layout.slices[j]] = self._impute(j, table, base, line, ~seen)
        del self.expanded
        return self

    def complete(self, predict: Predictor, values, mask) -> tuple[np.ndarray, np.ndarray]:
        """Expanded table without gaps, and the spread of each cell's error."""
        whole, spread = self.layout.expand(values), np.zeros(mask.shape)
        rows = np.flatnonzero(~mask.all(1))
        if len(rows):
            filled = self._complete(predict, whole[rows], values[rows], mask[rows])
            whole[rows], spread[rows] = filled
        return whole, spread

    def _complete(self, predict: Predictor, table, values, mask) -> tuple[np.ndarray, np.ndarray]:
        base, variance = predict(values, mask).mixture()
        table = np.where(self.layout.repeat(mask), table, base)
        line = self._line(table, mask)
        for _ in range(min(self.n_rounds, 2)):
            for j in self.order:
                gaps = ~mask[:, j]
                if gaps.any():
                    table[gaps, self.layout.slices[j]] = self._impute(j, table, base, line, gaps)
        spread = np.zeros(mask.shape)
        for j in self.layout.numeric:
            gaps, model = ~mask[:, j], self.models[j]
            if gaps.any() and model.spread is not None:
                spread[gaps, j] = model.spread(self._guesses(j, variance, line, gaps))
        return table, spread

    def residuals(self, j: int) -> Residuals:
        """Errors of a numeric column."""
        residuals = self.models[j].residuals
        assert residuals is not None
        return residuals

    # -- one column -------------------------------------------------------------------------

    def _refinable(self, mask: np.ndarray) -> list[int]:
        """Columns that have gaps, or all where none has; none without enough cells."""
        columns = np.flatnonzero(~mask.all(0)) if not mask.all() else range(mask.shape[1])
        return [
            int(j)
            for j in columns
            if mask[:, j].sum() >= FEWEST_CELLS
            and self.layout.sizes[j] <= MOST_CATEGORIES
            and self.layout.n_columns > 1
        ]

    def _line(self, table, mask) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and variance that the normal distribution gives every cell."""
        return None if self.normal is None else self.normal.without_each(table, mask)

    def _fit_column(self, j, apart: Prediction, start, line, seen, folds, refined) -> ColumnModel:
        place = self.layout.slices[j]
        held = np.flatnonzero(folds >= 0)
        # Of each held-out cell, what the one member says that never saw it.
        parts = [apart.mean[folds[held], held][:, place]]
        truth = self.expanded[held, place]
        model = ColumnModel(np.ones(1))
        if refined:
            rows = np.flatnonzero(seen)
            if line is not None and j in self.layout.numeric:
                # Its parameters have seen the cell, by about this share.
                share = min(self.layout.width / len(rows), 0.5)
                parts.append(truth + (line[0][held, place] - truth) / (1.0 - share))
            A, y = self._without(start, j)[rows], self._target(j, rows)
            place_of = np.empty(len(seen), dtype=np.intp)
            place_of[rows] = np.arange(len(rows))
            among = place_of[held]
            for regressor in self._new_regressors(j):
                parts.append(regressor.fit_left_out(A, y)[among])
                model.regressors.append(regressor)
            model.weights = self._weights(j, parts, truth)
        if j in self.layout.numeric:
            found, counts = np.unique(self.expanded[seen, place], return_counts=True)
            model.atom = float(found[counts.argmax()]), counts.max() / counts.sum()
            guesses = self._guesses(j, apart.mixture()[1], line, held)
            error = (truth - model.mix(parts))[:, 0]
            model.spread = Spread(guesses, error)
            model.residuals = Residuals(error / np.maximum(model.spread(guesses), 1e-12))
        return model

    def _guesses(self, j: int, variance: np.ndarray, line, rows) -> np.ndarray:
        """Variances of the errors of a numeric column: of the ensemble, and the normal one."""
        k = self.layout.slices[j].start
        guesses = [variance[rows, k]] + ([] if line is None else [line[1][rows, k]])
        return np.stack(guesses, 1)

    def _fit_regressors(self, j: int, table: np.ndarray, seen: np.ndarray) -> None:
        rows = np.flatnonzero(seen)
        A, y = self._without(table, j)[rows], self._target(j, rows)
        model = self.models[j]
        weights = model.weights[len(model.weights) - len(model.regressors) :]
        for weight, regressor in zip(weights, model.regressors):
            if weight > 0:
                regressor.fit(A, y)

    def _impute(self, j: int, table, base, line, gaps: np.ndarray) -> np.ndarray:
        model, place = self.models[j], self.layout.slices[j]
        parts = [base[gaps, place]]
        if line is not None and j in self.layout.numeric:
            parts.append(line[0][gaps, place])
        if not gaps.any():
            return parts[0]
        A = self._without(table[gaps], j)
        for weight, regressor in zip(model.weights[len(parts) :], model.regressors):
            parts.append(regressor.predict(A) if weight > 0 else parts[0])
        return model.mix(parts)

    def _new_regressors(self, j: int) -> list[Any]:
        if j in self.layout.numeric:
            return [SmoothRidge(self.rng), Trees(None, self.rng, self.n_jobs)]
        return [Trees(self.layout.sizes[j], self.rng, self.n_jobs)]

    def _without(self, table: np.ndarray, j: int) -> np.ndarray:
        return np.delete(table, self.layout.slices[j], axis=1)

    def _target(self, j: int, rows: np.ndarray) -> np.ndarray:
        cells = self.expanded[rows, self.layout.slices[j]]
        return cells[:, 0] if j in self.layout.numeric else cells.argmax(1)

    def _weights(self, j: int, parts: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
        equal = np.full(len(parts), 1.0 / len(parts))
        if len(truth) < FEWEST_HELD_OUT:
            return equal
        if j in self.layout.numeric:
            return numeric_weights(np.hstack(parts), truth[:, 0])
        return categorical_weights(parts, truth)


def numeric_weights(parts: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Non-negative weights ``(parts,)`` of least squared error, pulled towards equal ones."""
    m, k = parts.shape
    centre = truth.mean()
    pull = np.sqrt(PULL * m) * max(truth.std(), 1e-12)
    A = np.vstack([parts - centre, pull * np.eye(k)])
    weights, _ = nnls(A, np.r_[truth - centre, np.full(k, pull / k)])
    return weights / weights.sum() if weights.sum() > 0 else np.full(k, 1.0 / k)


def categorical_weights(parts: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Weights of two predictions whose mixture has the least log-loss."""
    first, second = ((part * truth).sum(1) for part in parts)
    losses = [-np.log(s * first + (1 - s) * second + 1e-3).mean() for s in SHARES]
    share = SHARES[int(np.argmin(losses))]
    return np.array([share, 1.0 - share])
