"""The blocks of a source in random order, several pieces open at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .source import Piece, Source

# Rows of so many pieces come mixed, or of as many as have this many cells: a row group of a file
# is in memory while it is read.
OPEN_PIECES = 8
OPEN_CELLS = 1 << 24


def shuffled(
    source: Source, pieces: Sequence[Piece], generator: np.random.Generator
) -> Iterator[tuple[int, Any]]:
    """Yield the place of the first row of each block, and the block.

    Pieces are opened in random order, and the next block comes from one of those that are
    open: rows of files that are sorted, as by date, are far apart in training.

    Parameters
    ----------
    source : Source
    pieces : list of Piece
        Which to read.
    generator : numpy.random.Generator
    """
    waiting = [pieces[i] for i in generator.permutation(len(pieces))][::-1]
    rows = max((piece.n_rows for piece in pieces), default=1)
    at_once = min(max(OPEN_CELLS // max(rows * source.n_columns, 1), 1), OPEN_PIECES)
    opened: list[Iterator[tuple[int, Any]]] = []
    while waiting or opened:
        while waiting and len(opened) < at_once:
            opened.append(source.placed(waiting.pop()))
        chosen = int(generator.integers(len(opened)))
        block = next(opened[chosen], None)
        if block is None:
            del opened[chosen]
        else:
            yield block
