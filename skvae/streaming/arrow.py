"""Sources that pyarrow reads: Parquet files, datasets and tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
except ImportError as error:  # pragma: no cover - pyarrow is there where tests run
    raise ImportError(
        "Reading Parquet files and Arrow tables needs pyarrow: pip install 'skvae[parquet]'."
    ) from error

from ..table.arrow import frame_of, plain_schema
from ..table.fingerprint import fingerprint
from ..table.refusals import refuse_duplicates
from .source import Extreme, Piece, Source

# What pandas writes for an index without a name.
INDEX = "__index_level_"


class ArrowSource(Source):
    """Rows in record batches.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns and their types as stored.
    pieces : list of Piece
    """

    def __init__(self, schema: pa.Schema, pieces: list[Piece]):
        kept = [field for field in schema if not field.name.startswith(INDEX)]
        refuse_duplicates([field.name for field in kept])
        self.schema = plain_schema(pa.schema(kept))
        super().__init__(list(self.schema.names), pieces)
        if not self.n_rows:
            raise ValueError("Expected a table of at least one row, got one of none.")

    def batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """Yield a piece as stored."""
        raise NotImplementedError

    def read(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        for batch in self.batches(piece):
            if batch.num_rows:
                yield batch.select(self.names).cast(self.schema)

    def take(self, block: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
        return block.take(pa.array(rows))

    def table(self, blocks: Sequence[pa.RecordBatch]) -> Any:
        return frame_of(blocks, self.schema)

    def contents(self) -> Any:
        return [fingerprint(self.table([block])) for _, block in self.blocks()]

    def extremes(self, block: pa.RecordBatch, known: Mapping[Any, float]) -> Iterator[Extreme]:
        for name, column in zip(block.schema.names, block.columns):
            if (name, "missing") not in known:
                # Not all who write files tell what is no number from what is not there.
                place = pc.index(column.is_null(nan_is_null=True), True).as_py()
                if place >= 0:
                    yield Extreme((name, "missing"), 0.0, place)
            yield from (_ends if _has_order(column.type) else _levels)(name, column, known)


class TableSource(ArrowSource):
    """A ``pyarrow.Table``.

    Parameters
    ----------
    table : pyarrow.Table
    """

    def __init__(self, table: pa.Table):
        self.arrow = table
        rows = Source(list(table.schema.names), []).block_rows
        starts = range(0, table.num_rows, rows)
        pieces = [Piece(s, min(rows, table.num_rows - s), s) for s in starts]
        super().__init__(table.schema, pieces)

    def batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        yield from self.arrow.slice(piece.first, piece.n_rows).combine_chunks().to_batches()

    def select(self, names: Sequence[str]) -> Source:
        return TableSource(self.arrow.select(list(names)))


class DatasetSource(ArrowSource):
    """A ``pyarrow.dataset.Dataset``; a row group of a Parquet file is a piece.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    names : list of str or None
        Columns; None for all.
    """

    def __init__(self, dataset: ds.Dataset, names: Sequence[str] | None = None):
        self.dataset = dataset
        schema = dataset.schema
        if names is not None:
            schema = pa.schema([schema.field(name) for name in names])
        super().__init__(schema, list(_pieces(dataset)))
        self._versions = self._versions_of(sorted(getattr(dataset, "files", ())))

    def __getstate__(self) -> dict[str, Any]:
        # Another machine may have files of its own at the same paths.
        return {**self.__dict__, "_versions": {}}

    def batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        self._check_version(getattr(piece.content, "path", None))
        # Read as it is needed, and by the thread that asks: memory stays flat.
        options: dict[str, Any] = {}
        if isinstance(piece.content, ds.ParquetFileFragment):
            options["fragment_scan_options"] = ds.ParquetFragmentScanOptions(
                use_buffered_stream=True, pre_buffer=False
            )
        yield from piece.content.to_batches(
            schema=self.dataset.schema, columns=self.names, batch_size=self.block_rows,
            batch_readahead=0, fragment_readahead=0, use_threads=False, **options,
        )  # fmt: skip

    def select(self, names: Sequence[str]) -> Source:
        return DatasetSource(self.dataset, names)

    def contents(self) -> Any:
        paths = sorted(getattr(self.dataset, "files", ()))
        if not paths:  # In memory.
            return super().contents()
        return self._versions_of(paths)

    def _versions_of(self, paths: list[str]) -> dict[str, tuple]:
        """Size and time of files."""
        files = self.dataset.filesystem.get_file_info(paths) if paths else []
        return {file.path: (file.size, file.mtime_ns) for file in files}

    def _check_version(self, path: str | None) -> None:
        if path is None:  # In memory.
            return
        found = self._versions_of([path])[path]
        if self._versions.setdefault(path, found) != found:
            raise RuntimeError(
                f"The file {path!r} has been written to since the source was opened. Open it "
                "anew, and let nobody write to files that are trained on."
            )


def source_at(path) -> Source:
    """The source of the Parquet files at a path."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"Expected a Parquet file or a folder of them, but there is nothing at {path!r}. A "
            "table elsewhere than on a disk comes as a pyarrow.dataset.Dataset."
        )
    try:
        return DatasetSource(ds.dataset(path, format="parquet", partitioning="hive"))
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"Expected a Parquet file or a folder of them at {path!r}, which pyarrow cannot "
            f"read as such: {error}"
        ) from error


def _pieces(dataset: ds.Dataset) -> Iterator[Piece]:
    first = 0
    for fragment in dataset.get_fragments():
        for part, n_rows in _parts(fragment):
            if n_rows:
                yield Piece(first, n_rows, part)
                first += n_rows


def _parts(fragment: ds.Fragment) -> Iterator[tuple[ds.Fragment, int]]:
    if not isinstance(fragment, ds.ParquetFileFragment):
        yield fragment, fragment.count_rows()
        return
    for part in fragment.split_by_row_group():
        # What count_rows of a row group gives are the rows of the whole file.
        yield part, sum(group.num_rows for group in part.row_groups)


def _has_order(kind: pa.DataType) -> bool:
    return not (pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _ends(name: str, column: pa.Array, known: Mapping[Any, float]) -> Iterator[Extreme]:
    ends = pc.min_max(column)
    for end, sign in (("min", -1.0), ("max", 1.0)):
        value, key = ends[end], (name, sign)
        number = value.value if isinstance(value, pa.TimestampScalar) else value.as_py()
        if number is None or not sign * float(number) > known.get(key, -np.inf):
            continue
        yield Extreme(key, sign * float(number), pc.index(column, value).as_py())


def _levels(name: str, column: pa.Array, known: Mapping[Any, float]) -> Iterator[Extreme]:
    values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    for level in values.unique().drop_null():
        key = (name, "level", level.as_py())
        if key not in known:
            yield Extreme(key, 0.0, pc.index(values, level).as_py())
