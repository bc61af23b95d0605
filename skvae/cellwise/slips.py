"""Slips of the pen: what a wrong cell may have been meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..table.columns import MappedColumn

# A point or a unit that is off, and a sign.
FACTORS = (1e-3, 1e-2, 0.1, 10.0, 100.0, 1e3, -1.0)
# Shorter words are all alike.
SHORTEST_WORD = 3


def slips(column: Any, value: float, number: float, others: Sequence = ()) -> list[float]:
    """Values that become a given cell by one slip.

    Parameters
    ----------
    column : Column
        Of the codec: numbers are off by a power of ten, in their sign or exchanged,
        words are by one letter.
    value : float
        As the codec encodes the cell.
    number : float
        The cell, where it is a number.
    others : sequence of float, default=()
        Numbers in whose place it may stand.

    Returns
    -------
    values : list of float
        As the codec encodes them.
    """
    if column.kind in ("continuous", "count"):
        return _numbers(column, number, others)
    labels: Sequence = getattr(column, "categories", ())
    word = labels[int(value)] if len(labels) else None
    if not isinstance(word, str) or len(word) < SHORTEST_WORD:
        return []
    return [float(i) for i, other in enumerate(labels) if is_one_slip(word, str(other))]


def is_one_slip(word: str, other: str) -> bool:
    """Whether one letter too many, too few, wrong or exchanged with the next parts two words.

    Examples
    --------
    >>> from skvae.cellwise.slips import is_one_slip
    >>> is_one_slip("Privaet", "Private"), is_one_slip("Privaet", "Public")
    (True, False)
    """
    n = min(len(word), len(other))
    first = next((i for i in range(n) if word[i] != other[i]), n)
    a, b = word[first:], other[first:]
    if a == b:
        return False
    exchanged = a[:2] == b[:2][::-1] and len(b) > 1 and a[2:] == b[2:]
    return exchanged or a[1:] == b[1:] or a[1:] == b or a == b[1:]


def _numbers(column: Any, cell: float, others: Sequence) -> list[float]:
    cells = np.array([*(cell * factor for factor in FACTORS), *others])
    if np.dtype(column.form.number or np.float64).kind in "iu":
        cells = cells[cells == np.rint(cells)]
    cells = cells[cells != cell]
    outside = column.outside(cells)
    cells = cells if outside is None else cells[~outside]
    if isinstance(column, MappedColumn):
        return column.forward(cells)[0].tolist()
    return ((cells - column.loc) / column.scale).tolist()
