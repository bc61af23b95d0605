"""Tables as the pictures read them: a pandas frame, whatever came, and the kind of a column."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils._missing import is_scalar_nan

from ..table.frames import container_of

OTHERS = "others"
FLAGS = {"False": "0", "True": "1"}
MAX_LEVELS = 12
FEW_NUMBERS = 2
LARGEST = 1e300  # infinity has no place on an axis


def frame_of(X) -> pd.DataFrame:
    """The table as a pandas frame; nothing is refused that can be drawn."""
    container = container_of(X)
    if container == "pandas":
        return X.reset_index(drop=True)
    if container == "polars":
        return pd.DataFrame({column.name: _series(column) for column in X.get_columns()})
    X = dense(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead. Reshape it, or pass a DataFrame."
        )
    names = [f"x{j}" for j in range(X.shape[1])]
    return pd.DataFrame(X, columns=names).infer_objects()


def dense(X) -> np.ndarray:
    """An array, also of a sparse matrix."""
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


def _series(column) -> pd.Series:
    """A column of polars; texts and categories by their values."""
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return pd.Series(column.to_numpy())
    return pd.Series(column.to_list(), dtype=object)


def is_missing(frame: pd.DataFrame, missing_values=np.nan) -> np.ndarray:
    """Where cells are missing, ``(rows, columns)``; a placeholder takes the place of NaN."""
    placeholder = missing_values
    if placeholder is None or placeholder is pd.NA or is_scalar_nan(placeholder):
        return frame.isna().to_numpy()
    return (frame == placeholder).fillna(False).to_numpy(dtype=bool)


def chosen_columns(caller: str, frame: pd.DataFrame, columns) -> list:
    """Names of the columns asked for, by name or by place."""
    names = list(frame.columns)
    chosen = [
        names[c] if c not in names and isinstance(c, (int, np.integer)) and c < len(names) else c
        for c in columns
    ]
    unknown = [c for c in chosen if c not in names]
    if unknown:
        raise ValueError(
            f"{caller} found no column {unknown[0]!r}; the table has "
            f"{', '.join(map(repr, names))}."
        )
    return chosen


def kind_of(column: pd.Series) -> str:
    """``"number"``, ``"date"`` or ``"category"``; numbers with two values are categories."""
    if pd.api.types.is_datetime64_any_dtype(column) or isinstance(column.dtype, pd.PeriodDtype):
        return "date"
    if pd.api.types.is_bool_dtype(column) or not (
        pd.api.types.is_numeric_dtype(column) or pd.api.types.is_timedelta64_dtype(column)
    ):
        return "category"
    return "category" if column.nunique() <= FEW_NUMBERS else "number"


def numbers_of(column: pd.Series) -> np.ndarray:
    """Observed cells as floats; dates as days since 1970."""
    column = column.dropna()
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if pd.api.types.is_datetime64_any_dtype(column):
        if column.dt.tz is not None:
            column = column.dt.tz_localize(None)
        return ((column - pd.Timestamp(0)) / pd.Timedelta(days=1)).to_numpy()
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    return np.clip(column.to_numpy(dtype=float), -LARGEST, LARGEST)


def levels_of(*columns: pd.Series) -> list[str]:
    """Labels in the order of their drawing: declared order, else the commonest first.

    Beyond twelve the rest are ``"others"``.
    """
    first = columns[0]
    counts = labels_of(first).value_counts()
    for column in columns[1:]:
        more = labels_of(column).value_counts()
        counts = pd.concat([counts, more[~more.index.isin(counts.index)]])
    kept = list(counts.index[:MAX_LEVELS]) if len(counts) > MAX_LEVELS + 1 else list(counts.index)
    if isinstance(first.dtype, pd.CategoricalDtype) and first.cat.ordered:
        place = {label(level): j for j, level in enumerate(first.cat.categories)}
        kept.sort(key=lambda name: place.get(name, len(place)))
    elif all(map(_is_number_or_flag, kept)):
        kept.sort(key=lambda name: float(FLAGS[name] if name in FLAGS else name))
    return kept + [OTHERS] * (len(kept) < len(counts))


def _is_number_or_flag(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in FLAGS
    return True


def labels_of(column: pd.Series) -> pd.Series:
    """Observed cells as texts."""
    column = column.dropna()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    return column.map(label).astype(object)


def shares_of(column: pd.Series, levels: list[str]) -> np.ndarray:
    """Share of the observed cells at each level; what is not among them counts as others."""
    labels = labels_of(column)
    counts = labels.value_counts()
    shares = counts.reindex(levels).fillna(0).to_numpy(dtype=float, copy=True)
    if levels and levels[-1] == OTHERS and OTHERS not in counts.index:
        shares[-1] = counts.sum() - shares[:-1].sum()
    return shares / max(len(labels), 1)


def label(value) -> str:
    """A cell as a text: whole numbers without a point."""
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    return str(value)


def shortened(text: str, width: int = 16) -> str:
    """The text, cut in the middle where it is too long to stand beside an axis."""
    text = str(text)
    tail = (width - 1) // 3
    return (
        text
        if len(text) <= width
        else f"{text[: width - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"
    )
