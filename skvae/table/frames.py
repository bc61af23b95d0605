"""What every container (NumPy array, pandas or polars frame) offers to the codec."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse


class Form:
    """How a column looked in its table, so that it can be rebuilt: plain state only.

    Parameters
    ----------
    role : {"numeric", "boolean", "categorical", "datetime"}
        What the cells are; date-times are seconds since 1970 in UTC.
    dtype : str
        The container's own name of the dtype.
    number : str or None
        The NumPy dtype that holds the cells, for numeric and boolean columns.
    levels : list or None
        The categories the dtype declares, observed or not.
    level_dtype : str or None
        The dtype of those categories (pandas).
    ordered : bool
        Whether the categories are ordered (pandas).
    zone : str or None
        The time zone of date-times.
    step : float
        The resolution of date-times in seconds; 0 where it is unknown.
    """

    _DECLARED = ("category", "Categorical", "Enum")

    def __init__(
        self,
        role,
        dtype,
        number=None,
        levels=None,
        level_dtype=None,
        ordered=False,
        zone=None,
        step=0.0,
    ):
        self.role = role
        self.dtype = dtype
        self.number = number
        self.levels = levels
        self.level_dtype = level_dtype
        self.ordered = ordered
        self.zone = zone
        self.step = step

    def __repr__(self) -> str:
        return f"Form({self.role!r}, {self.dtype!r})"

    @property
    def is_text(self) -> bool:
        """Whether the categories were gathered from strings, not declared by the dtype."""
        return self.role == "categorical" and self.dtype not in self._DECLARED

    def abroad(self) -> "Form":
        """Return the form the column takes in a container other than its own."""
        if self.role == "categorical" and not self.is_text:
            return Form(self.role, "category", levels=self.levels, ordered=self.ordered)
        if self.role == "datetime":
            return Form(self.role, "datetime", zone=self.zone, step=self.step)
        return Form(self.role, self.number or "str", number=self.number)


class Panel(NamedTuple):
    """Cells on their way in: one column, or the whole of a purely numeric table.

    ``position`` is the column's index, None for the whole table. ``matrix`` is
    ``(rows, columns)`` of any real dtype with NaN where a cell is missing; it
    holds indices into ``labels`` when the column is categorical.
    """

    position: int | None
    forms: list[Form]
    matrix: np.ndarray
    labels: list | None = None


class Part(NamedTuple):
    """One column on its way out: float64 cells, or indices into ``labels``."""

    name: Any
    form: Form
    cells: np.ndarray
    labels: list | None = None


class Table:
    """A table as the codec sees it; one subclass per container."""

    container: str
    # Those of the levels of the columns' labels, where they have some.
    level_names: list | None = None

    def __init__(self, X: Any):
        self.X = X
        self.n_rows = X.shape[0]

    @property
    def names(self) -> list:
        """The columns' labels."""
        raise NotImplementedError

    def panels(self) -> Iterator[Panel]:
        """Yield the cells, column by column or all at once."""
        raise NotImplementedError

    def take(self, keep: np.ndarray) -> "Table":
        """Return the table of the rows where `keep` is True."""
        raise NotImplementedError

    def infinite(self) -> Any:
        """Return the name of the first column with an infinite cell, or None."""
        raise NotImplementedError

    @classmethod
    def below(cls, parts: Sequence[Any]) -> Any:
        """Return native tables one below the other, the rows numbered anew."""
        raise NotImplementedError

    @classmethod
    def build(cls, forms: Sequence[Form], parts: Iterable[Part], n_rows: int) -> Any:
        """Assemble a native table from its columns."""
        raise NotImplementedError

    @classmethod
    def with_level_names(cls, rows: Any, names: list | None) -> Any:
        """Return a table that was built, the levels of its columns' labels named so."""
        return rows


def _array_table():
    from .arrays import ArrayTable

    return ArrayTable


def _pandas_table():
    from .pandas_frames import PandasTable

    return PandasTable


def _polars_table():
    from .polars_frames import PolarsTable

    return PolarsTable


def _sparse_table():
    from .sparse import SparseTable

    return SparseTable


# Each library is imported only when a table of its own comes in or is asked for.
_TABLES = {
    "numpy": _array_table,
    "pandas": _pandas_table,
    "polars": _polars_table,
    "sparse": _sparse_table,
}


def table_class(container: str) -> type[Table]:
    """Return the `Table` class of a container's name."""
    if container not in _TABLES:
        raise ValueError(
            f"TableCodec.decode: container should be one of {sorted(_TABLES)} or None "
            f"(the container seen in fit), got {container!r}."
        )
    return _TABLES[container]()


def container_of(X: Any) -> str:
    """Return "pandas" or "polars" for frames, "sparse" for scipy's, "numpy" for all else."""
    if type(X) is np.ndarray:
        return "numpy"
    if issparse(X):
        return "sparse"
    for base in type(X).__mro__:
        if base.__name__ in ("DataFrame", "LazyFrame"):
            library = base.__module__.split(".")[0]
            if base.__name__ == "LazyFrame" and library == "polars":
                raise TypeError(
                    "Expected a table in memory, got a polars LazyFrame; pass X.collect()."
                )
            if library in ("pandas", "polars"):
                return library
    return "numpy"


def labelled_as(rows: Any, X: Any) -> Any:
    """The rows, labelled as those of `X` where both are pandas frames of one length.

    Columns of the same labels are those of `X`, whose levels may have names.

    Examples
    --------
    >>> import pandas as pd
    >>> labelled_as(pd.DataFrame({"a": [2]}), pd.DataFrame({"b": [1]}, index=["x"]))
       a
    x  2
    """
    # Pandas aligns by labels: a difference from the rows of a shuffled table would be of others.
    if container_of(rows) == container_of(X) == "pandas" and len(rows) == len(X):
        rows = rows.set_axis(X.index)
        return rows.set_axis(X.columns, axis=1) if rows.columns.equals(X.columns) else rows
    return rows


def open_table(X: Any) -> Table:
    """Wrap a native table."""
    return table_class(container_of(X))(X)
