"""Refinement: what ensemble and regressors say together, weighed by held-out cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from .gaussian import WIDEST, Gaussian
from .layout import Layout
from .masks import some_hidden
from .prediction import Prediction
from .regression import Answer, SmoothRidge, Trees
from .residuals import Residuals, Spread
from .shown import Predictor, Shown

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


class Held(NamedTuple):
    """The held-out cells of a column.

    Parameters
    ----------
    rows, folds, among : ndarray (cells,)
        Their rows, who held them out, and their places among the observed cells.
    n_seen : int
        Number of observed cells.
    told : list of callable
        What answers for regressors that did not see a cell.
    """

    rows: np.ndarray
    folds: np.ndarray
    among: np.ndarray
    n_seen: int
    told: list[Callable]


class LeftOut(NamedTuple):
    """What is said of the held-out cells of a column by all that never saw them.

    Parameters
    ----------
    parts : list of ndarray (cells, parameters)
        In the order of the weights.
    excess : ndarray (parts,)
        Squared error that averages out where all members and trees are asked.
    of_trees : ndarray (cells,)
        Variance among the trees.
    """

    parts: list[np.ndarray]
    excess: np.ndarray
    of_trees: np.ndarray


class Refinement:
    """Completes expanded tables, column by column.

    Parameters
    ----------
    layout : Layout
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
        own = judged = Shown(self.layout, predict, values, mask)
        if self.n_rounds and 0 < len(self.layout.numeric) <= WIDEST:
            self.normal = Gaussian(self.layout, self.rng).fit(own.table, mask)
        own.draw_line(self.normal)
        if mask.all():
            # New rows have gaps, as nobody would impute them else: errors are those of such.
            shown = some_hidden(mask, self.rng)
            judged = Shown(self.layout, predict, values, shown).draw_line(self.normal)
        base, line, improved = own.base, own.line, own.table.copy()
        refined = set(self._refinable(mask)) if self.n_rounds else set()
        doubts: dict[int, np.ndarray] = {}
        for j in range(self.layout.n_columns):
            model = self._fit_column(j, own, judged, mask[:, j], folds[:, j], j in refined)
            self.models.append(model)
            if j in refined:
                gaps = ~mask[:, j]
                improved[gaps, self.layout.slices[j]], found = self._said(
                    j, own.table, base, line, gaps
                )
                # A held-out cell has one member of the ensemble to tell, a gap has them all.
                apart = own.said.mean[:, gaps, self.layout.slices[j].start].var(0)
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
            filled = self._complete(predict, values[rows], mask[rows])
            whole[rows], spread[rows] = filled
        return whole, spread

    def _complete(self, predict: Predictor, values, mask) -> tuple[np.ndarray, np.ndarray]:
        shown = Shown(self.layout, predict, values, mask).draw_line(self.normal)
        base, table, line = shown.base, shown.table, shown.line
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
                guesses = self._guesses(j, shown.variance[gaps], line, gaps, more)
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

    def _fit_column(self, j, own: Shown, judged: Shown, seen, folds, refined) -> ColumnModel:
        rows, held = np.flatnonzero(seen), np.flatnonzero(folds >= 0)
        place, among = self.layout.slices[j], np.searchsorted(rows, held)
        truth, model = self.expanded[held, place], ColumnModel(np.ones(1))
        # Of a row without gaps nothing but the held-out cell depends on what is said.
        asked, of_row = (rows, among) if judged is own else (held, np.arange(len(held)))
        said, table = own.without(j, asked)
        told: list[Callable] = []
        if refined:
            features = table if judged is own else own.table[rows]
            A, y = self._without(features, j), self._target(j, rows)
            model.regressors = self._new_regressors(j)
            told = [regressor.fit_left_out(A, y) for regressor in model.regressors]
        cells = Held(held, folds[held], among, len(rows), told)
        said = Prediction(*(found[:, of_row] for found in said))
        left_out = self._left_out(j, cells, own, said, table[of_row])
        if refined:
            model.weights = self._weights(j, left_out.parts, truth, left_out.excess)
        if j not in self.layout.numeric:
            return model
        if judged is not own:
            said, table = judged.without(j, held)
            left_out = self._left_out(j, cells, judged, said, table)
        found, counts = np.unique(self.expanded[seen, place], return_counts=True)
        model.atom = float(found[counts.argmax()]), counts.max() / counts.sum()
        error, doubts = (truth - model.mix(left_out.parts))[:, 0], None
        if refined:
            doubts = model.doubts(left_out.parts, left_out.of_trees)
            share = model.weights**2 @ left_out.excess / max((error**2).sum(), 1e-12)
            error *= np.sqrt(max(1.0 - share, LEAST_LEFT))
        variance = said.mixture()[1]
        guesses = self._guesses(j, variance, judged.line, held, doubts)
        model.spread = Spread(guesses, error)
        model.residuals = Residuals(error / np.maximum(model.spread(guesses), 1e-12))
        return model

    def _left_out(self, j, cells: Held, shown: Shown, said: Prediction, table) -> LeftOut:
        """What is said of held-out cells, each by what never saw it."""
        place, n = self.layout.slices[j], len(cells.rows)
        parts = [said.mean[cells.folds, np.arange(n)][:, place]]
        if not cells.told:
            return LeftOut(parts, np.zeros(1), np.zeros(n))
        if shown.line is not None and j in self.layout.numeric:
            truth = self.expanded[cells.rows, place]
            # Its parameters have seen the cell, by about this share.
            share = min(self.layout.width / cells.n_seen, 0.5)
            parts.append(truth + (shown.line[0][cells.rows, place] - truth) / (1.0 - share))
        A = self._without(table, j)
        answers = [answer(A, cells.among) for answer in cells.told]
        parts += [answer.mean for answer in answers]
        # So much of the squared error of the first and of the last is theirs alone where
        # members and trees are asked one by one, or in part.
        excess = np.zeros(len(parts))
        excess[[0, -1]] = said.mean[:, :, place.start].var(0).sum(), answers[-1].excess.sum()
        return LeftOut(parts, excess, answers[-1].variance)

    def _guesses(self, j: int, variance: np.ndarray, line, rows, doubts) -> np.ndarray:
        """Variances of the errors of a numeric column: ensemble, normal one, and the doubts."""
        k = self.layout.slices[j].start
        guesses = [variance[:, k]] + ([] if line is None else [line[1][rows, k]])
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
