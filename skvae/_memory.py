"""What to do when the memory of a device is full: work on fewer rows at once, or say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from ._warning import level_of_caller
from .exceptions import DeviceMemoryError, SmallerBatchesWarning

Part = TypeVar("Part")
# What allocators say that have no error of their own: those of CPUs and of MPS devices.
WORDS = ("can't allocate memory", "out of memory")


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no memory left.

    Examples
    --------
    >>> from skvae._memory import is_full
    >>> is_full(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_full(ValueError())
    (True, False)
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def in_parts(work: Callable[[int, int, int], Part], n_rows: int, at_once: int) -> list[Part]:
    """Work through rows part by part, by ever fewer at once where memory is full.

    Parameters
    ----------
    work : callable
        Given the first row of a part, the first behind it, and the number of rows at once.
    n_rows : int
    at_once : int

    Returns
    -------
    parts : list
        What ``work`` gave, in the order of the rows.

    Raises
    ------
    DeviceMemoryError
        If not even one row fits.
    """
    parts: list[Part] = []
    start, asked = 0, at_once
    while start < n_rows:
        stop = min(start + at_once, n_rows)
        try:
            parts.append(work(start, stop, at_once))
            start = stop
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_full(error):
                raise
            if at_once == 1:
                raise DeviceMemoryError(
                    f"Out of memory on one row at a time: {error} Use fewer n_draws, smaller "
                    "hidden_layer_sizes, or device='cpu'."
                ) from error
        # Out of the error, whose frames hold the tensors that there was no room for.
        _give_back()
        at_once = -(-at_once // 2)
    if at_once < asked:
        warnings.warn(
            f"Memory was full with {asked} rows at once, and {at_once} were taken: slower, and "
            "equal up to rounding. Free memory of the device, or use fewer n_draws or members.",
            SmallerBatchesWarning,
            stacklevel=level_of_caller(),
        )
    return parts


@contextmanager
def in_training(batch_size: int) -> Iterator[None]:
    """Say what to lower when training has no memory left."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_full(error) or isinstance(error, DeviceMemoryError):
            raise
        raise DeviceMemoryError(
            f"Out of memory in training with batches of {batch_size} rows: {error} Lower "
            "batch_size, n_members, n_draws of the objective or hidden_layer_sizes, free memory "
            "of the device, or use device='cpu'."
        ) from error


def _give_back() -> None:
    """Return what torch keeps for later to devices that others use, too."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
