"""Targets of rows as numbers."""

from typing import Any

import numpy as np

from .classes import encoded_classes


def class_targets(
    y: Any, owner: str, n_classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Classes ``(rows,)`` as numbers from 0, -1 where unknown, and their names.

    Where there are more classes than labels name, ``n_classes``, the others are named by the
    first whole numbers that no label is.

    Examples
    --------
    >>> from skvae.table.targets import class_targets
    >>> class_targets(["b", None, "a"], "Example")
    (array([ 1, -1,  0]), array(['a', 'b'], dtype='<U1'))
    """
    if np.ndim(y) != 1:
        raise ValueError(f"{owner} expects y to be one class per row, got shape {np.shape(y)}.")
    codes, names = encoded_classes(y, owner)
    if n_classes is not None:
        return _with_unnamed(codes, names, owner, n_classes)
    if len(names) < 2:
        raise ValueError(
            f"{owner} expects y to hold at least two classes, and -1 or missing where unknown; "
            f"got {names.tolist()}."
        )
    return codes, names


def _with_unnamed(
    codes: np.ndarray, names: np.ndarray, owner: str, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    n_more = n_classes - len(names)
    whole = names.dtype.kind in "iu" or not len(names)
    if n_more < 0 or n_more and not whole:
        raise ValueError(
            f"{owner} expects y to hold at most {n_classes} classes, by whole numbers where it "
            f"holds fewer; got {names.tolist()}."
        )
    own = names.astype(np.int64) if whole else names
    more = np.setdiff1d(np.arange(n_classes), own)[:n_more] if n_more else own[:0]
    every = np.sort(np.concatenate([own, more]))
    place = np.searchsorted(every, own)
    return np.where(codes < 0, -1, np.append(place, -1)[codes]), every


def property_targets(y: Any, owner: str) -> np.ndarray:
    """Properties ``(rows, properties)`` as floats, NaN where unknown.

    Examples
    --------
    >>> from skvae.table.targets import property_targets
    >>> property_targets([1, None], "Example").tolist()
    [[1.0], [nan]]
    """
    try:
        numbers = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner} expects y to be numbers, NaN where unknown. Leave out what are none."
        ) from error
    numbers = numbers.reshape(len(numbers), -1)
    if np.isinf(numbers).any():
        raise ValueError(f"{owner} expects y to be finite or NaN, got infinite numbers.")
    if np.isnan(numbers).all(0).any():
        raise ValueError(
            f"{owner} expects y to be known for some rows, and a property is missing in all. "
            "Leave it out."
        )
    return numbers
