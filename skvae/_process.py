"""Settings of the process that arithmetic needs, put back on the way out.

Some settings are one for all threads of the process.  The first thread to come sets those and
the last to leave puts them back: in between nobody may find them changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

# What torch calls the precisions.
PRECISIONS = {"float32": "ieee", "tf32": "tf32"}
# Where this was imported: in a fork of that process the threads of OpenMP are gone, and who
# calls for them waits for ever.
IMPORTED_IN = os.getpid()


def n_threads_of(n_jobs: int | None) -> int:
    """Threads that ``n_jobs`` of an estimator stands for: one unless told otherwise, or forked."""
    if n_jobs == 0:
        raise ValueError("n_jobs should be None, -1 or a number of threads from 1 on, got 0.")
    return 1 if n_jobs is None or os.getpid() != IMPORTED_IN else effective_n_jobs(n_jobs)


def modes() -> Callable[[], None]:
    """What puts back whether torch takes gradients, and what NumPy does about bad numbers.

    The contexts of both that change these lose track of an interrupt on their way in or out.
    """
    with_gradients, errors, handler = torch.is_grad_enabled(), np.geterr(), np.geterrcall()

    def put_back() -> None:
        torch.set_grad_enabled(with_gradients)
        if np.geterr() != errors or np.geterrcall() is not handler:
            np.seterrcall(handler)
            np.seterr(**errors)

    return put_back


@contextmanager
def arithmetic(n_threads: int | None, precision: str | None = None) -> Iterator[None]:
    """Run with this many threads, without denormal numbers and in this precision.

    Small matrix products wait for each other's threads longer than they compute, and
    denormal moments of dead units slow Adam down sevenfold.

    Parameters
    ----------
    n_threads : int or None
        Threads of torch and of the BLAS libraries behind NumPy; None changes neither.
    precision : str or None
        See ``matrix_products``.
    """
    before = torch.get_num_threads()
    # torch tells whether denormals are flushed by nothing but arithmetic of this thread.
    flushed = sys.float_info.min / 2 == 0.0
    put_back_modes = modes()

    def put_back() -> None:
        put_back_modes()
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
        torch.set_flush_denormal(flushed)

    # An interrupt may come on the way in and on the way out, too.
    try:
        torch.set_flush_denormal(True)
        if n_threads is not None and n_threads != before:
            torch.set_num_threads(n_threads)
        with _blas_threads(n_threads), matrix_products(precision):
            yield
    finally:
        try:
            put_back()
        except BaseException:
            put_back()
            raise


@contextmanager
def matrix_products(precision: str | None) -> Iterator[None]:
    """Compute products, convolutions and recurrent layers of CUDA devices in this precision.

    Those of other devices are not touched, and sums and results stay float32.

    Parameters
    ----------
    precision : {"float32", "tf32"} or None
        None changes nothing.
    """
    if precision is None:
        yield
        return
    asked = [PRECISIONS[precision]] * len(_product_places())
    with _shared(os.getpid(), _product_settings, _set_product_settings).at(asked):
        yield


class _Shared:
    """A setting of the process, held by any number of threads; the first decides its value."""

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None]):
        self.read, self.write = read, write
        self.lock = Lock()
        self.holders: set[object] = set()

    @contextmanager
    def at(self, value: Any) -> Iterator[None]:
        holder = object()
        try:
            with self.lock:
                first = not self.holders
                if first:
                    self.before = self.read()
                # Noted before it is set, so that an interrupt leaves nothing set for good.
                self.holders.add(holder)
                if first:
                    self.write(value)
            yield
        finally:
            try:
                self._leave(holder)
            except BaseException:
                self._leave(holder)
                raise

    def _leave(self, holder: object) -> None:
        with self.lock:
            if self.holders == {holder}:
                self.write(self.before)
            self.holders.discard(holder)


@cache
def _shared(process: int, read: Callable[[], Any], write: Callable[[Any], None]) -> _Shared:
    """One per process: a fork must not wait for holders whose threads it does not have."""
    return _Shared(read, write)


# -- precision ----------------------------------------------------------------------------


def _product_places() -> list:
    """Where torch keeps the precision of matrix products, convolutions and recurrent layers."""
    cudnn: Any = torch.backends.cudnn
    parts = [getattr(cudnn, name, None) for name in ("conv", "rnn")]
    # Before torch 2.9 both have one.
    known = all(hasattr(part, "fp32_precision") for part in parts)
    return [torch.backends.cuda.matmul, *(parts if known else [cudnn])]


def _product_settings() -> list[str]:
    return [_precision_of(place) for place in _product_places()]


def _set_product_settings(values: list[str]) -> None:
    for place, value in zip(_product_places(), values):
        _set_precision_of(place, value)


def _precision_of(settings: Any) -> str:
    if hasattr(settings, "fp32_precision"):
        return settings.fp32_precision
    # Before torch 2.9 there is only the other name; from then on the two do not mix.
    return "tf32" if settings.allow_tf32 else "ieee"


def _set_precision_of(settings: Any, value: str) -> None:
    if hasattr(settings, "fp32_precision"):
        settings.fp32_precision = value
    else:
        settings.allow_tf32 = value == "tf32"


# -- threads of BLAS ----------------------------------------------------------------------


@contextmanager
def _blas_threads(n_threads: int | None) -> Iterator[None]:
    if n_threads is None:
        yield
        return
    common, own = _blas_libraries(len(sys.modules))
    before, asked = _counts(own), [(library, n_threads) for library in common]
    try:
        _set_counts([(library, n_threads) for library in own])
        with _shared(os.getpid(), _common_counts, _set_counts).at(asked):
            yield
    finally:
        try:
            _set_counts(before)
        except BaseException:
            _set_counts(before)
            raise


@lru_cache(maxsize=1)
def _blas_libraries(n_modules: int) -> tuple[list, list]:
    """Those with one count for the process and those with one per thread.

    Asked by the number of modules: importing one may have loaded another library.
    """
    blas = ThreadpoolController().select(user_api="blas")
    common = blas.select(threading_layer="pthreads").lib_controllers
    return common, [library for library in blas.lib_controllers if library not in common]


def _counts(libraries: list) -> list[tuple[Any, int]]:
    return [(library, library.num_threads) for library in libraries]


def _common_counts() -> list[tuple[Any, int]]:
    return _counts(_blas_libraries(len(sys.modules))[0])


def _set_counts(counts: list[tuple[Any, int]]) -> None:
    try:
        for library, count in counts:
            if library.num_threads != count:
                library.set_num_threads(count)
    finally:
        # Who sets OpenBLAS controls it from then on, says threadpoolctl, but another thread may
        # be the one to put it back.  The end of a limit gives the control up, also that of an
        # earlier call that was interrupted before it came to this.
        if counts:
            with _no_libraries().limit():
                pass


@cache
def _no_libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="none")
