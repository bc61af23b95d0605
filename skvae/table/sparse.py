"""Sparse matrices as tables, of which only the rows at hand are ever dense."""

from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from .arrays import ArrayTable
from .discrete import BinaryColumn, CountColumn
from .frames import Form, Panel, Table
from .refusals import refuse_sparse

# Kinds of columns of which zeros that are not stored are the rule; standardised numbers would
# be zeros no longer.
SPARSE: dict[str, Any] = {"count": CountColumn, "binary": BinaryColumn}
# Parameters of estimators that no sparse matrix goes with.
DENSE_ALONE = ("condition", "supervision", "column_kinds")


class DenseParts:
    """A sparse matrix whose slices of rows are dense arrays."""

    def __init__(self, X: Any):
        self.X = X
        self.shape = X.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.X[rows].toarray()


class SparseTable(ArrayTable):
    """A sparse matrix of counts or flags; decoded tables are dense."""

    def __init__(self, X: Any):
        Table.__init__(self, canonical(X))

    def take(self, keep: np.ndarray) -> "SparseTable":
        return SparseTable(self.X[keep])

    def panels(self):
        form = Form("numeric", self.X.dtype.name, number=self.X.dtype.name)
        matrix: Any = DenseParts(self.X)
        yield Panel(None, [form] * self.X.shape[1], matrix)


def canonical(X: Any) -> Any:
    """Return a sparse matrix by rows, each cell once; flags become counts."""
    if X.dtype.kind == "b":
        X = X.astype(np.uint8)
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def check_sparse(estimator: Any, X: Any, reset: bool, fewest_rows: int) -> Any:
    """Check a sparse matrix of counts or flags in scikit-learn's words; refuse any other.

    Only an estimator whose tag says so takes one.
    """
    if not get_tags(estimator).input_tags.sparse:
        dense = [name for name in DENSE_ALONE if getattr(estimator, name, None) is not None]
        refuse_sparse(type(estimator).__name__, dense)
    X = validate_data(
        estimator, X, reset=reset, accept_sparse="csr", dtype="numeric",
        ensure_min_samples=fewest_rows, ensure_all_finite="allow-nan",
    )  # fmt: skip
    if np.isnan(X.data).any():
        raise ValueError(
            "Input X contains NaN, and a sparse table has no missing cells: those that it does "
            "not store are 0. Pass X.toarray(), where NaN is missing, or leave these rows out."
        )
    X = canonical(X)
    column = SPARSE[estimator._sparse_kind()]
    bad = np.flatnonzero(column.outside(X.data))
    if len(bad):
        row = int(np.searchsorted(X.indptr, bad[0], side="right")) - 1
        name, cell = f"x{X.indices[bad[0]]}", X.data[bad[0]].reshape(1, 1)
        column.check([name], cell, row)
    return X
