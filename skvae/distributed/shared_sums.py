"""Sums over the processes of one machine, in memory that they share."""

from __future__ import annotations

import mmap
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    import fcntl
except ImportError:  # Systems without locks of this kind.
    fcntl = None  # type: ignore[assignment]

# Bytes between what two processes write, so that neither waits for the other's cache.
LINE = 128
# Seconds that a process asks without a break; then the pause between two looks, and between two
# looks at whether the others are alive.
EAGER, PAUSE, DOUBT = 2e-3, 5e-5, 0.2
# Where stores are seen in the order in which they were made.
ORDERED = {"x86_64", "amd64"}


class SharedSums:
    """Memory in which the processes of one machine add up their numbers.

    Each process writes its numbers to a place of its own, says that it has, waits for the
    others and adds up all places in the same order.  A sum of the default network takes a
    tenth of what a message through the sockets of the machine takes.  There are two sets of
    places in turn: who writes to one has seen that all others are done with it.

    Parameters
    ----------
    descriptor : int
        Of the open file in memory, of which this process holds the lock of the byte that has
        the number of its rank.  It belongs to this object from now on.
    rank, world_size : int
        Which process this is, and of how many.
    n_bytes : int
        Most bytes of the numbers of one process.
    timeout : float
        Seconds that a process waits for another.

    Raises
    ------
    RuntimeError
        By `add_up`, if another process has ended or was silent for too long.
    """

    def __init__(self, descriptor: int, rank: int, world_size: int, n_bytes: int, timeout: float):
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.n_bytes, self._descriptor, self._turn = n_bytes, descriptor, 0
        self._map = mmap.mmap(descriptor, _size(world_size, n_bytes))
        whole = np.frombuffer(self._map, np.uint8)
        marks, places = np.split(whole, [world_size * LINE])
        self._marks = marks.view(np.int64).reshape(world_size, -1)[:, 0]
        self._places = torch.from_numpy(places).view(2, world_size, -1)

    def add_up(self, numbers: Tensor) -> None:
        """Replace numbers by their sums over all processes."""
        self._turn += 1
        flat = numbers.view(-1)
        n_bytes = flat.numel() * flat.element_size()
        places = self._places[self._turn % 2, :, :n_bytes].view(flat.dtype)
        places[self.rank].copy_(flat)
        self._marks[self.rank] = self._turn
        for other in range(self.world_size):
            self._await(other)
        torch.sum(places, 0, out=flat)

    def close(self) -> None:
        """Let go of the memory; the others learn that this process takes part no more."""
        # Views of the memory may be alive, so that it goes when they do.
        del self._marks, self._places
        os.close(self._descriptor)

    def _await(self, other: int) -> None:
        began = asked = time.perf_counter()
        while self._marks[other] < self._turn:
            now = time.perf_counter()
            # A pause of nothing lets other threads of the process run.
            time.sleep(0 if now - began < EAGER else PAUSE)
            if now - asked > DOUBT:
                asked = now
                self._doubt(other, now - began)

    def _doubt(self, other: int, waited: float) -> None:
        if waited > self.timeout:
            raise RuntimeError(f"Process {other} was silent for {waited:.0f} s")
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, other)
        except OSError:
            return
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, other)
        # What it left as its last word counts.
        if self._marks[other] < self._turn:
            raise RuntimeError(f"Process {other} has ended")


def shared_sums(
    rank: int, world_size: int, n_bytes: int, timeout: float,
    told: Callable[[Any], Any], all_agree: Callable[[bool], bool],
) -> SharedSums | None:  # fmt: skip
    """Memory for sums of up to so many bytes, or None if the processes share none.

    Every process must call it at the same time.

    Parameters
    ----------
    rank, world_size : int
    n_bytes : int
    timeout : float
    told : callable
        Gives every process what the first one says.
    all_agree : callable
        Whether all processes say yes.
    """
    # Places begin at whole lines.
    n_bytes = -(-n_bytes // LINE) * LINE
    path, descriptor = (None, None) if rank else _created(_size(world_size, n_bytes))
    path = told(path)
    try:
        if rank and path is not None and is_supported():
            descriptor = _opened(path)
        if descriptor is not None:
            # The lock goes with the process, however it ends.
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, rank)
        agreed = all_agree(descriptor is not None)
    finally:
        if rank == 0 and path is not None:
            Path(path).unlink(missing_ok=True)
    if descriptor is None:
        return None
    if not agreed:
        os.close(descriptor)
        return None
    return SharedSums(descriptor, rank, world_size, n_bytes, timeout)


def is_supported() -> bool:
    """Whether processes of this machine can add up in shared memory."""
    return fcntl is not None and platform.machine().lower() in ORDERED


def _size(world_size: int, n_bytes: int) -> int:
    return world_size * (LINE + 2 * n_bytes)


def _created(size: int) -> tuple[str | None, int | None]:
    """A new file in memory, or nothing where there is no room."""
    if not is_supported():
        return None, None
    memory = Path("/dev/shm")
    folder = memory if os.access(memory, os.W_OK) else None
    descriptor, path = tempfile.mkstemp(prefix="skvae-", dir=folder)
    try:
        # A page that cannot be had would end the process once it is written to.
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        os.unlink(path)
        return None, None
    return path, descriptor


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDWR)
    except OSError:  # Another machine.
        return None
