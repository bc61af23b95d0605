"""What a method gives of the parts of a table as what it gives of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..table.frames import container_of, table_class


def joined(parts: Iterable[Any], n_rows: int) -> Any:
    """Arrays, frames, and tuples and lists of them, one below the other.

    Arrays are written where they will stand, so that the parts are never there beside the whole.

    Parameters
    ----------
    parts : iterable
        Of one kind each.
    n_rows : int
        Rows of all parts together.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.streaming.joining import joined
    >>> joined([(np.ones(2), np.zeros(2)), (np.ones(1), np.zeros(1))], 3)
    (array([1., 1., 1.]), array([0., 0., 0.]))
    """
    parts = iter(parts)
    first = next(parts)
    whole = _kind_of(first)(first, n_rows)
    for part in parts:
        whole.add(part)
    return whole.end()


class _Several:
    """Tuples or lists, joined place by place."""

    def __init__(self, first: Any, n_rows: int):
        self.kind = type(first)
        self.places = [_kind_of(part)(part, n_rows) for part in first]

    def add(self, parts: Any) -> None:
        for place, part in zip(self.places, parts):
            place.add(part)

    def end(self) -> Any:
        return self.kind(place.end() for place in self.places)


class _Array:
    def __init__(self, first: np.ndarray, n_rows: int):
        self.whole = np.empty((n_rows, *first.shape[1:]), first.dtype)
        self.stop = 0
        self.add(first)

    def add(self, part: np.ndarray) -> None:
        # One part of a column may hold longer words than those before.
        dtype = np.result_type(self.whole, part)
        if dtype != self.whole.dtype:
            self.whole = self.whole.astype(dtype)
        start, self.stop = self.stop, self.stop + len(part)
        self.whole[start : self.stop] = part

    def end(self) -> np.ndarray:
        return self.whole


class _Frames:
    def __init__(self, first: Any, n_rows: int):
        self.parts = [first]

    def add(self, part: Any) -> None:
        self.parts.append(part)

    def end(self) -> Any:
        return table_class(container_of(self.parts[0])).below(self.parts)


def _kind_of(part: Any) -> Any:
    if isinstance(part, (tuple, list)):
        return _Several
    return _Array if container_of(part) == "numpy" else _Frames
