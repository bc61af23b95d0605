"""What the states of saved objects may hold: data, under names that are free."""

from __future__ import annotations

from typing import Any

import numpy as np

from .exceptions import StateError


def check_attributes(cls: type, attributes: Any) -> None:
    """Refuse names that would take the place of a method, or of what Python keeps itself.

    Raises
    ------
    StateError
        If the attributes are no dictionary, or of such names.
    """
    if not isinstance(attributes, dict):
        raise StateError(
            f"The saved state of a {cls.__name__} should be a dictionary, got a "
            f"{type(attributes).__name__}: the file is damaged. Save the model again."
        )
    for name in attributes:
        plain = isinstance(name, str) and name.isidentifier() and not name.startswith("__")
        if not plain or callable(getattr(cls, name, None)):
            raise StateError(
                f"The saved state of a {cls.__name__} holds {name!r}, which is no name of data: "
                "the file is damaged, or was made to do harm. Do not use it."
            )


def check_keys(cls: type, state: Any, keys: frozenset) -> None:
    """Refuse a state that lacks something, or holds something else."""
    found = frozenset(state) if isinstance(state, dict) else frozenset()
    if found != keys:
        raise StateError(
            f"The saved state of a {cls.__name__} should hold {sorted(keys)}, got "
            f"{sorted(map(str, found))}: the file is damaged, or of an older version of skvae. "
            "Save the model again."
        )


def check_arrays(cls: type, arrays: Any) -> None:
    """Refuse weights that are no arrays of numbers."""
    check_attributes(cls, arrays)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            kind = getattr(array, "dtype", type(array).__name__)
            raise StateError(
                f"The saved {name!r} of a {cls.__name__} should be an array of numbers, got "
                f"{kind}: the file is damaged. Save the model again."
            )
