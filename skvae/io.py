"""From files to files: what an estimator gives of tables that are larger than memory."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from joblib import hash as joblib_hash
from sklearn.utils import check_random_state

from ._arguments import check_count
from ._files import FolderLock, replacing, sync_folder
from ._progress import RowsProgress
from ._version import __version__
from .streaming import Source, source_of
from .streaming.prefetch import ahead
from .streaming.ranges import ranges_of
from .table.frames import container_of

__all__ = ["open_source", "transform_parquet"]

ROWS_PER_PART = 1 << 17
MANIFEST = "_manifest.json"


def open_source(X, columns: Sequence[str] | None = None) -> Source:
    """Rows to be read block by block, wherever an estimator takes a table.

    Parameters
    ----------
    X : path, pyarrow.dataset.Dataset, pyarrow.Table or numpy.memmap
        Parquet file or folder of them, or what has been opened.
    columns : list of str, default=None
        Those to read; None for all.

    Returns
    -------
    source : Source
        With ``n_rows`` and ``names``.

    Raises
    ------
    TypeError
        If ``X`` is none of these.
    ValueError
        If it has no such column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from skvae.io import open_source
    >>> source = open_source(pa.table({"id": [7, 8], "size": [1.5, 2.0]}), columns=["size"])
    >>> source.n_rows, source.names
    (2, ['size'])
    """
    source = source_of(X)
    if source is None:
        raise TypeError(
            "open_source expected a path of Parquet files, a pyarrow dataset or table, or a "
            f"numpy.memmap, got {type(X).__name__}. A table in memory needs no source."
        )
    if columns is None:
        return source
    unknown = [name for name in columns if name not in (source.names or ())]
    if unknown:
        raise ValueError(f"open_source: there is no column {unknown} among {source.names}.")
    return source.select(list(columns))


def transform_parquet(
    estimator,
    source,
    target,
    *,
    method="transform",
    keep: str | Sequence[str] = (),
    rows_per_part: int = ROWS_PER_PART,
    overwrite: bool = False,
    verbose: int = 0,
    **arguments,
) -> Path:
    """Apply a method of a fitted estimator to a table of any length, and write what it gives.

    The rows stay in order.  What is done is kept beside ``target``, in a folder that ends in
    ``.parts``, until all of it is there: called again after a crash, the function goes on.
    Nobody sees a part of the result under the name of the whole.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted.
    source : path, pyarrow.dataset.Dataset, pyarrow.Table, numpy.memmap or Source
        Rows; of a file that has more columns, those that the estimator knows are read.
    target : path
        A file where it ends in ``.parquet``, else a folder of such files.
    method : str, default="transform"
        A method that gives one row per row: ``"score_samples"``, ``"predict"``, ...
    keep : str or list of str, default=()
        Columns of the source that are written along, such as an identifier.
    rows_per_part : int, default=131072
        Rows that are worked on at once, and lost at most when it is interrupted.
    overwrite : bool, default=False
        Whether a ``target`` that is there is replaced, at the end.
    verbose : int, default=0
        1 shows a progress bar.
    **arguments
        For the method.

    Returns
    -------
    target : Path

    Raises
    ------
    FileExistsError
        If ``target`` is there, or parts of another call are.
    RuntimeError
        If another process writes them, or the source changes meanwhile.
    ValueError
        If there is no such method or column, or the method gives no row per row.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.io import transform_parquet
    >>> X = load_wine(as_frame=True).data
    >>> vae = VAETransformer(n_components=2, max_iter=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows, scores = (os.path.join(folder, name) for name in ("X.parquet", "s.parquet"))
    ...     pq.write_table(pa.Table.from_pandas(X), rows)
    ...     path = transform_parquet(vae, rows, scores, method="score_samples", keep=["hue"])
    ...     pq.read_table(path).shape
    (178, 2)
    """
    columns = [keep] if isinstance(keep, str) else list(keep)
    return _Writing(
        estimator, source, Path(target), method, columns, rows_per_part, arguments
    ).run(overwrite, verbose)


def column_names(estimator, method: str, n_columns: int) -> list[str]:
    """Names of the columns of an array that a method gives."""
    if method == "transform" and hasattr(estimator, "get_feature_names_out"):
        return list(estimator.get_feature_names_out())
    return [f"{method}{j}" for j in range(n_columns)]


class _Writing:
    def __init__(self, estimator, source, target, method, keep, rows_per_part, arguments):
        if not hasattr(estimator, method):
            raise ValueError(
                f"transform_parquet: {type(estimator).__name__} has no method {method!r}."
            )
        self.apply = getattr(estimator, method)
        self.rows_per_part = check_count("transform_parquet", "rows_per_part", rows_per_part)
        found = open_source(source)
        known = getattr(estimator, "feature_names_in_", None)
        self.features = found.names if known is None or found.names is None else list(known)
        features = self.features or []
        unknown = sorted({*keep, *features} - set(found.names or ()))
        if unknown:
            raise ValueError(
                f"transform_parquet: the source has no column {unknown}; it has {found.names}."
            )
        both = [*features, *(name for name in keep if name not in features)]
        self.source = found if found.names is None else found.select(both)
        self.target, self.method, self.keep, self.arguments = target, method, keep, arguments
        self.is_file = target.suffix == ".parquet"
        self.folder = target.with_name(target.name + ".parts")
        self.estimator = estimator
        # Each part draws for itself, so that draws are the same after a crash.
        self.seed = None
        if "random_state" in inspect.signature(self.apply).parameters:
            given = arguments.get("random_state")
            given = getattr(estimator, "random_state", None) if given is None else given
            self.seed = check_random_state(given).randint(np.iinfo(np.int32).max)
        self.manifest = {
            "skvae": __version__,
            "estimator": joblib_hash(estimator),
            "source": self.source.fingerprint(),
            "method": method,
            "keep": keep,
            "rows_per_part": self.rows_per_part,
            "arguments": joblib_hash(arguments),
        }

    def run(self, overwrite: bool, verbose: int) -> Path:
        if self.target.exists() and not overwrite:
            raise FileExistsError(
                f"transform_parquet: {str(self.target)!r} is there. Choose another target, or "
                "set overwrite=True."
            )
        if self.target.exists() and self.target.is_file() != self.is_file:
            there, wanted = ("file", "folder") if self.target.is_file() else ("folder", "file")
            raise FileExistsError(
                f"transform_parquet: {str(self.target)!r} is a {there}, and a {wanted} is to take "
                "its place. Remove it, or choose another target; one that ends in .parquet is a "
                "file."
            )
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        lock = FolderLock(self.folder)
        if not lock.acquire():
            raise RuntimeError(
                f"transform_parquet: another process works in {str(self.folder)!r}. Wait for it, "
                "or choose another target."
            )
        try:
            self._check_manifest()
            self._write_parts(verbose)
            self._check_source()
            self._hand_over()
        finally:
            lock.release()
        return self.target

    def _check_manifest(self) -> None:
        path = self.folder / MANIFEST
        # Of a call that failed before its first part nothing is left to be mixed up.
        if path.exists() and any(self.folder.glob("part-*.parquet")):
            there = json.loads(path.read_text(encoding="utf-8"))
            different = [name for name, value in self.manifest.items() if there.get(name) != value]
            if different:
                raise FileExistsError(
                    f"transform_parquet: {str(self.folder)!r} holds parts of a call with another "
                    f"{', '.join(different)}. Remove the folder, or choose another target."
                )
            return
        with replacing(path) as file:
            file.write(json.dumps(self.manifest, indent=1).encode())

    def _check_source(self) -> None:
        if self.source.fingerprint() != self.manifest["source"]:
            raise RuntimeError(
                "transform_parquet: the source has changed while it was read. Remove "
                f"{str(self.folder)!r}, and call again."
            )

    def _write_parts(self, verbose: int) -> None:
        import pyarrow.parquet as pq

        n_parts = -(-self.source.n_rows // self.rows_per_part)
        waiting = [k for k in range(n_parts) if not self._path(k).exists()]
        progress = RowsProgress(f"{self.method} of rows", self.source.n_rows, verbose)
        progress.advance((n_parts - len(waiting)) * self.rows_per_part)
        ranges = ranges_of(self.source, self.rows_per_part, waiting, self._read)
        with progress, closing(ahead(ranges)) as tables:
            for number, (table, kept) in tables:
                result = self._result(number, table, kept)
                with replacing(self._path(number)) as file:
                    pq.write_table(result, file)
                progress.advance(result.num_rows)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _read(self, blocks) -> tuple[Any, dict[str, Any]]:
        """A part of the source, and of it the columns to keep, of the types that they have."""
        kept: dict[str, Any] = {}
        if self.keep:
            import pyarrow as pa

            table = pa.Table.from_batches([block.select(self.keep) for block in blocks])
            kept = dict(zip(self.keep, table.unify_dictionaries().columns))
        return self.source.table(blocks), kept

    def _result(self, number: int, table, kept: dict[str, Any]):
        import pyarrow as pa

        arguments = dict(self.arguments)
        if self.seed is not None:
            arguments["random_state"] = np.random.RandomState([self.seed, number])
        features = table if self.features is None else table[self.features]
        columns = dict(self._columns(self.apply(features, **arguments), len(table)))
        clash = [name for name in kept if name in columns]
        if clash:
            raise ValueError(
                f"transform_parquet: {self.method} gives columns named as {clash} in keep. Leave "
                "them out of keep."
            )
        return pa.table(kept | columns)

    def _columns(self, result, n_rows: int) -> Iterator[tuple[str, Any]]:
        is_frame = container_of(result) != "numpy"
        is_table = is_frame or (isinstance(result, np.ndarray) and 1 <= result.ndim <= 2)
        if not is_table or len(result) != n_rows:
            raise ValueError(
                f"transform_parquet expected {self.method} of {type(self.estimator).__name__} to "
                f"give one row per row in one table, got {type(result).__name__}."
            )
        if is_frame:
            yield from ((str(name), result[name]) for name in result.columns)
            return
        if result.ndim == 1:
            yield self.method, result
            return
        names = column_names(self.estimator, self.method, result.shape[1])
        yield from zip(names, np.ascontiguousarray(result.T))

    def _hand_over(self) -> None:
        """Give the parts the name of the whole."""
        if self.is_file:
            self._join()
            shutil.rmtree(self.folder)
            return
        if self.target.exists():
            shutil.rmtree(self.target)
        os.rename(self.folder, self.target)
        # Not before: without it nobody knows what the parts are of.
        (self.target / MANIFEST).unlink()
        sync_folder(self.target.parent)

    def _join(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        paths = sorted(self.folder.glob("part-*.parquet"))
        # Integers come as floats in parts where some are missing.
        schema = pa.unify_schemas(map(pq.read_schema, paths), promote_options="permissive")
        with replacing(self.target) as file, pq.ParquetWriter(file, schema) as writer:
            for path in paths:
                writer.write_table(pq.read_table(path).cast(schema))
