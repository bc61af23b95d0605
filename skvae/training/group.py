"""The processes that train together, known to all training within a context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_GROUP: ContextVar[Any] = ContextVar("group", default=None)


def current_group() -> Any:
    """The group that training in this context is shared with, or None."""
    return _GROUP.get()


@contextmanager
def as_group(group) -> Iterator[None]:
    """Let every training in this context be shared by ``group``; None for by nobody."""
    token = _GROUP.set(group)
    try:
        yield
    finally:
        _GROUP.reset(token)
