"""Training rows in shuffled chunks, read while the last ones are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .prefetch import ahead
from .shuffling import shuffled
from .source import Piece, Source

# Rows are mixed within chunks of so many, or of as many as have this many cells.
CHUNK_ROWS = 1 << 17
CHUNK_CELLS = 1 << 22


class Stream:
    """The rows of a source that are trained on, epoch by epoch in another order.

    Parameters
    ----------
    source : Source
    encode : callable
        Makes what is trained on of a table and the weights of its rows, or None.
    left_out : ndarray of int
        Places of rows that are not trained on, in ascending order.
    sample_weight : ndarray of shape (n_rows,) or None
        Weights of all rows of the source, with mean 1.
    seed : int
        Of the order.
    pieces : list of Piece, optional
        Those to read; all, if not given.
    """

    def __init__(
        self,
        source: Source,
        encode: Callable[[Any, np.ndarray | None], Any],
        left_out: np.ndarray,
        sample_weight: np.ndarray | None = None,
        seed: int = 0,
        pieces: Sequence[Piece] | None = None,
    ):
        self.source, self.encode = source, encode
        self.left_out, self.sample_weight, self.seed = left_out, sample_weight, seed
        self.pieces = source.pieces if pieces is None else list(pieces)
        bounds = np.array([(p.first, p.first + p.n_rows) for p in self.pieces]).reshape(-1, 2)
        without = np.diff(np.searchsorted(left_out, bounds), axis=1)
        self.n_rows = int((bounds[:, 1] - bounds[:, 0]).sum() - without.sum())

    @property
    def chunk_rows(self) -> int:
        """How many rows are mixed at once, about."""
        return self.source.at_once(CHUNK_ROWS, CHUNK_CELLS)

    def lanes(self, n: int) -> list[Stream]:
        """Cut the stream into ``n`` streams of whole pieces, of as equal length as these allow.

        Raises
        ------
        ValueError
            If there are fewer pieces than lanes.
        """
        if len(self.pieces) < n:
            raise ValueError(
                f"Expected {n} or more pieces to make as many shards of, got {len(self.pieces)}. "
                "Write the Parquet files with smaller row groups, or lower n_shards."
            )
        parts: list[list[Piece]] = [[] for _ in range(n)]
        n_rows = np.zeros(n, dtype=np.int64)
        for piece in sorted(self.pieces, key=lambda piece: -piece.n_rows):
            shortest = int(n_rows.argmin())
            parts[shortest].append(piece)
            n_rows[shortest] += piece.n_rows
        how = self.left_out, self.sample_weight, self.seed
        return [Stream(self.source, self.encode, *how, sorted(part)) for part in parts]

    def chunks(self, epoch: int, sizes: Sequence[int]) -> Iterator[tuple[Any, list[int]]]:
        """Yield rows as ``encode`` makes them, each with the sizes of its batches.

        Parameters
        ----------
        epoch : int
            The order is that of the epoch, whoever asks.
        sizes : list of int
            Rows of all batches of the epoch.
        """
        generator = np.random.default_rng([self.seed, epoch])
        # A thread reads; it would only be in the way of training if it encoded, too.
        for chosen, group in ahead(self._read(generator, self._groups(sizes))):
            yield self._encoded(chosen), group

    def _groups(self, sizes: Sequence[int]) -> list[list[int]]:
        at_once = max(self.chunk_rows // max(max(sizes), 1), 1)
        return [list(sizes[k : k + at_once]) for k in range(0, len(sizes), at_once)]

    def _read(self, generator, groups) -> Iterator[tuple[list, list[int]]]:
        blocks = self._kept(shuffled(self.source, self.pieces, generator))
        held: list[tuple[np.ndarray, Any]] = []
        for group in groups:
            needed = sum(group)
            while sum(len(places) for places, _ in held) < needed:
                held.append(next(blocks))
            chosen, held = _cut(held, needed, self.source)
            yield chosen, group

    def _encoded(self, chosen: list[tuple[np.ndarray, Any]]) -> Any:
        weights = None
        if self.sample_weight is not None:
            weights = self.sample_weight[np.concatenate([places for places, _ in chosen])]
        return self.encode(self.source.table([block for _, block in chosen]), weights)

    def _kept(self, blocks) -> Iterator[tuple[np.ndarray, Any]]:
        """Blocks without the rows that are left out, with the places of the others."""
        for first, block in blocks:
            places = np.arange(first, first + len(block))
            start, stop = np.searchsorted(self.left_out, (first, first + len(block)))
            if stop > start:
                kept = np.ones(len(block), dtype=bool)
                kept[self.left_out[start:stop] - first] = False
                places = places[kept]
                block = self.source.take(block, places - first)
            if len(places):
                yield places, block


def _cut(held, n_rows: int, source: Source):
    """The first so many rows of some blocks, and the rest of them."""
    chosen: list[tuple[np.ndarray, Any]] = []
    for number, (places, block) in enumerate(held):
        if n_rows <= len(places):
            rest = held[number + 1 :]
            if n_rows < len(places):
                later = np.arange(n_rows, len(places))
                rest = [(places[n_rows:], source.take(block, later)), *rest]
                block = source.take(block, np.arange(n_rows))
            return [*chosen, (places[:n_rows], block)], rest
        chosen.append((places, block))
        n_rows -= len(places)
    return chosen, []
