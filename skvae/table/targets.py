"""Targets of rows as numbers."""

from typing import Any

import numpy as np

from .classes import encoded_classes


def class_targets(y: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes ``(rows,)`` as numbers from 0, -1 where unknown, and their names.

    Examples
    --------
    >>> from skvae.table.targets import class_targets
    >>> class_targets(["b", None, "a"], "Example")
    (array([ 1, -1,  0]), array(['a', 'b'], dtype='<U1'))
    """
    if np.ndim(y) != 1:
        raise ValueError(f"{owner} expects y to be one class per row, got shape {np.shape(y)}.")
    codes, names = encoded_classes(y, owner)
    if len(names) < 2:
        raise ValueError(
            f"{owner} expects y to hold at least two classes, and -1 or missing where unknown; "
            f"got {names.tolist()}."
        )
    return codes, names


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
