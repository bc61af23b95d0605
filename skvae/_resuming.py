"""A ``fit`` that is killed and called again goes on where it was."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from joblib import hash as joblib_hash
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from ._device import resolve_device
from ._process import n_threads_of
from ._stacked_search import stacked_search
from ._version import __version__
from .streaming import source_of
from .table.fingerprint import fingerprint
from .training.checkpoint import Checkpoint

# Parameters that say where, and not what.
WHERE = {"checkpoint", "device", "n_jobs", "verbose"}


def resumable(fit: Callable) -> Callable:
    """Let ``fit`` keep where it is in the folder ``checkpoint`` of its estimator."""
    signature = inspect.signature(fit)

    @wraps(fit)
    def fitted(self, X, *args, **kwargs):
        # The fits of a stacked search are trained together, and not here.
        if self.checkpoint is None or stacked_search() is not None:
            return fit(self, X, *args, **kwargs)
        _check_anew(self)
        arguments = dict(signature.bind(self, X, *args, **kwargs).arguments)
        del arguments["self"]
        seed = None
        if self.random_state is None:
            seed = int(check_random_state(None).randint(np.iinfo(np.int32).max))
        name = type(self).__name__
        facts = _facts(self, arguments)
        with Checkpoint(self.checkpoint, name, facts, _machine(self), seed) as checkpoint:
            with _seeded(self, checkpoint.seed):
                return fit(self, X, *args, **kwargs)

    return fitted


def _check_anew(estimator) -> None:
    if getattr(estimator, "warm_start", False) and hasattr(estimator, "vae_"):
        raise ValueError(
            f"checkpoint={str(estimator.checkpoint)!r} of {type(estimator).__name__} keeps a fit "
            "from its beginning, and with warm_start=True this one goes on from the model at "
            "hand. Set checkpoint=None, or fit anew with warm_start=False."
        )


@contextmanager
def _seeded(estimator, seed: int | None) -> Iterator[None]:
    """Let ``random_state=None`` be this seed for a while."""
    if seed is None:
        yield
        return
    estimator.random_state = seed
    try:
        yield
    finally:
        estimator.random_state = None


def _facts(estimator, arguments: dict[str, Any]) -> dict[str, str]:
    """What a fit is of and how."""
    params = estimator.get_params(deep=True)
    return {
        "estimator": type(estimator).__name__,
        "skvae": __version__,
        **{name: _text(value) for name, value in params.items() if name not in WHERE},
        **{name: _digest(value) for name, value in arguments.items()},
    }


def _machine(estimator) -> dict[str, str]:
    """What may change the last bits."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": str(resolve_device(estimator.device)),
        "number of threads": str(n_threads_of(estimator.n_jobs)),
    }


def _digest(value: Any) -> str:
    if value is None:
        return "None"
    source = source_of(value)
    return f"table {fingerprint(value) if source is None else source.fingerprint()}"


def _text(value: Any) -> str:
    if isinstance(value, BaseEstimator):
        return type(value).__name__
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return f"{type(value).__name__} {joblib_hash(value)[:16]}"
    return repr(value)
