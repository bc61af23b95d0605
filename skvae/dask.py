"""Fitted estimators applied to tables of Dask, partition by partition."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
from joblib import hash as joblib_hash
from sklearn.utils.validation import check_is_fitted

try:
    import dask
    import dask.array as da
    import dask.dataframe as dd
except ImportError as error:  # pragma: no cover - Dask is there where tests run
    raise ImportError("skvae.dask needs Dask: pip install 'skvae[dask]'.") from error

from .io import column_names


def map_partitions(estimator, table, method="score_samples", *, meta=None, **kwargs):
    """Apply a method of a fitted estimator to each partition of a table.

    Nothing is read before the result is asked for.  Rows do not know of one another, so that
    the result has the bits of one call on the whole table, however this is cut.

    Parameters
    ----------
    estimator : estimator
        Fitted; each process of a cluster is sent it once.
    table : dask.dataframe.DataFrame, dask.array.Array or path
        Rows; a path is that of a Parquet file or of a folder of them.
    method : str, default="score_samples"
        That of the estimator, which takes a table and gives a value or more per row.
    meta : DataFrame or Series, default=None
        What comes out, without rows.  None tries the method on one row of missing cells, and
        where it takes none, on the first row of the table, which is read for that.
    **kwargs : dict
        Passed to the method.

    Returns
    -------
    result : dask.dataframe.DataFrame, dask.dataframe.Series or dask.array.Array
        A value per row as a series of the name of the method, more of them as a frame; arrays
        for an array.  Frames and series have the index of the table.

    Raises
    ------
    AttributeError
        If the estimator has no such method.
    TypeError
        If the table is none of Dask, or the method gives no value per row.
    ImportError
        If Dask is not installed.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.dask import map_partitions
    >>> X, _ = load_iris(return_X_y=True, as_frame=True)
    >>> vae = VAETransformer(2, max_iter=3, random_state=0).fit(X)
    >>> scores = map_partitions(vae, dd.from_pandas(X, npartitions=3))
    >>> scores.name, scores.npartitions
    ('score_samples', 3)
    >>> bool((scores.compute() == vae.score_samples(X)).all())
    True

    References
    ----------
    Rocklin, Dask: Parallel Computation with Blocked Algorithms and Task Scheduling, 2015.
    """
    check_is_fitted(estimator)
    if not callable(getattr(estimator, method, None)):
        raise AttributeError(f"{type(estimator).__name__} has no method {method!r}.")
    if isinstance(table, (str, os.PathLike)):
        table = dd.read_parquet(os.fspath(table))
    call = _Call(method, kwargs, getattr(estimator, "feature_names_in_", None))
    # One task of the graph, which partitions ask for; fitted anew it is another.
    shared = dask.delayed(estimator, name=f"{type(estimator).__name__}-{joblib_hash(estimator)}")
    if isinstance(table, da.Array):
        return _of_array(estimator, shared, table, call)
    if not isinstance(table, dd.DataFrame):
        raise TypeError(
            "skvae.dask.map_partitions expects a DataFrame or an Array of Dask, or the path of "
            f"Parquet files, got {type(table).__name__}. Of other tables, call the method itself."
        )
    if call.names is not None and set(call.names) <= set(table.columns):
        table = table[list(call.names)]
    if meta is None:
        meta = _meta(estimator, table, call)
    return table.map_partitions(call.framed, shared, meta, meta=meta)


class _Call:
    """A call of a method, as workers make it.

    Parameters
    ----------
    method : str
    kwargs : dict
    names : array of str or None
        Columns that the estimator was fitted to.
    """

    def __init__(self, method: str, kwargs: dict[str, Any], names):
        self.method, self.kwargs, self.names = method, kwargs, names

    def __call__(self, estimator, rows) -> Any:
        found = getattr(estimator, self.method)(rows, **self.kwargs)
        if hasattr(found, "to_pandas"):
            found = found.to_pandas()
        if not hasattr(found, "shape") or found.ndim > 2 or len(found) != len(rows):
            raise TypeError(
                f"{type(estimator).__name__}.{self.method} gave {type(found).__name__} for "
                f"{len(rows)} rows; skvae.dask.map_partitions expects an array or a frame with "
                "a row for each."
            )
        return found

    def framed(self, rows: pd.DataFrame, estimator, meta) -> Any:
        """The result of a partition as a frame or a series, with the index of its rows."""
        if not len(rows):
            return meta
        found = self(estimator, rows)
        if isinstance(found, (pd.DataFrame, pd.Series)):
            return found.set_axis(rows.index, axis=0)
        if found.ndim == 1:
            return pd.Series(found, rows.index, name=self.method)
        names = column_names(estimator, self.method, found.shape[1])
        return pd.DataFrame(found, rows.index, names)

    def array(self, rows: np.ndarray, estimator) -> np.ndarray:
        """The result of a block as an array."""
        return np.asarray(self(estimator, rows))


def _meta(estimator, table: dd.DataFrame, call: _Call) -> Any:
    empty = table._meta
    try:
        return call.framed(_missing_row(empty), estimator, None).iloc[:0].set_axis(empty.index)
    except Exception:  # What a method has against missing cells may be any error.
        return call.framed(table.head(1, npartitions=-1), estimator, None).iloc[:0]


def _missing_row(empty: pd.DataFrame) -> pd.DataFrame:
    """One row of these columns, missing where their dtypes can say so."""
    return pd.DataFrame(
        {
            name: pd.Series([0], dtype=dtype)
            if isinstance(dtype, np.dtype) and dtype.kind in "iub"
            else pd.Series([None], dtype=dtype)
            for name, dtype in empty.dtypes.items()
        }
    ).set_axis(empty.columns, axis=1)


def _of_array(estimator, shared, table: da.Array, call: _Call) -> da.Array:
    if table.ndim != 2:
        raise TypeError(
            f"skvae.dask.map_partitions expects an array of rows and columns, got {table.ndim} "
            "dimension(s). Use table.reshape(-1, 1) or table.reshape(1, -1)."
        )
    table = table.rechunk({1: -1})
    like = call.array(np.zeros((1, table.shape[1]), table.dtype), estimator)
    shape: dict[str, Any] = {"drop_axis": 1}
    if like.ndim == 2:
        shape = {"chunks": (table.chunks[0], (like.shape[1],))}
    return da.map_blocks(call.array, table, shared, dtype=like.dtype, meta=like[:0], **shape)
