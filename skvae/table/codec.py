"""The codec: tables in, arrays out, and back."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from .columns import (
    KINDS,
    BinaryColumn,
    CategoricalColumn,
    Column,
    ContinuousColumn,
    CountColumn,
)
from .frames import Panel, Part, Table, open_table, table_class

_NUMERIC = {"continuous": ContinuousColumn, "count": CountColumn, "binary": BinaryColumn}
_KIND_OF_ROLE = {"boolean": BinaryColumn, "categorical": CategoricalColumn}
_UNKNOWN = ("error", "missing")


class Encoded(NamedTuple):
    """A table as arrays.

    Attributes
    ----------
    values : ndarray of float32, shape (n_rows, n_modelled)
        What the likelihoods model; 0 where a cell is missing.
    mask : ndarray of bool, shape (n_rows, n_modelled), or None
        True where a cell is observed; None when all are.
    inputs : ndarray of float32, shape (n_rows, n_inputs)
        What the encoder network sees; 0 where a cell is missing.
    """

    values: np.ndarray
    mask: np.ndarray | None
    inputs: np.ndarray


class TableCodec(BaseEstimator):
    """Turn a table into arrays a network can learn, and such arrays into a table.

    Parameters
    ----------
    numeric : {"continuous", "count", "binary"}, default="continuous"
        The kind of the numeric columns. Continuous ones are standardised; counts
        (whole numbers from 0) and binary ones (between 0 and 1) keep their values.
        Boolean columns are always binary, strings and categories categorical.
    unknown : {"error", "missing"}, default="error"
        What to do with a category that `fit` has not seen.
    range_ratio : float or None, default=3.0
        No scale is smaller than the column's range over `range_ratio`, lest a
        column of rare spikes be blown up. None takes the standard deviation as is.

    Attributes
    ----------
    columns_ : list of Column
        Every column in its original order.
    blocks_ : tuple of (str, tuple of int)
        The modelled columns grouped by kind, in the order of `values`: each
        kind with its columns' numbers of categories, 1 for other kinds.
    n_modelled_, n_inputs_ : int
        The widths of `values` and `inputs`.
    modelled_names_ : list of str
        The names of the columns of `values`.
    modelled_index_ : list of int
        Their places in the table.
    log_scale_ : ndarray of float64, shape (n_modelled,)
        What to subtract from a log density of `values` to have the one of the
        column in its own unit; 0 for discrete columns.
    container_ : {"numpy", "pandas", "polars"}
        What `fit` has seen.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.table import TableCodec
    >>> X = pd.DataFrame({"size": [1.0, None, 5.0], "shape": ["disc", "ring", "disc"]})
    >>> codec = TableCodec().fit(X)
    >>> codec.blocks_
    (('continuous', (1,)), ('categorical', (2,)))
    >>> values, mask, inputs = codec.encode(X)
    >>> values
    array([[-1.,  0.],
           [ 0.,  1.],
           [ 1.,  0.]], dtype=float32)
    >>> inputs  # size, disc, ring, whether size is observed
    array([[-1.,  1.,  0.,  1.],
           [ 0.,  0.,  1.,  0.],
           [ 1.,  1.,  0.,  1.]], dtype=float32)
    >>> codec.decode(values)
       size shape
    0   1.0  disc
    1   3.0  ring
    2   5.0  disc
    """

    def __init__(self, numeric="continuous", unknown="error", range_ratio=3.0):
        self.numeric = numeric
        self.unknown = unknown
        self.range_ratio = range_ratio

    def fit(self, X, sample_weight=None) -> "TableCodec":
        """Learn kinds, scales and categories.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_columns)
            The table, as `check_table` returns it.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of the rows; a row of weight 0 has no influence on anything.
        """
        self._check_parameters()
        table = open_table(X)
        if not table.names:
            raise ValueError("TableCodec.fit expected a table of at least one column, got none.")
        weight = _check_weight(sample_weight, table.n_rows)
        if weight is not None and not weight.all():
            table, weight = table.take(weight > 0), weight[weight > 0]
        kinds: dict[str, type[Column]] = {**_KIND_OF_ROLE, "numeric": _NUMERIC[self.numeric]}
        columns: list[Column] = []
        for panel in table.panels():
            names = table.names if panel.position is None else [table.names[panel.position]]
            columns += kinds[panel.forms[0].role].fit(names, panel, weight, self.range_ratio)
        self.container_ = table.container
        self.columns_ = columns
        self._arrange(table)
        return self

    def encode(self, X) -> Encoded:
        """Turn a table into values, mask and inputs."""
        self._check_is_fitted()
        table = open_table(X)
        self._check_columns(table)
        values = np.empty((table.n_rows, self.n_modelled_), dtype=np.float32)
        mask = None
        slot_of = {position: slot for slot, position in enumerate(self.modelled_index_)}
        for panel in table.panels():
            for chosen, slots in self._shares(panel, slot_of):
                columns = self._modelled(slots)
                observed = type(columns[0]).encode(
                    columns, panel, chosen, self.unknown, values[:, slots]
                )
                if observed is not None:
                    if mask is None:
                        mask = np.ones(values.shape, dtype=bool)
                    mask[:, slots] = observed
        return Encoded(values, mask, self._inputs(values, mask))

    def decode(self, values, container: str | None = None) -> Any:
        """Turn values into a table like the one `fit` has seen.

        Parameters
        ----------
        values : array-like of shape (n_rows, n_modelled)
            In the space of `Encoded.values`. Whole numbers and categories are
            rounded, and clipped to what their dtype or kind can hold.
        container : {"numpy", "pandas", "polars"}, optional
            What to return, by default the container seen in `fit`.
        """
        self._check_is_fitted()
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1] != self.n_modelled_:
            raise ValueError(
                f"TableCodec.decode expected values of shape (n_rows, {self.n_modelled_}), one "
                f"column per modelled column, got {values.shape}."
            )
        target = table_class(container or self.container_)
        native = target.container == self.container_
        forms = [column.form if native else column.form.abroad() for column in self.columns_]
        slot_of = {position: slot for slot, position in enumerate(self.modelled_index_)}
        parts = (
            Part(
                column.name,
                form,
                *column.decode(values[:, slot_of.get(position, 0)].astype(np.float64)),
            )
            for position, (column, form) in enumerate(zip(self.columns_, forms, strict=True))
        )
        return target.build(forms, parts, len(values))

    def _check_parameters(self) -> None:
        for name, allowed in (("numeric", tuple(_NUMERIC)), ("unknown", _UNKNOWN)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"TableCodec: {name} should be one of {', '.join(map(repr, allowed))}, got "
                    f"{getattr(self, name)!r}."
                )
        if self.range_ratio is not None and not self.range_ratio > 0:
            raise ValueError(
                f"TableCodec: range_ratio should be a positive number or None, got "
                f"{self.range_ratio!r}."
            )

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "columns_"):
            raise NotFittedError(
                "This TableCodec instance is not fitted yet. Call 'fit' with a table first."
            )

    def _check_columns(self, table: Table) -> None:
        names, known = table.names, [column.name for column in self.columns_]
        if len(names) != len(known):
            raise ValueError(
                f"X has {len(names)} features, but TableCodec is expecting {len(known)} features "
                "as input."
            )
        if "numpy" in (table.container, self.container_):
            return
        for name, other in zip(names, known, strict=True):
            if str(name) != str(other):
                raise ValueError(
                    "The feature names should match those that were passed during fit: expected "
                    f"{other!r}, got {name!r}. Pass the same columns in the same order."
                )

    def _arrange(self, table: Table) -> None:
        order = [
            position
            for kind in KINDS
            for position, column in enumerate(self.columns_)
            if column.kind == kind.kind
        ]
        if not order:
            raise ValueError(
                f"TableCodec found nothing to model: every column of the {len(self.columns_)} is "
                f"constant or missing in the {table.n_rows} rows of positive weight. Pass at "
                "least one column with two different values."
            )
        modelled = [self.columns_[position] for position in order]
        self.modelled_index_ = order
        self.modelled_names_ = [str(column.name) for column in modelled]
        self.n_modelled_ = len(order)
        self.blocks_ = tuple(
            (kind.kind, tuple(column.size for column in modelled if column.kind == kind.kind))
            for kind in KINDS
            if any(column.kind == kind.kind for column in modelled)
        )
        self.log_scale_ = np.log([column.scale for column in modelled])
        indicators = sum(column.had_missing for column in modelled)
        self.n_inputs_ = sum(column.n_inputs for column in modelled) + indicators

    def _blocks(self) -> Iterator[slice]:
        """Yield each kind's place among the modelled columns."""
        start = 0
        for _, sizes in self.blocks_:
            yield slice(start, start + len(sizes))
            start += len(sizes)

    def _modelled(self, slots: slice) -> list[Column]:
        return [self.columns_[position] for position in self.modelled_index_[slots]]

    def _shares(self, panel: Panel, slot_of: dict) -> Iterator[tuple[Any, slice]]:
        """Yield which of a panel's columns go where among the modelled ones."""
        if panel.position is None:
            for slots in self._blocks():
                chosen = self.modelled_index_[slots]
                everything = len(chosen) == panel.matrix.shape[1]
                yield slice(None) if everything else chosen, slots
        elif panel.position in slot_of:
            slot = slot_of[panel.position]
            yield slice(None), slice(slot, slot + 1)

    def _inputs(self, values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        modelled = self._modelled(slice(None))
        indicated = [slot for slot, column in enumerate(modelled) if column.had_missing]
        # Continuous columns come first: when they also come last, there are no others.
        if not indicated and self.blocks_[-1][0] == ContinuousColumn.kind:
            return values
        inputs = np.empty((len(values), self.n_inputs_), dtype=np.float32)
        start = 0
        for slots in self._blocks():
            columns = modelled[slots]
            stop = start + sum(column.n_inputs for column in columns)
            observed = None if mask is None else mask[:, slots]
            type(columns[0]).features(columns, values[:, slots], observed, inputs[:, start:stop])
            start = stop
        inputs[:, start:] = 1.0 if mask is None else mask[:, indicated]
        return inputs


def _check_weight(sample_weight, n_rows: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,):
        raise ValueError(
            f"TableCodec.fit expected sample_weight of shape ({n_rows},), one per row, got "
            f"{weight.shape}."
        )
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
        raise ValueError(
            "TableCodec.fit expected finite, non-negative sample_weight with at least one "
            f"positive, got {weight}."
        )
    return weight
