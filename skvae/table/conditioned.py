"""The codec of a model of some columns given others."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from .codec import Encoded, TableCodec
from .conditions import Conditions
from .filling import filled, missing_cells
from .frames import Table, container_of, open_table
from .pieces import Pieces


class Given(NamedTuple):
    """The conditions of rows that are to be decoded or drawn.

    Parameters
    ----------
    inputs : ndarray (rows, n_conditions)
        As the model sees them.
    values : ndarray (rows, condition columns)
        As `ConditionedCodec.decode` takes them, NaN where they are missing.
    table : ndarray or DataFrame
        The cells themselves.
    where : ndarray of bool (rows, columns)
        Which cells of the table are observed conditions.
    """

    inputs: np.ndarray
    values: np.ndarray
    table: Any
    where: np.ndarray

    def repeated(self, n_rows: int) -> Given:
        """One condition for so many rows; several are left as they are."""
        if len(self.inputs) != 1 or n_rows == 1:
            return self
        place = np.zeros(n_rows, dtype=np.intp)
        table = self.table.iloc[place] if hasattr(self.table, "iloc") else self.table[place]
        return Given(self.inputs[place], self.values[place], table, self.where[place])

    def put_into(self, table: Any) -> Any:
        """The decoded table with these very cells, where both are of one library."""
        if self.table is None or container_of(self.table) != container_of(table):
            return table
        return filled(table, self.where, self.table)


class ConditionedCodec(TableCodec):
    """A codec that tells columns to be modelled from those that are given.

    `values` and `mask` hold the former; `inputs` end in what the encoder and the decoder see
    of the latter, where a missing cell is 0, with an indicator if the column had gaps in `fit`,
    and numbers by pieces, too, where they explain some modelled column better so.

    Parameters
    ----------
    condition : sequence of str or int, default=()
        Columns that are given, by name or, in an array, by position.
    numeric, unknown, range_ratio, margins, column_kinds, row_sizes
        As in `TableCodec`.

    Attributes
    ----------
    given_ : TableCodec
        That of the given columns alone.
    condition_index_ : list of int
        Their places in the table.
    pieces_ : Pieces
        Those of their numeric columns, the first ones of `given_`.
    n_conditions_ : int
        How many inputs there are behind the `n_inputs_` of the modelled columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.table.conditioned import ConditionedCodec
    >>> X = pd.DataFrame({"size": [1.0, 2.0, 5.0], "shape": ["disc", "ring", "disc"]})
    >>> codec = ConditionedCodec(condition=["shape"]).fit(X)
    >>> codec.modelled_names_, codec.n_conditions_
    (['size'], 2)
    >>> codec.encode(X).inputs[:, -2:]  # disc, ring
    array([[1., 0.],
           [0., 1.],
           [1., 0.]], dtype=float32)
    """

    def __init__(
        self,
        condition=(),
        numeric="continuous",
        unknown="error",
        range_ratio=3.0,
        margins="scale",
        column_kinds=None,
        row_sizes=False,
    ):
        super().__init__(numeric, unknown, range_ratio, margins, column_kinds, row_sizes)
        self.condition = condition

    def fit(self, X, sample_weight=None) -> ConditionedCodec:
        super().fit(X, sample_weight)
        table, weight = open_table(X), None
        if sample_weight is not None:
            weight = np.asarray(sample_weight, dtype=np.float64)
            table, weight = table.take(weight > 0), weight[weight > 0]
        given, modelled = self.given_.encode(table.X), super().encode(table.X)
        kinds = dict(self.given_.blocks_)
        n_numeric = sum(len(kinds.get(kind, ())) for kind in ("continuous", "count"))
        values = given.values[:, :n_numeric]
        mask = np.ones(values.shape, dtype=bool) if given.mask is None else given.mask
        pieces = Pieces(values, mask[:, :n_numeric], weight)
        if len(pieces.columns):
            pieces.useful(values, given.inputs, modelled.inputs, weight)
        self.pieces_ = pieces
        self.n_conditions_ = self.given_.n_inputs_ + len(pieces.columns)
        return self

    def encode(self, X) -> Encoded:
        encoded = super().encode(X)
        inputs = np.hstack([encoded.inputs, self._seen(self.given_.encode(X))])
        return Encoded(encoded.values, encoded.mask, inputs, encoded.log_jacobian)

    def _seen(self, given: Encoded) -> np.ndarray:
        """What the model sees of the given columns."""
        if not len(self.pieces_.columns):
            return given.inputs
        return np.hstack([given.inputs, self.pieces_(given.values)])

    def decode(self, values, container: str | None = None, uniform=None) -> Any:
        values = np.asarray(values)
        gap = len(self._decoded_index()) - values.shape[-1]
        if values.ndim == 2 and values.shape[1] == self.n_modelled_:
            values = np.hstack([values, np.full((len(values), gap), np.nan)])
            if uniform is not None:
                uniform = np.hstack([uniform, np.zeros((len(values), gap))])
        return super().decode(values, container, uniform)

    def given(self, condition: Any, asker: str) -> Given:
        """Read conditions, one for all rows or one per row.

        Parameters
        ----------
        condition : mapping, list of mappings, DataFrame or ndarray
            Values of the given columns. A table may hold all columns; the others are ignored.
        asker : str
            Who asks, for the errors.
        """
        self._check_is_fitted()
        n_columns = len(self.columns_)
        if isinstance(condition, np.ndarray) and condition.ndim == 2:
            if condition.shape[1] == n_columns:
                return self._given(condition)
            if condition.shape[1] == len(self.condition_index_):
                condition = [
                    {place: cell for place, cell in zip(self.condition_index_, row)}
                    for row in condition.tolist()
                ]
        names = [str(column.name) for column in self.columns_]
        if container_of(condition) in ("pandas", "polars"):
            if [str(name) for name in condition.columns] == names:
                return self._given(condition)
        return self._given_by_name(condition, asker)

    def _given(self, X) -> Given:
        """Conditions of the rows of a whole table."""
        encoded = self.given_.encode(X)
        values = encoded.values
        if encoded.mask is not None:
            values = np.where(encoded.mask, values, np.nan)
        where = np.zeros((len(values), len(self.columns_)), dtype=bool)
        where[:, self.condition_index_] = True
        where &= ~missing_cells(X)
        return Given(self._seen(encoded), values, X, where)

    def _given_by_name(self, condition: Any, asker: str) -> Given:
        rows = _without_gaps(condition)
        if rows is None:
            raise TypeError(
                f"{asker} expects condition to be a dict of column to value, or a DataFrame, an "
                "array of the given or of all columns, or a list of dicts with one condition per "
                f"row; got {type(condition).__name__}."
            )
        conditions = Conditions(self, rows, asker)
        names = [column.name for column in self.columns_]
        given = self.condition_index_
        extra = [names[j] for j in np.flatnonzero(conditions.where.any(0)) if j not in given]
        known = [names[j] for j in given]
        if extra:
            raise ValueError(
                f"{asker} expects condition to hold the columns {known}, got {extra} besides. "
                "Leave them out."
            )
        for j in given:
            column = self.columns_[j]
            if not (conditions.where[:, j].all() or column.had_missing or not column.n_inputs):
                raise ValueError(
                    f"{asker} expects condition to hold the columns {known}, and {names[j]!r} is "
                    "missing, which it never was in fit. Add a value for every row."
                )
        found = self._given(conditions.frame)
        return found._replace(table=conditions.in_container(self.container_))

    def _arrange(self, table: Table, left_out=()) -> None:
        given = self._places(table)
        super()._arrange(table, given)
        others = [j for j in range(len(self.columns_)) if j not in given]
        codec = TableCodec(self.numeric, self.unknown, self.range_ratio, self.margins)
        codec.columns_, codec.container_ = self.columns_, self.container_
        if all(self.columns_[j].kind == "constant" for j in given):
            names = [self.columns_[j].name for j in given]
            raise ValueError(
                f"condition holds the columns {names}, which are constant or missing in all rows "
                "of fit and tell nothing. Take others, or condition=None."
            )
        codec._arrange(table, others)
        self.given_, self.condition_index_ = codec, given
        # Until fit has seen which are of use.
        self.pieces_ = Pieces(np.zeros((1, 0)), np.ones((1, 0), dtype=bool), None)

    def _places(self, table: Table) -> list[int]:
        names, places = table.names, []
        for key in self.condition:
            place = _place(key, names, table.container)
            if place is None:
                known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
                if table.container == "numpy":
                    known = f"positions from 0 to {len(names) - 1}"
                raise ValueError(f"condition holds the column {key!r}; expected among {known}.")
            places.append(place)
        if not places or len(set(places)) < len(places):
            raise ValueError(
                f"condition should hold distinct columns, at least one; got "
                f"{list(self.condition)!r}. For none, set condition=None."
            )
        if len(places) == len(names):
            raise ValueError(
                f"condition holds all {len(names)} columns, which leaves none to model. Leave out "
                "those that the model is to explain."
            )
        return places

    def _decoded_index(self) -> list[int]:
        return self.modelled_index_ + self.given_.modelled_index_


def _place(key: Any, names: Sequence, container: str) -> int | None:
    if key in names:
        return list(names).index(key)
    whole = isinstance(key, Integral) and not isinstance(key, bool)
    if whole and container == "numpy" and 0 <= int(key) < len(names):
        return int(key)
    return None


def _without_gaps(condition: Any) -> Any:
    """One condition or a list of them, their missing cells left out; None if it is neither."""
    if isinstance(condition, dict):
        return condition
    if container_of(condition) == "pandas":
        rows = condition.to_dict("records")
    elif container_of(condition) == "polars":
        rows = condition.to_dicts()
    else:
        rows = condition
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
        return None
    return [{k: v for k, v in row.items() if not (v is None or v != v)} for row in rows]
