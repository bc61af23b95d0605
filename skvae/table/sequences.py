"""The codec of rows that are sequences: columns of one feature have one unit."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .codec import TableCodec
from .columns import ContinuousColumn
from .frames import Table


class SequenceCodec(TableCodec):
    """A codec that standardises continuous columns by feature, all steps of it alike.

    A step that follows from the one before would else change its unit with the column.

    Parameters
    ----------
    n_features : int, default=1
        How many columns a step has, those of a step side by side.
    numeric, unknown, range_ratio, margins, column_kinds, row_sizes
        As in `TableCodec`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.sequences import SequenceCodec
    >>> codec = SequenceCodec().fit(np.array([[1.0, 2.0], [3.0, 2.5]]))
    >>> [round(column.loc, 3) for column in codec.columns_]
    [2.125, 2.125]
    """

    def __init__(
        self,
        n_features=1,
        numeric="continuous",
        unknown="error",
        range_ratio=3.0,
        margins="scale",
        column_kinds=None,
        row_sizes=False,
    ):
        super().__init__(numeric, unknown, range_ratio, margins, column_kinds, row_sizes)
        self.n_features = n_features

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.margins != "scale":
            raise ValueError(
                f"margins={self.margins!r} maps every column by itself, and a model that goes "
                "step by step needs one unit for all steps of a feature. Use margins='scale', or "
                "network='recurrent'."
            )

    def _arrange(self, table: Table, left_out: Collection[int] = ()) -> None:
        for feature in range(self.n_features):
            columns = [
                column
                for column in self.columns_[feature :: self.n_features]
                if type(column) is ContinuousColumn
            ]
            if columns:
                loc, scale = (np.array([getattr(c, n) for c in columns]) for n in ("loc", "scale"))
                middle = loc.mean()
                whole = np.hypot(scale, loc - middle)
                unit = whole.max()
                for column in columns:
                    column.loc = float(middle)
                    column.scale = float(unit * np.sqrt(np.mean((whole / unit) ** 2)))
        super()._arrange(table, left_out)
