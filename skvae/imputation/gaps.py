"""Reading tables with gaps, and giving them back without."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils._missing import is_scalar_nan

from .._warning import level_of_caller
from ..table import check_table
from ..table.filling import (
    blanked,
    clipped,
    columns_added,
    columns_taken,
    filled,
    missing_cells,
)
from ..table.frames import container_of
from .codec import ImputationCodec
from .limits import Limits


def read_table(estimator, X: Any, reset: bool = False) -> tuple[Any, Any]:
    """Check a table; give it as it came, and with missing cells in the place of placeholders."""
    placeholder = estimator.missing_values
    if placeholder is None or is_scalar_nan(placeholder) or str(placeholder) == "<NA>":
        X = check_table(estimator, X, reset=reset)
        return X, X
    X = X if container_of(X) != "numpy" else check_table(estimator, X, reset=reset)
    if missing_cells(X).any():
        raise ValueError(
            f"Input X contains NaN, and {type(estimator).__name__} takes {placeholder!r} for "
            "missing. Use missing_values=np.nan, or fill the others first."
        )
    return X, check_table(estimator, blanked(X, placeholder), reset=reset)


class Gaps:
    """Which columns are kept, which had gaps in ``fit``, and how gaps are filled.

    Parameters
    ----------
    codec : ImputationCodec
        Fitted.
    missing : ndarray of bool (rows, columns)
        Missing cells of the table of ``fit``.
    keep_empty : bool
        Whether columns without any observed cell are kept.
    limits : dict of int to (float or None, float or None)
        Lowest and highest value with which cells of a column are filled.
    """

    # Files of earlier versions have no limits.
    limits: Limits = {}

    def __init__(
        self, codec: ImputationCodec, missing: np.ndarray, keep_empty: bool, limits: Limits
    ):
        self.codec, self.limits = codec, limits
        empty = np.array(codec.is_empty())
        self.with_gaps = np.flatnonzero(missing.any(0) & (~empty | keep_empty))
        self.kept = np.arange(len(empty)) if keep_empty else np.flatnonzero(~empty)
        if keep_empty:
            codec.fill_empty()
        elif empty.any():
            names = [codec.columns_[j].name for j in np.flatnonzero(empty)]
            warnings.warn(
                f"Skipping columns without any observed cell: {names}. They are missing in the "
                "result; keep_empty_features=True keeps them.",
                stacklevel=level_of_caller(),
            )

    def filled(self, X: Any, missing: np.ndarray, values: np.ndarray, indicator=False) -> Any:
        """The table with its ``missing`` cells taken from ``values (rows, modelled columns)``."""
        decoded = clipped(self.codec.decode(values, container=container_of(X)), self.limits)
        out = columns_taken(filled(X, missing, decoded), self.kept.tolist())
        if not indicator:
            return out
        names = [str(column.name) for column in self.codec.columns_]
        flags = missing[:, self.with_gaps]
        return columns_added(out, self.indicator_names(np.array(names, dtype=object)), flags)

    def indicator_names(self, names: np.ndarray) -> list[str]:
        """Names of the indicators."""
        return [f"missingindicator_{names[j]}" for j in self.with_gaps]
