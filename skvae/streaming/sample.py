"""What is learned of a table beyond memory before it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .source import Source

# So many rows, or as many as have this many cells, tell units, the start and the calibration.
SAMPLE_ROWS = 1 << 16
SAMPLE_CELLS = 1 << 24
FEWEST_SAMPLE_ROWS = 1 << 11
# Rows that show what a column can hold say nothing of how often it does.
WITNESS_WEIGHT = 1e-9
# Columns of so many different strings are refused by what is in the sample.
MOST_WITNESSES = 1 << 15


@dataclass
class Sample:
    """Rows drawn from a source without replacement, and rows that show what it can hold.

    Parameters
    ----------
    table : frame or ndarray
        The rows drawn, in the order of the source.
    rows : ndarray of int
        Their places in the source.
    witnesses : frame or ndarray
        The rows drawn, and further ones: the smallest and the largest number of each column,
        a missing cell where there is one, and each category.
    """

    table: Any
    rows: np.ndarray
    witnesses: Any

    def witness_weight(self, sample_weight: np.ndarray | None) -> np.ndarray:
        """Weights of the rows of ``witnesses``, given those of the rows drawn."""
        drawn = np.ones(len(self.rows)) if sample_weight is None else sample_weight
        n_more = len(self.witnesses) - len(self.rows)
        return np.concatenate([drawn, np.full(n_more, WITNESS_WEIGHT * drawn.mean())])


def sample_size(source: Source) -> int:
    """How many rows are drawn of a source; all where it has no more."""
    by_cells = max(SAMPLE_CELLS // max(source.n_columns, 1), FEWEST_SAMPLE_ROWS)
    return min(SAMPLE_ROWS, by_cells, source.n_rows)


def sample_of(source: Source, seed: int) -> Sample:
    """Draw rows from a source and gather witnesses, in one pass over it."""
    n = sample_size(source)
    rows = np.random.default_rng(seed).choice(source.n_rows, n, replace=False, shuffle=False)
    rows.sort()
    drawn: list[Any] = []
    found: dict[Any, tuple[int, Any]] = {}
    known: dict[Any, float] = {}
    for first, block in source.blocks():
        start, stop = np.searchsorted(rows, (first, first + len(block)))
        if stop > start:
            drawn.append(source.take(block, rows[start:stop] - first))
        for key, rank, place in source.extremes(block, known):
            if key in known or len(known) < MOST_WITNESSES:
                known[key] = rank
                found[key] = first + place, source.take(block, np.array([place]))
    chosen = dict(found.values())
    others = np.setdiff1d(np.fromiter(chosen, dtype=np.int64, count=len(chosen)), rows)
    more = [chosen[int(place)] for place in others]
    return Sample(source.table(drawn), rows, source.table(drawn + more))
