"""Classes of rows as whole numbers."""

import numpy as np
from sklearn.utils.multiclass import type_of_target


def encoded_classes(y, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes ``(rows,)`` as numbers from 0, -1 where they are -1 or missing, and their names.

    Parameters
    ----------
    y : array-like of shape (rows,)
    owner : str
        Who asks, for the error.

    Raises
    ------
    ValueError
        If ``y`` holds other numbers than classes.

    Examples
    --------
    >>> from skvae.table.classes import encoded_classes
    >>> encoded_classes(["b", None, "a", "b"], "Example")
    (array([ 1, -1,  0,  1]), array(['a', 'b'], dtype='<U1'))
    """
    labels = np.asarray(y, dtype=object).ravel()
    known = np.array([_is_known(label) for label in labels], bool)
    found = np.array(labels[known].tolist())
    kind = type_of_target(found) if len(found) else "binary"
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            f"{owner} expects y to hold classes, -1 or missing where unknown; got {kind} values. "
            "Cut them into classes, or have the penalty not look at them."
        )
    classes = np.full(len(labels), -1)
    names, classes[known] = np.unique(found, return_inverse=True)
    return classes, names


def _is_known(label) -> bool:
    same = label == label
    # That of NA is NA, which is neither true nor false.
    return isinstance(same, (bool, np.bool_)) and bool(same) and label not in (None, -1)
