"""The blocks of a source in random order, several pieces open at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .source import Piece, Source

# Rows of so many pieces come mixed; of each, the memory of a few pages is held.
OPEN_PIECES = 8


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
    opened: list[Iterator[tuple[int, Any]]] = []
    while waiting or opened:
        while waiting and len(opened) < OPEN_PIECES:
            opened.append(_placed(source, waiting.pop()))
        chosen = int(generator.integers(len(opened)))
        block = next(opened[chosen], None)
        if block is None:
            del opened[chosen]
        else:
            yield block


def _placed(source: Source, piece: Piece) -> Iterator[tuple[int, Any]]:
    first = piece.first
    for block in source.read(piece):
        yield first, block
        first += len(block)
