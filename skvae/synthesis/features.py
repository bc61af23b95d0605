"""Rows as matrices of numbers: cells in their own units, categories by their codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..table.categories import CategoricalColumn
from ..table.frames import open_table


class Features:
    """What a classifier of rows sees of them, ``(rows, columns)``.

    Parameters
    ----------
    codec : TableCodec
        Fitted.
    """

    def __init__(self, codec):
        self.codec = codec
        self.columns = [codec.columns_[position] for position in codec.modelled_index_]
        self.categorical = [isinstance(column, CategoricalColumn) for column in self.columns]

    def of_draws(self, values: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Of drawn rows; ``uniform`` says where cells lie within their bins."""
        out = values.astype(np.float64)
        for j, column in enumerate(self.columns):
            if not self.categorical[j]:
                out[:, j] = column.decode(out[:, j], uniform[:, j])[0]
        return out

    def of_rows(self, X: Any, encoded) -> np.ndarray:
        """Of the rows of a table, which the codec has ``encoded``; NaN where a cell is missing."""
        values, mask, *_ = encoded
        out = values.astype(np.float64)
        slot_of = {position: slot for slot, position in enumerate(self.codec.modelled_index_)}
        for panel in open_table(X).panels():
            first = 0 if panel.position is None else panel.position
            for k, cells in enumerate(panel.matrix.T):
                slot = slot_of.get(first + k)
                if slot is not None and not self.categorical[slot]:
                    out[:, slot] = cells
        return out if mask is None else np.where(mask, out, np.nan)
