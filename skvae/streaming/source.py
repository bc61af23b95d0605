"""Where rows come from: files, datasets, tables and mapped arrays, read block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from joblib import hash as joblib_hash

# Rows of a block, unless they are so wide that this many cells are fewer.
BLOCK_ROWS = 8192
BLOCK_CELLS = 1 << 19


class Piece(NamedTuple):
    """Rows that are read one after the other: a row group of a file, a slice of an array.

    Parameters
    ----------
    first : int
        Place of its first row in the whole table.
    n_rows : int
    content : object
        What the source reads it from.
    """

    first: int
    n_rows: int
    content: Any


class Extreme(NamedTuple):
    """A row that shows what a column can hold.

    Parameters
    ----------
    key : object
        Column and what of it: its smallest or largest number, a category, a missing cell.
    rank : float
        Of equal keys the highest counts.
    place : int
        Place of the row in its block.
    """

    key: Any
    rank: float
    place: int


class Source:
    """A table that is read block by block.

    Parameters
    ----------
    names : list of str or None
        Columns; None for those of an array.
    pieces : list of Piece
        In the order of the table.
    """

    def __init__(self, names: list[str] | None, pieces: list[Piece]):
        self.names = names
        self.pieces = pieces
        self.n_rows = sum(piece.n_rows for piece in pieces)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.names or ())

    @property
    def block_rows(self) -> int:
        """How many rows a block has at most."""
        return self.at_once(BLOCK_ROWS, BLOCK_CELLS)

    def at_once(self, n_rows: int, n_cells: int) -> int:
        """So many rows, or as many as have so many cells where these are fewer; one at least."""
        return max(min(n_rows, n_cells // max(self.n_columns, 1)), 1)

    def read(self, piece: Piece) -> Iterator[Any]:
        """Yield the blocks of a piece, in the order of its rows."""
        raise NotImplementedError

    def take(self, block: Any, rows: np.ndarray) -> Any:
        """The block of these rows of a block."""
        raise NotImplementedError

    def table(self, blocks: Sequence[Any]) -> Any:
        """Blocks as one table that an estimator takes: a frame or an array."""
        raise NotImplementedError

    def extremes(self, block: Any, known: Mapping[Any, float]) -> Iterator[Extreme]:
        """Yield what a codec must see of a block beside what is known.

        Of equal keys the row of the highest rank is the one to keep; ``known`` holds the
        ranks so far.
        """
        raise NotImplementedError

    def select(self, names: Sequence[str]) -> Source:
        """The source of these columns."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """What tells this table from another, or from itself after a change."""
        shape = [(piece.first, piece.n_rows) for piece in self.pieces]
        return joblib_hash((self.names, shape, self.contents()))

    def contents(self) -> Any:
        """What a fingerprint is made of beside names and sizes."""
        raise NotImplementedError

    def placed(self, piece: Piece) -> Iterator[tuple[int, Any]]:
        """Yield the place of the first row of each block of a piece, and the block.

        Raises
        ------
        RuntimeError
            If the piece has not as many rows as it had when the source was opened.
        """
        first = piece.first
        for block in self.read(piece):
            yield first, block
            first += len(block)
        if first != piece.first + piece.n_rows:
            raise RuntimeError(
                f"Expected {piece.n_rows} rows from row {piece.first} on, got "
                f"{first - piece.first}: the source has changed since it was opened. Open it anew."
            )

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """Yield the place of the first row of each block, and the block, in order."""
        for piece in self.pieces:
            yield from self.placed(piece)

    def tables(self, n_rows: int) -> Iterator[Any]:
        """Yield the whole, so many rows at a time, in order."""
        held, count = [], 0
        for _, block in self.blocks():
            held.append(block)
            count += len(block)
            if count >= n_rows:
                yield self.table(held)
                held, count = [], 0
        if held:
            yield self.table(held)

    def whole(self) -> Any:
        """The whole table."""
        return self.table([block for _, block in self.blocks()])


class ArraySource(Source):
    """A two-dimensional array of numbers, as one that a file is mapped to.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    """

    def __init__(self, X: np.ndarray):
        self.X = X
        starts = range(0, len(X), self.block_rows)
        sizes = (min(self.block_rows, len(X) - start) for start in starts)
        super().__init__(None, [Piece(s, n, s) for s, n in zip(starts, sizes)])

    @property
    def n_columns(self) -> int:
        return self.X.shape[1]

    def __reduce__(self):
        # Another process maps the file itself.
        X: Any = self.X
        # What rows were taken of is the base of their array.
        root: Any = X.base if isinstance(X.base, np.memmap) else X
        is_mapped = isinstance(root, np.memmap) and isinstance(root.base, mmap)
        if not is_mapped or not (X.flags.c_contiguous or X.flags.f_contiguous):
            return type(self), (np.asarray(X),)
        offset = root.offset + X.ctypes.data - root.ctypes.data
        return _mapped, (X.filename, X.dtype, "r", offset, X.shape, "F" if X.flags.fnc else "C")

    def read(self, piece: Piece) -> Iterator[np.ndarray]:
        yield np.array(self.X[piece.first : piece.first + piece.n_rows])

    def take(self, block: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return block[rows]

    def table(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_columns), self.X.dtype)

    def extremes(self, block: np.ndarray, known: Mapping[Any, float]) -> Iterator[Extreme]:
        missing = np.isnan(block) if block.dtype.kind == "f" else np.zeros(block.shape, bool)
        for sign in (1.0, -1.0):
            ranks = np.where(missing, -np.inf, sign * block.astype(np.float64))
            for column, place in enumerate(ranks.argmax(0)):
                rank = ranks[place, column]
                if rank > known.get((column, sign), -np.inf):
                    yield Extreme((column, sign), rank, int(place))
        for column in np.flatnonzero(missing.any(0)).tolist():
            if (column, "missing") not in known:
                yield Extreme((column, "missing"), 0.0, int(missing[:, column].argmax()))

    def select(self, names: Sequence[str]) -> Source:
        return self

    def contents(self) -> Any:
        X = self.X
        some = np.asarray(X[:: len(X) // 64 + 1])
        # Other rows may have been written to since.
        file = getattr(X, "filename", None)
        changed = os.stat(file).st_mtime_ns if file and os.path.exists(file) else None
        return X.shape, X.dtype.str, joblib_hash(some), changed


def _mapped(*file) -> ArraySource:
    return ArraySource(np.memmap(*file))


def source_of(X: Any) -> Source | None:
    """The source that ``X`` stands for, or None where it is a table in memory.

    Parameters
    ----------
    X : object
        A path of a Parquet file or of a folder of them, a ``pyarrow.dataset.Dataset``, a
        ``pyarrow.Table``, a ``numpy.memmap`` or a `Source`.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If a column is of a type that no model takes, or there is no row.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, np.memmap):
        return ArraySource(X) if X.ndim == 2 and X.dtype.kind in "fiub" and len(X) else None
    if isinstance(X, (str, os.PathLike)):
        return _arrow().source_at(X)
    if type(X).__module__.split(".")[0] != "pyarrow":
        return None
    kinds = {base.__name__ for base in type(X).__mro__}
    if "Dataset" in kinds:
        return _arrow().DatasetSource(X)
    return _arrow().TableSource(X) if "Table" in kinds else None


def _arrow():
    from . import arrow

    return arrow
