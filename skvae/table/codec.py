"""The codec: tables in, arrays out, and back."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from .arrangement import Arrangement
from .columns import Column, ContinuousColumn
from .frames import Panel, Part, Table, open_table, table_class
from .kinds import CLASSES, MARGINS, NUMERIC, Kinds
from .row_sizes import FEWEST_COLUMNS, DenseCells, RowSizes
from .tokens import share_alphabet

_CHOICES = {
    "numeric": (*NUMERIC, "auto"),
    "unknown": ("error", "missing"),
    "margins": tuple(MARGINS),
    "row_sizes": (False, True, "auto"),
}


class _Arrays(NamedTuple):
    values: np.ndarray
    mask: np.ndarray | None
    inputs: np.ndarray


class Encoded(_Arrays):
    """A table as the three arrays that a model reads, with what scores need besides.

    Attributes
    ----------
    values : ndarray of float32, shape (n_rows, n_modelled)
        What the likelihoods model; 0 where a cell is missing.
    mask : ndarray of bool, shape (n_rows, n_modelled), or None
        True where a cell is observed; None when all are.
    inputs : ndarray of float32, shape (n_rows, n_inputs)
        What the encoder network sees; 0 where a cell is missing.
    log_jacobian : ndarray of float64, shape (n_rows, n_modelled), or None
        What to subtract, beside `TableCodec.log_scale_`, from a log density of `values` to
        have the one of the cell in its own unit; 0 where a cell is missing, and None where
        all columns are linear.  No item of the tuple.
    """

    log_jacobian: np.ndarray | None = None

    def __new__(cls, values, mask, inputs, log_jacobian=None) -> "Encoded":
        encoded = super().__new__(cls, values, mask, inputs)
        encoded.log_jacobian = log_jacobian
        return encoded


class TableCodec(BaseEstimator):
    """Turn a table into arrays a network can learn, and such arrays into a table.

    Parameters
    ----------
    numeric : {"continuous", "count", "binary", "token", "auto"}, default="continuous"
        The kind of the numeric columns. Continuous ones are standardised; counts
        (whole numbers from 0) and binary ones (between 0 and 1) keep their values; tokens
        are numbers without an order, of one alphabet in all columns.
        Boolean columns are binary, strings and categories categorical, categories in
        an order ordinal, and date-times continuous. "auto" tells columns apart by
        dtype and values: integers that are 0 or 1 are binary, whole numbers of a frame
        counts where a count distribution explains them best, positive numbers are
        standardised by their logarithm where that explains them clearly better.
    unknown : {"error", "missing"}, default="error"
        What to do with a category that `fit` has not seen.
    range_ratio : float or None, default=3.0
        No scale is smaller than the column's range over `range_ratio`, lest a
        column of rare spikes be blown up. None takes the standard deviation as is.
    margins : {"scale", "rank"}, default="scale"
        How continuous columns are mapped. "rank" takes normal scores: values have a
        standard normal distribution whatever the shape of the column, and come back with
        the column's own distribution and resolution. A column of at most 64 distinct
        values, or with values that more than one row in 32 shares, comes in bins that are
        modelled as categories.
    column_kinds : dict or None, default=None
        Kinds by column name ("x0", "x1", ... for arrays) that take the place of those found:
        "continuous", "positive", "count", "binary", "categorical", "ordinal", "token" or
        "datetime".
    row_sizes : bool or "auto", default=False
        Whether the counts of a row share a size, which the encoder is then not shown.
        "auto": where all columns are counts, 16 at least, and the rows differ in size.

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
        column in its own unit; 0 for discrete columns. Date-times are in seconds.
    row_size_ : (float, float) or None
        Mean and standard deviation of the logarithm of the total count of a row.
    draws_cells_ : bool
        Whether some cells differ that have one value, so that `decode` takes `uniform`.
    container_ : {"numpy", "pandas", "polars"}
        What `fit` has seen.
    level_names_ : list or None
        Names of the levels of the labels of its columns (pandas).
    is_sparse_ : bool
        Whether that was a sparse matrix; `decode` gives dense arrays in any case.

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

    # Whether categories in a declared order have a kind of their own.
    _ordered = True
    # How many inputs are conditions, which are not modelled.
    n_conditions_ = 0
    level_names_: list | None = None
    # Made of the columns when it is asked for, and left out of pickles.
    _arranged: Arrangement | None = None

    def __init__(
        self,
        numeric="continuous",
        unknown="error",
        range_ratio=3.0,
        margins="scale",
        column_kinds=None,
        row_sizes=False,
    ):
        self.numeric = numeric
        self.unknown = unknown
        self.range_ratio = range_ratio
        self.margins = margins
        self.column_kinds = column_kinds
        self.row_sizes = row_sizes

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
        kinds = Kinds(self.numeric, self.margins, self.column_kinds, self._ordered)
        kinds.check(table.names)
        is_frame = table.container != "numpy"
        columns: list[Column] = []
        for panel in table.panels():
            names = table.names if panel.position is None else [table.names[panel.position]]
            classes = kinds.classes(names, panel, weight, is_frame)
            columns += _fitted(classes, names, panel, weight, self.range_ratio)
        self.container_ = table.container
        self.level_names_ = table.level_names
        self.is_sparse_ = issparse(X)
        share_alphabet(columns)
        self.columns_, self._arranged = columns, None
        self._arrange(table)
        self.row_size_ = self._fit_row_sizes(table.X, weight) if self.row_sizes else None
        return self

    def encode(self, X) -> Encoded:
        """Turn a table into values, mask and inputs."""
        self._check_is_fitted()
        table = open_table(X)
        self._check_columns(table)
        values, mask, jacobian = np.empty((table.n_rows, self.n_modelled_), np.float32), None, None
        arranged = self.arrangement
        if not arranged.is_linear:
            jacobian = np.zeros(values.shape)
        for panel in table.panels():
            if panel.position is not None and panel.position not in arranged.slot_of:
                self.columns_[panel.position].check_unseen(panel, self.unknown)
            for columns, chosen in arranged.shares(panel):
                slots = columns.slots
                part = None if jacobian is None else jacobian[:, slots]
                observed = type(columns[0]).encode(
                    columns, panel, chosen, self.unknown, values[:, slots], part
                )
                if observed is not None:
                    if mask is None:
                        mask = np.ones(values.shape, dtype=bool)
                    mask[:, slots] = observed
        if mask is not None and jacobian is not None:
            jacobian *= mask
        return Encoded(values, mask, self.inputs(values, mask), jacobian)

    def decode(self, values, container: str | None = None, uniform=None) -> Any:
        """Turn values into a table like the one `fit` has seen.

        Parameters
        ----------
        values : array-like of shape (n_rows, n_modelled)
            In the space of `Encoded.values`. Whole numbers and categories are
            rounded, and clipped to what their dtype or kind can hold.
        container : {"numpy", "pandas", "polars"}, optional
            What to return, by default the container seen in `fit`.
        uniform : array-like of shape (n_rows, n_modelled), optional
            Uniform numbers in [0, 1) by which cells are drawn where several have one
            value, as in a bin; by default a cell is the one in their middle.
        """
        self._check_is_fitted()
        values, decoded = np.asarray(values), self._decoded_index()
        width = max(len(decoded), 1)
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(
                f"TableCodec.decode expected values of shape (n_rows, {width}), one "
                f"column per modelled column, got {values.shape}."
            )
        target = table_class(container or self.container_)
        native = target.container == self.container_
        forms = [column.form if native else column.form.abroad() for column in self.columns_]
        slot_of = {position: slot for slot, position in enumerate(decoded)}

        def part(position: int, column: Column, form) -> Part:
            slot = slot_of.get(position, 0)
            is_drawn = column.draws_cells and uniform is not None
            draws = np.asarray(uniform)[:, slot] if is_drawn else None
            cells = values[:, slot].astype(np.float64)
            return Part(column.name, form, *column.decode(cells, draws))

        columns = zip(range(len(forms)), self.columns_, forms, strict=True)
        rows = target.build(forms, (part(*column) for column in columns), len(values))
        return target.with_level_names(rows, self.level_names_)

    def _check_parameters(self) -> None:
        for name, allowed in _CHOICES.items():
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
        if self.column_kinds is not None and not isinstance(self.column_kinds, Mapping):
            raise TypeError(
                "TableCodec: column_kinds should be a dict of column names to kinds, or None, "
                f"got {self.column_kinds!r}."
            )

    def _fit_row_sizes(self, X, weight) -> tuple[float, float] | None:
        """Let the count columns know of the sizes of rows, where these have some."""
        slots = [j for j, c in enumerate(self.arrangement.modelled) if c.kind == "count"]
        asked = self.row_sizes is True
        if not slots or not asked and len(slots) < max(self.n_modelled_, FEWEST_COLUMNS):
            return None
        places = [self.modelled_index_[slot] for slot in slots]
        if issparse(X):
            cells = DenseCells(X[:, places])
        else:
            encoded = self.encode(X)
            mask = encoded.mask
            cells = DenseCells(encoded.values[:, slots], None if mask is None else mask[:, slots])
        columns = [self.columns_[place] for place in places]
        found = RowSizes.found(columns, cells, weight, self.range_ratio, ask=not asked)
        if found is None:
            return None
        for place, column in zip(places, found.columns, strict=True):
            self.columns_[place] = column
        self._arranged = None
        return found.log_total

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "columns_"):
            raise NotFittedError(
                "This TableCodec instance is not fitted yet. Call 'fit' with a table first."
            )

    def _check_columns(self, table: Table) -> None:
        found, known = table.X.shape[1], len(self.columns_)
        if found != known:
            raise ValueError(
                f"X has {found} features, but TableCodec is expecting {known} features as input."
            )
        if "numpy" in (table.container, self.container_):
            return
        for name, column in zip(table.names, self.columns_, strict=True):
            if str(name) != str(column.name):
                raise ValueError(
                    "The feature names should match those that were passed during fit: expected "
                    f"{column.name!r}, got {name!r}. Pass the same columns in the same order."
                )

    def _decoded_index(self) -> list[int]:
        """Places in the table of the columns of what `decode` takes."""
        return self.modelled_index_

    def _arrange(self, table: Table, left_out: Collection[int] = ()) -> None:
        order = [
            position
            for kind in CLASSES
            for position, column in enumerate(self.columns_)
            if type(column) is kind and position not in left_out
        ]
        if not order:
            raise ValueError(
                f"X holds nothing to model: every column of the {len(self.columns_)} is "
                f"constant or missing in the {table.n_rows} rows of positive weight. Pass at "
                "least one column with two different values."
            )
        modelled = [self.columns_[position] for position in order]
        self.modelled_index_ = order
        self.modelled_names_ = [str(column.name) for column in modelled]
        self.n_modelled_ = len(order)
        self.blocks_ = tuple(
            (kind, tuple(column.size for column in modelled if column.kind == kind))
            for kind in dict.fromkeys(column.kind for column in modelled)
        )
        self.draws_cells_ = any(column.draws_cells for column in modelled)
        self.log_scale_ = np.log([column.scale for column in modelled])
        indicators = sum(column.had_missing for column in modelled)
        self.n_inputs_ = sum(column.n_inputs for column in modelled) + indicators

    @property
    def arrangement(self) -> Arrangement:
        """The modelled columns as they are encoded."""
        if self._arranged is None:
            self._arranged = Arrangement(self.columns_, self.modelled_index_)
        return self._arranged

    def __getstate__(self):
        return {k: v for k, v in super().__getstate__().items() if k != "_arranged"}

    def inputs(self, values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return what the encoder network sees of rows of `values`."""
        arranged = self.arrangement
        # Continuous columns come first: when they also come last, there are no others.
        if not arranged.indicated and self.blocks_[-1][0] == ContinuousColumn.kind:
            return values
        inputs = np.empty((len(values), self.n_inputs_), dtype=np.float32)
        start = 0
        for columns in arranged.groups:
            stop, slots = start + sum(column.n_inputs for column in columns), columns.slots
            observed = None if mask is None else mask[:, slots]
            type(columns[0]).features(columns, values[:, slots], observed, inputs[:, start:stop])
            start = stop
        inputs[:, start:] = 1.0 if mask is None else mask[:, arranged.indicated]
        return inputs


def _fitted(classes: list, names: list, panel: Panel, weight, range_ratio) -> list[Column]:
    """Fit the columns of a panel, those of one class at once."""
    columns: dict[int, Column] = {}
    for kind in dict.fromkeys(classes):
        chosen = [j for j, other in enumerate(classes) if other is kind]
        part = panel
        if len(chosen) < len(classes):
            forms = [panel.forms[j] for j in chosen]
            part = panel._replace(forms=forms, matrix=panel.matrix[:, chosen])
        fitted = kind.fit([names[j] for j in chosen], part, weight, range_ratio)
        columns.update(zip(chosen, fitted, strict=True))
    return [columns[j] for j in range(len(classes))]


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
