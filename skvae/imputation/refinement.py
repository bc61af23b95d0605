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
from .regression import Answer, SmoothRidge, Trees
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
# Of squared errors so much is left at least when the part is taken off that averages out.
LEAST_LEFT = 0.25
# What is taken off must leave a least square: of the largest eigenvalue so much.
SMALLEST_SHARE = 1e-3

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
    doubt_unit : ndarray or float
        Regressors of the last round agree more than those that left rows out: their doubts are
        multiplied by this.
    """

    weights: np.ndarray
    regressors: list[Any] = field(default_factory=list)
    residuals: Residuals | None = None
    spread: Spread | None = None
    atom: tuple[float, float] = (0.0, 0.0)
    doubt_unit: np.ndarray | float = 1.0

    def mix(self, parts: list[np.ndarray]) -> np.ndarray:
        """Weighted sum of predictions ``(rows, parameters)``."""
        return sum(w * part for w, part in zip(self.weights, parts) if w > 0)

    def doubts(self, parts: list[np.ndarray], of_trees: np.ndarray) -> np.ndarray:
        """Variances of what the parts say of a number, and of what the trees do."""
        mean = self.mix(parts)
        apart = self.mix([(part - mean) ** 2 for part in parts])[:, 0]
        return np.stack([apart, of_trees * (self.weights[-1] > 0)], 1)


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
        doubts: dict[int, np.ndarray] = {}
        for j in range(self.layout.n_columns):
            visible = mask.copy()
            visible[:, j] = False
            apart = predict(values, visible)
            start = np.where(self.layout.repeat(visible), self.expanded, apart.mixture()[0])
            model = self._fit_column(j, apart, start, line, mask[:, j], folds[:, j], j in refined)
            self.models.append(model)
            if j in refined:
                gaps = ~mask[:, j]
                improved[gaps, self.layout.slices[j]], found = self._said(
                    j, start, base, line, gaps
                )
                # A held-out cell has one member of the ensemble to tell, a gap has them all.
                apart = apart.mean[:, gaps, self.layout.slices[j].start].var(0)
                doubts[j] = found + np.outer(model.weights[0] * apart, [1.0, 0.0])
        self.order = sorted(refined, key=lambda j: (~mask[:, j]).sum())
        table, last = improved, dict(doubts)
        # Without gaps there is no better table: what was fitted to the first one stays.
        for _ in range(0 if mask.all() else self.n_rounds - 1):
            for j in self.order:
                gaps = ~mask[:, j]
                self._fit_regressors(j, table, ~gaps)
                table[gaps, self.layout.slices[j]], last[j] = self._said(
                    j, table, base, line, gaps
                )
        for j in set(self.order) & set(self.layout.numeric):
            model = self.models[j]
            if model.spread is not None and len(doubts[j]):
                level = model.spread.level
                model.doubt_unit = np.exp(level(doubts[j]) - level(last[j]))
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
        doubts: dict[int, np.ndarray] = {}
        for _ in range(min(self.n_rounds, 2)):
            for j in self.order:
                gaps = ~mask[:, j]
                if gaps.any():
                    place = self.layout.slices[j]
                    table[gaps, place], doubts[j] = self._said(j, table, base, line, gaps)
        spread = np.zeros(mask.shape)
        for j in self.layout.numeric:
            gaps, model = ~mask[:, j], self.models[j]
            if gaps.any() and model.spread is not None:
                more = doubts[j] * model.doubt_unit if j in doubts else None
                guesses = self._guesses(j, variance, line, gaps, more)
                spread[gaps, j] = model.spread(guesses)
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
                answer = Answer(*(of_row[among] for of_row in regressor.fit_left_out(A, y)))
                parts.append(answer.mean)
                model.regressors.append(regressor)
            # So much of the squared error of the first and of the last is theirs alone where
            # members and trees are asked one by one, or in part.
            excess = np.zeros(len(parts))
            excess[[0, -1]] = apart.mean[:, held, place.start].var(0).sum(), answer.excess.sum()
            model.weights = self._weights(j, parts, truth, excess)
        if j in self.layout.numeric:
            found, counts = np.unique(self.expanded[seen, place], return_counts=True)
            model.atom = float(found[counts.argmax()]), counts.max() / counts.sum()
            error, doubts = (truth - model.mix(parts))[:, 0], None
            if refined:
                doubts = model.doubts(parts, answer.variance)
                share = model.weights**2 @ excess / max((error**2).sum(), 1e-12)
                error *= np.sqrt(max(1.0 - share, LEAST_LEFT))
            guesses = self._guesses(j, apart.mixture()[1], line, held, doubts)
            model.spread = Spread(guesses, error)
            model.residuals = Residuals(error / np.maximum(model.spread(guesses), 1e-12))
        return model

    def _guesses(self, j: int, variance: np.ndarray, line, rows, doubts) -> np.ndarray:
        """Variances of the errors of a numeric column: ensemble, normal one, and the doubts."""
        k = self.layout.slices[j].start
        guesses = [variance[rows, k]] + ([] if line is None else [line[1][rows, k]])
        return np.column_stack(guesses + ([] if doubts is None else [doubts]))

    def _fit_regressors(self, j: int, table: np.ndarray, seen: np.ndarray) -> None:
        rows = np.flatnonzero(seen)
        A, y = self._without(table, j)[rows], self._target(j, rows)
        model = self.models[j]
        weights = model.weights[len(model.weights) - len(model.regressors) :]
        for weight, regressor in zip(weights, model.regressors):
            if weight > 0:
                regressor.fit(A, y)

    def _said(self, j: int, table, base, line, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Refined parameters of the gaps of a column, and the doubts about them."""
        model, place = self.models[j], self.layout.slices[j]
        if not gaps.any():
            return base[gaps, place], np.zeros((0, 2))
        parts = [base[gaps, place]]
        if line is not None and j in self.layout.numeric:
            parts.append(line[0][gaps, place])
        A = self._without(table[gaps], j)
        answer = Answer.alone(parts[0])
        for weight, regressor in zip(model.weights[len(parts) :], model.regressors):
            answer = regressor.predict(A) if weight > 0 else Answer.alone(parts[0])
            parts.append(answer.mean)
        return model.mix(parts), model.doubts(parts, answer.variance)

    def _new_regressors(self, j: int) -> list[Any]:
        if j in self.layout.numeric:
            return [SmoothRidge(self.rng), Trees(None, self.rng, self.n_jobs)]
        return [Trees(self.layout.sizes[j], self.rng, self.n_jobs)]

    def _without(self, table: np.ndarray, j: int) -> np.ndarray:
        return np.delete(table, self.layout.slices[j], axis=1)

    def _target(self, j: int, rows: np.ndarray) -> np.ndarray:
        cells = self.expanded[rows, self.layout.slices[j]]
        return cells[:, 0] if j in self.layout.numeric else cells.argmax(1)

    def _weights(self, j: int, parts: list[np.ndarray], truth: np.ndarray, excess) -> np.ndarray:
        equal = np.full(len(parts), 1.0 / len(parts))
        if len(truth) < FEWEST_HELD_OUT:
            return equal
        if j in self.layout.numeric:
            return numeric_weights(np.hstack(parts), truth[:, 0], excess)
        return categorical_weights(parts, truth)


def numeric_weights(parts: np.ndarray, truth: np.ndarray, excess=0.0) -> np.ndarray:
    """Non-negative weights ``(parts,)`` of least squared error, pulled towards equal ones.

    ``excess`` is the squared error of each that does not count.
    """
    m, k = parts.shape
    centre = truth.mean()
    A = parts - centre
    pull = PULL * m * max(truth.var(), 1e-24)
    square = A.T @ A + pull * np.eye(k) - np.diag(np.broadcast_to(excess, k))
    values, vectors = np.linalg.eigh(square)
    root = np.sqrt(np.maximum(values, SMALLEST_SHARE * values.max()))
    target = vectors.T @ (A.T @ (truth - centre) + pull / k)
    weights, _ = nnls(root[:, None] * vectors.T, target / root)
    return weights / weights.sum() if weights.sum() > 0 else np.full(k, 1.0 / k)


def categorical_weights(parts: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Weights of two predictions whose mixture has the least log-loss."""
    first, second = ((part * truth).sum(1) for part in parts)
    losses = [-np.log(s * first + (1 - s) * second + 1e-3).mean() for s in SHARES]
    share = SHARES[int(np.argmin(losses))]
    return np.array([share, 1.0 - share])
