"""Errors of the kinds that people and programs make, put into rows of a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

SHARE = 0.05
UNIT = 1000


class Spoiled(NamedTuple):
    """A table with errors: as it was, as it is, where cells are wrong, and which error each row
    has, "" for none.
    """

    true: pd.DataFrame
    rows: pd.DataFrame
    wrong: np.ndarray
    error: np.ndarray


def spoil(true: pd.DataFrame, rng: np.random.RandomState) -> Spoiled:
    """One error in each of one row in twenty, kinds in turn; the cells it touches are observed."""
    cells = true.astype(object).to_numpy()
    before = cells.copy()
    numeric = np.array([pd.api.types.is_numeric_dtype(dtype) for dtype in true.dtypes])
    error = np.full(len(true), "", dtype=object)
    for i, row in enumerate(rng.permutation(len(true))[: round(SHARE * len(true))]):
        kinds = list(ERRORS)
        for kind in kinds[i % len(kinds) :] + kinds[: i % len(kinds)]:
            if ERRORS[kind](cells, row, numeric, before, rng):
                error[row] = kind
                break
    rows = pd.DataFrame(cells, columns=true.columns)
    for name, is_number in zip(true.columns, numeric, strict=True):
        rows[name] = rows[name].astype(float if is_number else "category")
    changed = (cells != before) & ~(pd.isna(cells) & pd.isna(before))
    kept = true.astype({name: float for name, yes in zip(true.columns, numeric) if yes})
    return Spoiled(kept, rows, changed, error)


def category(cells, row, numeric, before, rng) -> bool:
    """Another category of the column."""
    columns = _observed(cells, row, ~numeric)
    rng.shuffle(columns)
    for column in columns:
        others = pd.unique(before[:, column])
        others = [x for x in others if not pd.isna(x) and x != cells[row, column]]
        if others:
            cells[row, column] = others[rng.randint(len(others))]
            return True
    return False


def typo(cells, row, numeric, before, rng) -> bool:
    """Two letters of a category the other way round, which no other row has."""
    columns = _observed(cells, row, ~numeric)
    rng.shuffle(columns)
    for column in columns:
        word = str(cells[row, column])
        places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        if places:
            i = places[rng.randint(len(places))]
            cells[row, column] = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
            return True
    return False


def swap_rows(cells, row, numeric, before, rng) -> bool:
    """The cell of another row, of another value."""
    columns = _observed(cells, row, numeric | ~numeric)
    for column in rng.permutation(columns):
        for other in rng.randint(len(cells), size=20):
            new = before[other, column]
            if not pd.isna(new) and new != cells[row, column]:
                cells[row, column] = new
                return True
    return False


def swap_columns(cells, row, numeric, before, rng) -> bool:
    """Two numbers of a row in one another's place."""
    columns = rng.permutation(_observed(cells, row, numeric))
    for one, other in zip(columns, columns[1:]):
        if cells[row, one] != cells[row, other]:
            cells[row, [one, other]] = cells[row, [other, one]]
            return True
    return False


def unit(cells, row, numeric, before, rng) -> bool:
    """A number in a unit a thousand times smaller."""
    columns = [j for j in _observed(cells, row, numeric) if cells[row, j] != 0]
    if not columns:
        return False
    cells[row, columns[rng.randint(len(columns))]] *= UNIT
    return True


ERRORS = {
    "wrong category": category,
    "typo": typo,
    "cell of another row": swap_rows,
    "columns swapped": swap_columns,
    "unit": unit,
}


def _observed(cells, row, which) -> np.ndarray:
    return np.flatnonzero(which & ~pd.isna(cells[row]))
