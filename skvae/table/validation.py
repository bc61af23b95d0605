"""scikit-learn's checks on a table, and nothing more than checks."""

from math import isfinite
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from .arrays import refuse_other_arrays
from .frames import Table, container_of, table_class
from .refusals import refuse_array, refuse_infinite
from .sparse import check_sparse

_FEWEST_ROWS_IN_FIT = 2


def check_table(estimator: Any, X: Any, reset: bool = True) -> Any:
    """Check a table in scikit-learn's words, and return it as it is where possible.

    Parameters
    ----------
    estimator : estimator instance
        Who asks; with `reset`, its ``n_features_in_`` and ``feature_names_in_``
        are set, otherwise `X` is held against them.
    X : array-like or DataFrame of shape (n_rows, n_columns)
        NaN and other missing cells, as those under a mask, are allowed, infinite ones are
        not. A sparse matrix of counts or flags is taken where the estimator's tags say so.
    reset : bool, default=True
        Whether this is `fit`, which wants two rows.

    Returns
    -------
    X : ndarray or DataFrame
        A frame as it came, a sparse matrix by rows; anything else as a two-dimensional
        array of numbers or booleans.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from skvae.table import check_table
    >>> X = np.eye(3, dtype=np.float32)
    >>> estimator = BaseEstimator()
    >>> check_table(estimator, X) is X, estimator.n_features_in_
    (True, 3)
    >>> check_table(estimator, X[:, :2], reset=False)
    Traceback (most recent call last):
    ...
    ValueError: X has 2 features, but BaseEstimator is expecting 3 features as input.
    """
    if not reset and _is_sound(estimator, X):
        return X
    fewest_rows = _FEWEST_ROWS_IN_FIT if reset else 1
    if isinstance(X, np.ma.MaskedArray):
        # scikit-learn would take what is under the mask for cells.
        X = np.ma.filled(X.astype(np.result_type(X.dtype, np.float32)), np.nan)
    container = container_of(X)
    if container == "sparse":
        return check_sparse(estimator, X, reset, fewest_rows)
    if container == "numpy":
        checks = {"ensure_all_finite": "allow-nan", "ensure_min_samples": fewest_rows}
        try:
            X = validate_data(estimator, X, reset=reset, dtype="numeric", **checks)
            if X.dtype.kind == "O":  # "numeric" leaves lists with None as objects
                X = validate_data(estimator, X, reset=reset, dtype=np.float64, **checks)
        except (TypeError, ValueError) as error:
            refuse_array(X, error)
        refuse_other_arrays(X)
        return X
    # Duplicates first: scikit-learn's check of the names cannot tell them apart.
    table = table_class(container)(X)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    _check_frame(estimator, table, fewest_rows)
    return X


def _is_sound(estimator, X) -> bool:
    """Tell in microseconds that `validate_data` would let this array through."""
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype.char not in "fd" or not len(X):
        return False
    if hasattr(estimator, "feature_names_in_"):
        return False
    if X.shape[1] != getattr(estimator, "n_features_in_", None):
        return False
    in_one_piece = X.flags.c_contiguous or X.flags.f_contiguous
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum of squares takes half as long as one of cells.
        cells = X.ravel("K") if in_one_piece else None
        total = float(X.sum() if cells is None else cells @ cells)
    return isfinite(total) or not np.isinf(X).any()


def _check_frame(estimator, table: Table, fewest_rows: int) -> None:
    shape = (table.n_rows, len(table.names))
    for what, count, fewest in (("sample", shape[0], fewest_rows), ("feature", shape[1], 1)):
        if count < fewest:
            raise ValueError(
                f"Found array with {count} {what}(s) (shape={shape}) while a minimum of {fewest} "
                f"is required by {type(estimator).__name__}."
            )
    name = table.infinite()
    if name is not None:
        refuse_infinite(name)
