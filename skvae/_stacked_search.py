"""How the fits of a search are collected, and handed out again once they are done in stacks.

scikit-learn's own search code runs twice: first each fit only says what it would fit, then,
when all of these are trained, each fit takes over its model.  Whatever stands around the
estimator, a pipeline for instance, needs to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from joblib import hash as joblib_hash

_SEARCH: ContextVar[Any] = ContextVar("stacked_search", default=None)


def stacked_search() -> Any:
    """The search that the present fit belongs to, or None."""
    return _SEARCH.get()


@contextmanager
def as_search(search) -> Iterator[None]:
    """Let fits in this context ask ``search.fitted`` first."""
    token = _SEARCH.set(search)
    try:
        yield
    finally:
        _SEARCH.reset(token)


class Request(NamedTuple):
    """What a fit of a search would do.

    Parameters
    ----------
    key : str
        Says which fits are one and the same.
    estimator : estimator
    X : array-like or DataFrame
    sample_weight : array-like or None
    """

    key: str
    estimator: Any
    X: Any
    sample_weight: Any


class Requested(BaseException):
    """Ends a fit that was only to be asked for; no Exception, lest it be handled as one."""

    def __init__(self, request: Request | None):
        self.request = request


class Collector:
    """Asks a fit what it would do, and ends it there."""

    def __init__(self):
        self._tables: dict[str, Any] = {}

    def fitted(self, estimator, X, sample_weight) -> None:
        """Raise ``Requested``; equal tables are kept once."""
        # A callback follows one fit, epoch by epoch; of a source the table is but a sample.
        if getattr(estimator, "_skl_callbacks", None) or estimator._streamed is not None:
            raise Requested(None)
        X = self._tables.setdefault(joblib_hash(X), X)
        raise Requested(Request(_key(estimator, X, sample_weight), estimator, X, sample_weight))


class Finished:
    """Hands out the models of fits that are done.

    Parameters
    ----------
    models : dict of str to (dict, ndarray)
        Fitted attributes and places of the held-out rows by the key of the request.
    """

    def __init__(self, models: dict[str, tuple[dict, np.ndarray]]):
        self._models = models

    def fitted(self, estimator, X, sample_weight) -> np.ndarray | None:
        """Give the estimator its model; None if it was not asked for before."""
        model = self._models.get(_key(estimator, X, sample_weight))
        if model is None:
            return None
        attributes, held_out = model
        vars(estimator).update(attributes)
        return held_out


def _key(estimator, X, sample_weight) -> str:
    params = estimator.get_params(deep=False)
    return joblib_hash((type(estimator).__name__, params, X, sample_weight))
