"""A source in tables of equal numbers of rows, some of which are left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from .source import Source


def ranges_of(
    source: Source,
    n_rows: int,
    wanted: Collection[int],
    make: Callable[[Sequence[Any]], Any] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each range of ``n_rows`` rows that is wanted, and its table.

    Parameters
    ----------
    source : Source
    n_rows : int
        Rows of a range; the last may have fewer.
    wanted : collection of int
        Numbers of ranges.  Pieces that hold none of their rows are not read.
    make : callable, default=None
        What makes a table of the blocks of a range; None for that of the source.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.streaming.ranges import ranges_of
    >>> from skvae.streaming.source import ArraySource
    >>> rows = ArraySource(np.arange(5.0)[:, None])
    >>> [(number, table.ravel().tolist()) for number, table in ranges_of(rows, 2, {1, 2})]
    [(1, [2.0, 3.0]), (2, [4.0])]
    """
    wanted, make = set(wanted), make or source.table
    held: list[Any] = []
    for piece in source.pieces:
        last = (piece.first + piece.n_rows - 1) // n_rows
        if not any(number in wanted for number in range(piece.first // n_rows, last + 1)):
            continue
        for first, block in source.placed(piece):
            done = 0
            while done < len(block):
                number = (first + done) // n_rows
                stop = min((number + 1) * n_rows - first, len(block))
                if number in wanted:
                    rows = np.arange(done, stop)
                    held.append(block if len(rows) == len(block) else source.take(block, rows))
                    if first + stop == min((number + 1) * n_rows, source.n_rows):
                        yield number, make(held)
                        held = []
                done = stop
