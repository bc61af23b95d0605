"""Several tables of the same columns, side by side: numbers, or codes into shared levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..table.frames import Table, open_table
from ..table.refusals import refuse_infinite


class Column(NamedTuple):
    """One column as it is in every table.

    Attributes
    ----------
    name : object
        Its label in the first table.
    is_number : bool
        Whether cells are numbers; otherwise they are codes into ``levels``.
    cells : list of ndarray of float64, each of shape (n_rows,)
        The cells of each table, NaN where missing.
    levels : list
        What the codes stand for; empty for numbers.
    """

    name: Any
    is_number: bool
    cells: list[np.ndarray]
    levels: list


class _Cells(NamedTuple):
    """One column of one table; ``levels`` is None for numbers."""

    values: np.ndarray
    levels: list | None


def read_columns(who: str, **tables) -> list[Column]:
    """Read tables that should have the same columns.

    Parameters
    ----------
    who : str
        The function that asks, for the errors.
    **tables : array-like or DataFrame of shape (n_rows, n_columns)
        The tables by name; frames are matched by the names of their columns, which come in the
        order of the first table, arrays by position.

    Returns
    -------
    list of Column
        Booleans and categories as codes, everything else as numbers.

    Raises
    ------
    ValueError
        If a table has no rows or other columns, holds text where another holds numbers, or an
        infinite cell.
    """
    opened = {name: open_table(X) for name, X in tables.items()}
    for name, table in opened.items():
        if not table.n_rows:
            raise ValueError(f"{who} expects tables with rows, got a {name} table without any.")
    (first, reference), *others = opened.items()
    orders = [list(range(len(reference.names)))]
    orders += [_order(who, first, reference, name, table) for name, table in others]
    read = [_read(table) for table in opened.values()]
    columns = []
    for position, name in enumerate(reference.names):
        parts = [cells[order[position]] for cells, order in zip(read, orders)]
        columns.append(_align(who, name, dict(zip(tables, parts))))
    return columns


def _order(who, first, reference: Table, name, table: Table) -> list[int]:
    """Where the columns of the first table are in another one."""
    expected, found = reference.names, table.names
    if "numpy" in (reference.container, table.container):
        if len(expected) == len(found):
            return list(range(len(found)))
    elif set(expected) == set(found):
        return [found.index(label) for label in expected]
    missing = [label for label in expected if label not in found]
    extra = [label for label in found if label not in expected]
    raise ValueError(
        f"{who} expects the {name} table to have the {len(expected)} columns of the {first} "
        f"table, got {len(found)}: missing {missing[:5]}, unexpected {extra[:5]}. Pass the same "
        "columns in both."
    )


def _read(table: Table) -> list[_Cells]:
    found: list[_Cells] = []
    for panel in table.panels():
        for form, values in zip(panel.forms, panel.matrix.T):
            values = np.asarray(values, dtype=np.float64)
            if np.isinf(values).any():
                refuse_infinite(table.names[len(found)])
            levels = panel.labels
            if form.role == "boolean":
                levels = [False, True]
            found.append(_Cells(values, levels))
    return found


def _align(who, name, parts: dict[str, _Cells]) -> Column:
    if all(part.levels is None for part in parts.values()):
        return Column(name, True, [part.values for part in parts.values()], [])
    as_levels = {table: _as_levels(part) for table, part in parts.items()}
    places: dict[Any, int] = {}
    for table, (_, levels) in as_levels.items():
        if places and levels and _is_text(levels) != _is_text(list(places)):
            raise ValueError(
                f"{who} expects column {name!r} to hold the same kind of cells in every table, "
                f"got {'text' if _is_text(levels) else 'numbers'} in the {table} table only. "
                "Give it the same dtype in both."
            )
        for level in levels:
            places.setdefault(level, len(places))
    cells = []
    for values, levels in as_levels.values():
        recode = np.array([*(places[level] for level in levels), np.nan])
        cells.append(recode[np.where(np.isnan(values), len(levels), values).astype(np.intp)])
    return Column(name, False, cells, list(places))


def _as_levels(part: _Cells) -> tuple[np.ndarray, list]:
    """Codes into the levels that occur."""
    found, codes = np.unique(part.values, return_inverse=True)
    found = found[~np.isnan(found)]
    values = np.where(np.isnan(part.values), np.nan, codes)
    if part.levels is None:
        return values, found.tolist()
    return values, [part.levels[int(code)] for code in found]


def _is_text(levels: list) -> bool:
    return any(isinstance(level, str) for level in levels)


def seed_of(random_state) -> int:
    """Return a seed for scikit-learn, which would ask the global generator for None."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(np.random.default_rng(random_state).integers(2**31 - 1))
