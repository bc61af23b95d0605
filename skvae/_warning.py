"""Whose line a warning points at: the caller's, whatever it passes on the way to us."""

from __future__ import annotations

import sys

# What lies between a call and the place that warns.
PASSED = {"contextlib", "functools", "skvae", "sklearn", "torch"}


def level_of_caller() -> int:
    """The ``stacklevel`` of the first frame that is none of ours, for the function that warns."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _root(frame) in PASSED:
        frame, level = frame.f_back, level + 1
    return level


def _root(frame) -> str:
    return str(frame.f_globals.get("__name__", "")).split(".")[0]
