"""What a classifier makes of synthetic rows: telling them apart, and learning from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_score

from .columns import Column, read_columns, seed_of

# HistGradientBoosting takes as many categories as it has bins.
_MOST_LEVELS = 255


class TrainOnSynthetic(NamedTuple):
    """What a model is worth that has learnt from synthetic rows.

    Attributes
    ----------
    synthetic : float
        Score on the test rows after training on the synthetic table.
    real : float
        Score on the same rows after training on the real one.
    score : {"roc_auc", "accuracy", "r2"}
        What is scored.
    """

    synthetic: float
    real: float
    score: str


def two_sample_auc(real, synthetic, *, n_splits=5, random_state=None) -> float:
    """Cross-validated ROC AUC of a classifier that tells synthetic rows from real ones.

    0.5 is best: the classifier finds no difference. A value below is as good, by chance.

    Parameters
    ----------
    real, synthetic : array-like or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns. Real rows should be others than the synthesiser has seen,
        or copies of them look good.
    n_splits : int, default=5
        Folds of the cross-validation.
    random_state : int, RandomState instance or None, default=None
        Of the folds and the classifier.

    Returns
    -------
    float
        Mean over the folds, 0.5 to 1 up to chance.

    Notes
    -----
    The classifier is scikit-learn's `HistGradientBoostingClassifier`. A real row and a
    synthetic row that are equal come into the same fold, one by one: in different folds each
    would tell the classifier the wrong answer for the other, and tables full of copies would
    score below 0.5.

    References
    ----------
    Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import two_sample_auc
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> two_sample_auc(X, X, random_state=0)
    0.5
    >>> round(two_sample_auc(X, X + 10, random_state=0), 2)
    1.0
    """
    columns = read_columns("two_sample_auc", real=real, synthetic=synthetic)
    tables, categorical = _inputs(columns)
    n_rows = min(len(table) for table in tables)
    if not 2 <= n_splits <= n_rows:
        raise ValueError(
            "two_sample_auc expects n_splits of at least 2 and at most the rows of the smaller "
            f"table, {n_rows}, got {n_splits}."
        )
    seed = seed_of(random_state)
    folds = PredefinedSplit(np.concatenate(_folds(tables, n_splits, np.random.default_rng(seed))))
    is_synthetic = np.repeat([0, 1], [len(table) for table in tables])
    X = np.concatenate(tables)
    (X,), categorical = _marked([X], [X[seen] for seen, _ in folds.split()], categorical)
    classifier = HistGradientBoostingClassifier(
        categorical_features=categorical, random_state=seed
    )
    scores = cross_val_score(classifier, X, is_synthetic, cv=folds, scoring="roc_auc")
    return float(scores.mean())


def train_on_synthetic(train, synthetic, test, target, *, random_state=None) -> TrainOnSynthetic:
    """Score a model trained on synthetic rows beside one trained on real rows.

    Both are tested on the same real rows. The score is the ROC AUC for a target of two values,
    the accuracy for more categories, and R2 for numbers.

    Parameters
    ----------
    train, synthetic, test : array-like or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns. Rows without target are left out.
    target : str or int
        The column to predict: its name, or its position if there are no names.
    random_state : int, RandomState instance or None, default=None
        Of the models.

    Returns
    -------
    TrainOnSynthetic
        ``synthetic``, ``real`` and ``score``, the name of what is scored.

    Notes
    -----
    The models are scikit-learn's `HistGradientBoostingClassifier` and
    `HistGradientBoostingRegressor`. A model that has seen only one class gives every row that
    class.

    References
    ----------
    Esteban, Hyland and Raetsch, Real-valued (Medical) Time Series Generation with Recurrent
    Conditional GANs, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import train_on_synthetic
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> X[:, 2] = X[:, 0] > 0
    >>> worth = train_on_synthetic(X[:100], X[100:200], X[200:], target=2, random_state=0)
    >>> worth.score, round(worth.real, 1), round(worth.synthetic, 1)
    ('roc_auc', 1.0, 1.0)
    """
    columns = read_columns("train_on_synthetic", train=train, synthetic=synthetic, test=test)
    aim = columns.pop(_position(columns, target))
    if not columns:
        raise ValueError(
            "train_on_synthetic expects at least one column beside the target, got none."
        )
    tables, categorical = _inputs(columns)
    values = np.unique(np.concatenate([aim.cells[0], aim.cells[2]]))
    values = values[~np.isnan(values)]
    name, measure = _measure(aim, values)
    y = aim.cells
    if len(values) == 2:
        y = [_classes(aim, cells, values) for cells in y]
    seen = [~np.isnan(cells) for cells in y]
    for table, rows in zip(("train", "synthetic", "test"), seen):
        if not rows.any():
            raise ValueError(
                f"train_on_synthetic expects rows with a target, got a {table} table where "
                f"{aim.name!r} is missing everywhere."
            )
    if len(values) == 2 and len(np.unique(y[2][seen[2]])) < 2:
        raise ValueError(
            f"train_on_synthetic expects a test table with both values of {aim.name!r}, got one."
        )
    X = [table[rows] for table, rows in zip(tables, seen)]
    y = [cells[rows] for cells, rows in zip(y, seen)]
    # Early stopping would set rows aside, of which some classes may have only one.
    options: dict = {"random_state": seed_of(random_state), "early_stopping": False}
    worth = []
    for rows, answers in zip(X[:2], y):
        (rows, test_rows), options["categorical_features"] = _marked(
            [rows, X[2]], [rows], categorical
        )
        worth.append(float(measure(rows, answers, test_rows, y[2], options)))
    real, copy = worth
    return TrainOnSynthetic(copy, real, name)


def _measure(aim: Column, values: np.ndarray):
    if len(values) < 2:
        raise ValueError(
            f"train_on_synthetic expects a target that varies, got {aim.name!r} with "
            f"{len(values)} value in the real tables."
        )
    if len(values) == 2:
        return "roc_auc", _by_auc
    return ("r2", _by_r2) if aim.is_number else ("accuracy", _by_accuracy)


def _by_auc(X, y, X_test, y_test, options) -> float:
    if y.min() == y.max():
        return 0.5
    model = HistGradientBoostingClassifier(**options).fit(X, y)
    return roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])


def _by_accuracy(X, y, X_test, y_test, options) -> float:
    if y.min() == y.max():
        return np.mean(y_test == y[0])
    model = HistGradientBoostingClassifier(**options).fit(X, y)
    return np.mean(model.predict(X_test) == y_test)


def _by_r2(X, y, X_test, y_test, options) -> float:
    model = HistGradientBoostingRegressor(**options).fit(X, y)
    return r2_score(y_test, model.predict(X_test))


def _classes(aim: Column, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """1 for the larger of two values, 0 for the other; NaN for any other category."""
    if aim.is_number:  # a synthetic number in between is given to the nearer
        return np.where(np.isnan(cells), np.nan, cells > values.mean())
    return np.where(np.isin(cells, values), cells == values[1], np.nan)


def _position(columns: list[Column], target) -> int:
    names = [column.name for column in columns]
    if target in names:
        return names.index(target)
    if isinstance(target, (int, np.integer)) and names == [f"x{j}" for j in range(len(names))]:
        if 0 <= target < len(names):
            return int(target)
    raise ValueError(
        f"train_on_synthetic expects target to be a column of the tables, got {target!r}; the "
        f"columns are {names[:10]}."
    )


def _inputs(columns: list[Column]) -> tuple[list[np.ndarray], list[bool]]:
    """Matrices for HistGradientBoosting, and which of their columns are categories."""
    coded = [column.cells if column.is_number else _frequent(column) for column in columns]
    tables = [np.stack(cells, 1) for cells in zip(*coded)]
    return tables, [not column.is_number for column in columns]


def _marked(
    tables: list[np.ndarray], trainings: list[np.ndarray], categorical: list[bool]
) -> tuple[list[np.ndarray], list[bool]]:
    """Tables in which numbers that a training has none of are but a mark of what is there.

    HistGradientBoosting takes categories without any cell, and no such numbers.
    """
    empty = np.any([np.isnan(rows).all(0) for rows in trainings], axis=0)
    marked = [np.where(empty & ~np.isnan(table), 0.0, table) for table in tables]
    return marked, list(np.asarray(categorical) | empty)


def _frequent(column: Column) -> list[np.ndarray]:
    """Codes by frequency, with one code for all the rare levels there is no room for."""
    cells = np.concatenate(column.cells)
    counts = np.bincount(cells[~np.isnan(cells)].astype(np.intp), minlength=len(column.levels))
    rank = np.empty(len(counts) + 1)
    rank[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(counts)), _MOST_LEVELS - 1)
    rank[-1] = np.nan
    return [
        rank[np.where(np.isnan(part), len(counts), part).astype(np.intp)] for part in column.cells
    ]


def _folds(tables: list[np.ndarray], n_splits: int, rng) -> list[np.ndarray]:
    """Folds at random and of equal shares, equal rows of the two tables in the same one."""
    n = len(tables[0])
    # NaN is equal to nothing, also to itself; no cell that passes the readers is infinite.
    rows = np.nan_to_num(np.concatenate(tables), nan=np.inf)
    distinct = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    occurrence = np.concatenate([_occurrence(distinct[:n]), _occurrence(distinct[n:])])
    key = distinct * len(rows) + occurrence
    _, first, second = np.intersect1d(key[:n], key[n:], return_indices=True)
    folds = [np.full(len(table), -1) for table in tables]
    folds[0][first] = folds[1][second] = _deal(len(first), n_splits, rng)
    for part in folds:
        alone = part < 0
        part[alone] = _deal(alone.sum(), n_splits, rng)
    return folds


def _occurrence(labels: np.ndarray) -> np.ndarray:
    """0 for the first row of each label, 1 for the second, and so on."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.searchsorted(ordered, ordered)
    out = np.empty(len(labels), dtype=np.intp)
    out[order] = np.arange(len(labels)) - starts
    return out


def _deal(n: int, n_splits: int, rng) -> np.ndarray:
    return rng.permutation(np.arange(n) % n_splits)
