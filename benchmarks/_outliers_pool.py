"""Tasks to choose on: outliers that labelled tables have, or are given."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _outliers_sources import SOURCES
from _outliers_splits import Labelled, take

MOST_ROWS = 2000
LEAST_OUTLIERS = 15
# Shares of outliers, in turn.
SHARES_ONE, SHARES_RARE, SHARE_SWAPPED = (0.05, 0.1, 0.02, 0.25), (0.05, 0.1, 0.02), 0.05
SMALLEST_NORMAL, SMALLEST_RARE = 50, 8


def tasks(folder: Path, source: str) -> Iterator[tuple[str, Labelled]]:
    """Tasks of one table by name: ``one``, ``rare`` and ``swap``.

    One class is normal and some rows of all others are outliers, for each of the three largest
    classes; a rare class is outliers among all others; and some cells of some rows come from
    other rows.
    """
    X, classes = SOURCES[source](folder)
    classes = np.asarray(classes)
    rng = np.random.RandomState(zlib.crc32(source.encode()) % 2**31)
    kinds, counts = np.unique(classes, return_counts=True)
    by_size = kinds[np.argsort(-counts)]
    n_tasks = 0
    for kind in [k for k in by_size if np.sum(classes == k) >= SMALLEST_NORMAL][:3]:
        share = SHARES_ONE[(n_tasks + len(source)) % len(SHARES_ONE)]
        normal = rng.permutation(np.flatnonzero(classes == kind))
        others = rng.permutation(np.flatnonzero(classes != kind))
        yield f"{source}:one{kind}", _mixed(X, normal, others, share)
        n_tasks += 1
    if len(kinds) >= 3:
        for kind in (by_size[-1], by_size[len(by_size) // 2]):
            if np.sum(classes == kind) < SMALLEST_RARE:
                continue
            share = SHARES_RARE[n_tasks % len(SHARES_RARE)]
            normal = rng.permutation(np.flatnonzero(classes != kind))
            others = rng.permutation(np.flatnonzero(classes == kind))
            yield f"{source}:rare{kind}", _mixed(X, normal, others, share)
            n_tasks += 1
    yield f"{source}:swap", _swapped(X, rng)


def _mixed(X, normal: np.ndarray, others: np.ndarray, share: float) -> Labelled:
    """Normal rows and, after them, such a share of others."""
    normal = normal[: int(MOST_ROWS * (1 - share))]
    least = min(LEAST_OUTLIERS, len(others))
    others = others[: max(int(len(normal) * share / (1 - share)), least)]
    y = np.repeat([0, 1], [len(normal), len(others)])
    return Labelled(take(X, np.r_[normal, others]), y)


def _swapped(X, rng: np.random.RandomState) -> Labelled:
    """An eighth of the cells, at least two, of one row in twenty come from others."""
    places = rng.permutation(len(X))[:MOST_ROWS]
    n_outliers = max(int(SHARE_SWAPPED * len(places)), 10)
    rows = take(X, places).copy()
    n_columns = rows.shape[1]
    n_cells = max(1, n_columns // 8) if n_columns > 8 else min(2, n_columns)
    for i in range(n_outliers):
        columns = rng.choice(n_columns, n_cells, replace=False)
        if isinstance(rows, np.ndarray):
            rows[i, columns] = X[rng.randint(len(X), size=n_cells), columns]
            continue
        for j in columns:
            rows.iat[i, j] = X.iat[rng.randint(len(X)), j]
    y = np.repeat([1, 0], [n_outliers, len(places) - n_outliers])
    return Labelled(rows, y)
