"""What tells one table from another, whatever holds it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from joblib import hash as joblib_hash

from .frames import container_of, open_table

# Rows that are copied at once where they do not lie one behind the other.
ROWS_AT_ONCE = 1 << 14


def fingerprint(X: Any) -> str:
    """Digest of a table or of a column, equal for equal cells, names and dtypes.

    How they lie in memory does not matter.

    Parameters
    ----------
    X : DataFrame, array, sparse matrix, list or None

    Returns
    -------
    digest : str

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table.fingerprint import fingerprint
    >>> X = np.eye(3)
    >>> fingerprint(X) == fingerprint(np.asfortranarray(X)), fingerprint(X) == fingerprint(2 * X)
    (True, False)
    """
    if container_of(X) in ("pandas", "polars"):
        table = open_table(X)
        digest = hashlib.blake2b(_plain(table.names), digest_size=8)
        for panel in table.panels():
            digest.update(_plain(([vars(form) for form in panel.forms], panel.labels)))
            _add(digest, panel.matrix)
        return digest.hexdigest()
    X = np.asarray(X) if hasattr(X, "__array__") else X
    if not isinstance(X, np.ndarray) or X.dtype.hasobject:
        return joblib_hash(X)[:16]
    digest = hashlib.blake2b(_plain((X.dtype.str, X.shape)), digest_size=8)
    _add(digest, X)
    return digest.hexdigest()


def _plain(value: Any) -> bytes:
    return joblib_hash(value).encode()


def _add(digest, array: np.ndarray) -> None:
    array = np.atleast_1d(array)
    for start in range(0, len(array), ROWS_AT_ONCE):
        rows = np.ascontiguousarray(array[start : start + ROWS_AT_ONCE])
        # Dates have no buffer of their own.
        digest.update(rows.reshape(-1).view(np.uint8).data)
