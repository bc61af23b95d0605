"""The codec of an imputer, which has work even where a table has nothing to model."""

from __future__ import annotations

from ..table import TableCodec
from ..table.categories import CategoricalColumn


class ImputationCodec(TableCodec):
    """A codec that also takes tables whose columns are all constant or empty.

    A gap in a constant column has an obvious value, so there is no reason to refuse it.

    Examples
    --------
    >>> import numpy as np
    >>> ImputationCodec().fit(np.array([[1.0], [np.nan]])).blocks_
    ()
    """

    # Its models know labels, and no order among them; the best value of a cell does.
    _ordered = False

    def _arrange(self, table, left_out=()) -> None:
        if any(column.kind != "constant" for column in self.columns_):
            super()._arrange(table, left_out)
            return
        self.modelled_index_, self.modelled_names_, self.blocks_ = [], [], ()
        # A column that nobody models: constant ones take the number of rows from it.
        self.n_modelled_, self.n_inputs_ = 1, 0

    def inputs(self, values, mask):
        return super().inputs(values, mask) if self.blocks_ else values

    def in_order(self) -> list[int]:
        """Which modelled columns hold labels in an order, declared or asked for."""
        asked = self.column_kinds or {}
        return [
            slot
            for slot, column in enumerate(self.arrangement.modelled)
            if isinstance(column, CategoricalColumn)
            # The rare ones share the last code, whatever their place.
            and not column.rare
            and (column.form.ordered or asked.get(column.name) == "ordinal")
        ]

    def is_empty(self) -> list[bool]:
        """Which columns had no observed cell in ``fit``."""
        return [c.kind == "constant" and c.value is None for c in self.columns_]  # type: ignore[attr-defined]

    def fill_empty(self) -> None:
        """Let empty columns of numbers be filled by 0, as scikit-learn does."""
        for column, empty in zip(self.columns_, self.is_empty()):
            if empty and column.form.role != "categorical":
                column.value = 0.0  # type: ignore[attr-defined]
