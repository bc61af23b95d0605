"""What a method gives of the parts of a table as what it gives of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..table.frames import container_of, table_class


def joined(parts: Sequence[Any]) -> Any:
    """Arrays, frames, and tuples and lists of them, one below the other.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.streaming.joining import joined
    >>> joined([(np.ones(2), np.zeros(2)), (np.ones(1), np.zeros(1))])
    (array([1., 1., 1.]), array([0., 0., 0.]))
    """
    first = parts[0]
    if isinstance(first, (tuple, list)):
        return type(first)(joined(each) for each in zip(*parts))
    if container_of(first) == "numpy":
        return np.concatenate(parts)
    return table_class(container_of(first)).below(parts)
