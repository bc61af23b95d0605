"""Methods that take a source where they take a table: fitted on its stream, applied by parts."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from .streaming import Sample, Source, Stream, sample_of, source_of
from .streaming.joining import joined
from .streaming.sample import sample_size
from .table import check_table

# Rows that a method sees at once: whole chunks of inference, and little memory.
ROWS_AT_ONCE = 1 << 16
CELLS_AT_ONCE = 1 << 21
# What an estimator has while it is fitted only.
OF_A_FIT = "_streamed", "_skl_", "_callback", "_parent_callback"


class _Streamed(NamedTuple):
    """What a fit learns from: a sample of a source, then all of it in a stream."""

    sample: Sample
    source: Source
    # Of all rows.
    weight: np.ndarray | None
    seed: int

    @property
    def sample_weight(self) -> np.ndarray | None:
        """Weights of the rows drawn."""
        return None if self.weight is None else self.weight[self.sample.rows]


def fits_sources(fit: Callable) -> Callable:
    """Let ``fit`` take a source: whole where it is small, else by a sample and a stream."""

    @wraps(fit)
    def fitted(self, X, y=None, sample_weight=None):
        X, source = _opened(X)
        if source is None:
            return fit(self, X, y, sample_weight)
        self._check_streams(y)
        seed, weight = _seed(self), _normalised(self, sample_weight, source)
        self._streamed = streamed = _Streamed(sample_of(source, seed), source, weight, seed)
        try:
            return fit(self, streamed.sample.table, None, streamed.sample_weight)
        finally:
            del self._streamed

    return fitted


def fits_samples(fit: Callable) -> Callable:
    """Let ``fit`` take a source, of which a sample stands for the whole where it is large."""

    @wraps(fit)
    def fitted(self, X, y=None):
        X, source = _opened(X)
        X = X if source is None else sample_of(source, _seed(self)).witnesses
        return fit(self, X, y)

    return fitted


def _opened(X) -> tuple[Any, Source | None]:
    """A table in memory, which that of a small source is, too; or the source of a large one."""
    source = source_of(X)
    if source is not None and source.n_rows <= sample_size(source):
        return source.whole(), None
    return X, source


def _seed(estimator) -> int:
    return check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)


def by_parts(method: Callable) -> Callable:
    """Let a method take a source: it is given one part after the other, and what comes joined.

    What is drawn goes on from part to part.
    """
    draws = "random_state" in inspect.signature(method).parameters

    @wraps(method)
    def applied(self, X, *args, **kwargs):
        source = source_of(X)
        if source is None:
            return method(self, X, *args, **kwargs)
        if draws:
            given = kwargs.get("random_state")
            given = self.random_state if given is None else given
            kwargs["random_state"] = check_random_state(given)
        parts = (method(self, part, *args, **kwargs) for part in parts_of(self, source))
        return joined(parts, source.n_rows)

    return applied


def parts_of(estimator, source: Source):
    """Yield the columns that an estimator knows of a source, so many rows at a time."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and source.names is not None and set(names) <= set(source.names):
        source = source.select(list(names))
    return source.tables(source.at_once(ROWS_AT_ONCE, CELLS_AT_ONCE))


def _normalised(estimator, sample_weight, source: Source) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    is_weight = np.isfinite(weight) & (weight >= 0)
    if weight.shape != (source.n_rows,) or not is_weight.all() or not weight.any():
        raise ValueError(
            f"{type(estimator).__name__}.fit expected sample_weight of shape ({source.n_rows},), "
            f"one per row of the source, finite, not negative and not all 0; got shape "
            f"{weight.shape}, {weight.size - int(is_weight.sum())} of them not so."
        )
    return weight / weight.mean()


class SourceMixin:
    """What of ``fit`` is different where the rows are beyond memory."""

    # While a fit of a large source lasts.
    _streamed: _Streamed | None = None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _check_streams(self, y) -> None:
        """Refuse what has to see all rows at once."""
        asked: dict[str, Any] = {
            "supervision": self.supervision,
            "trim": getattr(self, "trim", 0) or None,
            "conformal": getattr(self, "conformal", None),
        }
        for axis, why in (("penalty", "needs_whole_table"), ("view", "explains_others")):
            part = self._resolve(axis)
            asked[axis] = part if part is not None and getattr(part, why) else None
        for name, value in asked.items():
            if value is not None:
                raise ValueError(
                    f"{type(self).__name__}.fit reads a source of many rows block by block, and "
                    f"{name}={value!r} has to see all rows at once. Set {name} to its "
                    "default, or pass a table in memory."
                )
        if y is not None:
            raise ValueError(
                f"{type(self).__name__}.fit takes no y with a source that is read block by block, "
                "got one. Leave it out, or pass a table in memory."
            )

    def _n_training_rows(self, n_drawn: int, n_held_out: int) -> int:
        """Rows of an epoch, given those of the sample."""
        return n_drawn if self._streamed is None else self._streamed.source.n_rows - n_held_out

    def _learn(self, codec, X, sample_weight):
        """Fit the codec to the rows at hand, or to what a source can hold."""
        if self._streamed is not None:
            sample = self._streamed.sample
            X = check_table(self, sample.witnesses, reset=False)
            sample_weight = sample.witness_weight(self._streamed.sample_weight)
        return codec.fit(X, sample_weight=sample_weight)

    def _stream(self, job) -> Stream | None:
        """Where the rows of a job come from, if not from its resident table."""
        if self._streamed is None:
            return None
        sample, source, weight, seed = self._streamed
        held_out = np.zeros(0, dtype=np.int64)
        if job.validation_index is not None:
            held_out = np.sort(sample.rows[job.kept[job.validation_index[0].cpu().numpy()]])

        reader = copy.copy(self)
        # Other processes that train along are sent the reader: sample and callbacks stay here.
        for name in [name for name in vars(reader) if name.startswith(OF_A_FIT)]:
            delattr(reader, name)
        return Stream(source, partial(_encoded, reader, seed), held_out, weight, seed)


def _encoded(estimator, seed: int, table, weights: np.ndarray | None):
    """What is trained on of a table of a stream."""
    rows = estimator._resident(check_table(estimator, table, reset=False), None)
    if weights is not None:
        given = torch.as_tensor(weights, dtype=torch.float32)
        rows = replace(rows, weights=given.to(rows.values.device))
    view = estimator.vae_.view
    if view is None:
        return rows
    return view.attach(rows, estimator.codec_, np.random.RandomState(seed))
