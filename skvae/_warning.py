"""Whose line a warning points at: the caller's, whatever it passes on the way to us."""

from __future__ import annotations

import sys
from types import FrameType

# What lies between a call and the place that warns.
PASSED = {"contextlib", "functools", "skvae", "sklearn", "torch"}
# Where scikit-learn fits the models of folds, which nobody keeps.
FOLDS = "sklearn.model_selection._validation"


def level_of_caller() -> int:
    """The ``stacklevel`` of the first frame that is none of ours, for the function that warns."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _root(frame) in PASSED:
        frame, level = frame.f_back, level + 1
    return level


def in_cross_validation() -> bool:
    """Whether the fit at hand is that of a fold, by ``cross_validate`` or a search."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _module(frame) != FOLDS:
        frame = frame.f_back
    return frame is not None


def _root(frame) -> str:
    return _module(frame).split(".")[0]


def _module(frame) -> str:
    return str(frame.f_globals.get("__name__", ""))
