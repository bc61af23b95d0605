"""Tables as the inputs of a graph."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def feeds(session: Any, X: Any) -> dict[str, np.ndarray]:
    """A table as what a session of onnxruntime reads; it needs no torch.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of a graph by ``to_onnx``.
    X : array-like or DataFrame of shape (n_rows, n_features)
        Rows, with the columns of ``fit``; missing cells as in ``fit``.

    Returns
    -------
    feeds : dict of str to ndarray
        An array for each input of the graph.

    Raises
    ------
    ValueError
        If a column of the graph is not in the table, or holds strings where numbers should be.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skvae import VAETransformer
    >>> from skvae.export import feeds, to_onnx
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> vae = VAETransformer(1, max_iter=2, random_state=0).fit(X)
    >>> session = onnxruntime.InferenceSession(to_onnx(vae).SerializeToString())
    >>> feeds(session, X)["X"].shape
    (50, 3)
    """
    inputs = {node.name: node.type for node in session.get_inputs()}
    if list(inputs) == ["X"] and not hasattr(X, "columns"):
        return {"X": np.asarray(X, dtype=TYPES[inputs["X"]])}
    table = X if hasattr(X, "columns") else pd.DataFrame(X)
    frame = pd.DataFrame({str(name): table[name] for name in table.columns})
    properties = session.get_modelmeta().custom_metadata_map
    missing = json.loads(properties.get("missing_text", "{}"))
    if list(inputs) == ["X"]:
        names = frame.columns if _is_unnamed(missing, frame) else _those_of(missing, frame)
        return {"X": np.concatenate([_numbers(frame[n], TYPES[inputs["X"]]) for n in names], 1)}
    _those_of(inputs, frame)
    return {
        name: _text(frame[name], missing.get(name, ""))
        if kind == "tensor(string)"
        else _numbers(frame[name], TYPES[kind])
        for name, kind in inputs.items()
    }


def _is_unnamed(known: Iterable[str], frame: pd.DataFrame) -> bool:
    """Whether columns are known by their places alone: fitted to an array, or in a pipeline."""
    return all(name == f"x{j}" and name not in frame for j, name in enumerate(known))


def _those_of(known: Iterable[str], frame: pd.DataFrame) -> list[str]:
    lacking = [name for name in known if name not in frame.columns]
    if lacking:
        raise ValueError(
            f"feeds expects a table with the columns {list(known)}; {lacking} are not there."
        )
    return list(known)


def _text(column: pd.Series, missing: str) -> np.ndarray:
    cells = column.astype(object)
    return cells.where(cells.notna(), missing).astype(str).to_numpy(dtype=object)[:, None]


def _numbers(column: pd.Series, dtype: Any) -> np.ndarray:
    if column.dtype.kind == "M":
        zone = getattr(column.dt, "tz", None)
        plain = column if zone is None else column.dt.tz_convert("UTC").dt.tz_localize(None)
        missing = np.datetime64("NaT")
        dates = plain.to_numpy(dtype=f"datetime64[{column.dt.unit}]", na_value=missing)
        # As ``skvae.table.dates`` has them, whose imports take longer than onnxruntime.
        seconds = dates.astype("datetime64[s]")
        rest = (dates - seconds) / np.timedelta64(1, "s")
        return (seconds.astype(np.int64) + rest).astype(dtype)[:, None]
    try:
        cells = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"feeds expects numbers in column {column.name!r}, as in fit: {error}. Pass numbers, "
            "as by pd.to_numeric."
        ) from error
    return cells.astype(dtype)[:, None]
