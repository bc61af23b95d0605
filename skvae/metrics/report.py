"""All measures of synthetic tables in one table."""

from __future__ import annotations

import pandas as pd

from .columns import read_columns, seed_of
from .fidelity import column_shapes, combine, pair_trends
from .prediction import train_on_synthetic, two_sample_auc
from .privacy import closest_record


def synthesis_report(train, holdout, synthetic, target=None, *, random_state=None) -> pd.DataFrame:
    """Judge one synthetic table, or several beside each other, by every measure.

    Parameters
    ----------
    train : array-like or DataFrame of shape (n_rows, n_columns)
        What the synthesiser has learnt from; shapes and trends are compared with it.
    holdout : array-like or DataFrame of shape (n_rows, n_columns)
        Real rows that it has not seen, for everything else.
    synthetic : array-like or DataFrame of shape (n_rows, n_columns), or dict of such
        The synthetic table, or tables by name.
    target : str, int or None, default=None
        A column to predict, for `train_on_synthetic`; None leaves that out.
    random_state : int, RandomState instance or None, default=None
        Of folds and models; the same for every table.

    Returns
    -------
    pandas.DataFrame
        One row per table, and the columns ``shapes``, ``trends``, ``quality``, ``auc``
        (of the two-sample test), ``trained_on_synthetic`` and ``trained_on_real`` (with a
        target), ``closer_to_train``, ``distance``, ``holdout_distance`` (medians) and
        ``copies``.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import synthesis_report
    >>> X = np.random.default_rng(0).normal(size=(600, 2))
    >>> tables = {"copy": X[:200], "other": X[400:]}
    >>> report = synthesis_report(X[:200], X[200:400], tables, random_state=0)
    >>> report[["quality", "closer_to_train", "copies"]].round(2)
           quality  closer_to_train  copies
    copy      1.00              1.0     1.0
    other     0.93              0.5     0.0
    """
    seed = seed_of(random_state)
    tables = synthetic if isinstance(synthetic, dict) else {"synthetic": synthetic}
    # What cannot be judged is refused before minutes of work on the others.
    for table in tables.values():
        read_columns("synthesis_report", train=train, holdout=holdout, synthetic=table)
    worth = {}
    if target is not None:
        for name, table in tables.items():
            worth[name] = train_on_synthetic(train, table, holdout, target, random_state=seed)
    lines = {}
    for name, table in tables.items():
        shapes, trends = column_shapes(train, table), pair_trends(train, table)
        line = {"shapes": shapes.mean, "trends": trends.mean, "quality": combine(shapes, trends)}
        line["auc"] = two_sample_auc(holdout, table, random_state=seed)
        if target is not None:
            line |= {
                "trained_on_synthetic": worth[name].synthetic,
                "trained_on_real": worth[name].real,
            }
        records = closest_record(train, holdout, table, random_state=seed)
        lines[name] = line | {
            "closer_to_train": records.share,
            "distance": records.median,
            "holdout_distance": records.holdout_median,
            "copies": records.copies,
        }
    return pd.DataFrame.from_dict(lines, orient="index")
