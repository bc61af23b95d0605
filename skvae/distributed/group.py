"""Processes that train together by torch.distributed."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .._process import arithmetic
from ..exceptions import WorkerLostError
from ..training.group import as_group
from ..training.shared import Lanes
from .shared_sums import SharedSums, shared_sums

# Seconds between two looks for work: the first ones, and at most.
SOONEST, LATEST = 0.005, 0.2
END = b"end"


class Group(Lanes):
    """The processes of ``torch.distributed``; the first leads and the others follow.

    The first one runs ``fit`` and every training in it is announced to the others, which wait
    in ``follow``.  Each step adds up one flat gradient over all processes, which those of one
    machine do in memory that they share.

    Parameters
    ----------
    rank, world_size : int
        Which process this is, and of how many.
    n_lanes : int
        Parts of every batch, as many as processes or more.
    timeout : float
        Seconds that a process waits for another.
    store : torch.distributed.Store
        Where processes leave word for one another.

    Attributes
    ----------
    shares_memory : bool
        Whether to add up in memory that all processes share; False once there is none.
    """

    def __init__(self, rank: int, world_size: int, n_lanes: int, timeout: float, store):
        super().__init__(n_lanes)
        self.rank, self.world_size = rank, world_size
        self.timeout, self.store = timeout, store
        self._parent, self._n_jobs = os.getppid(), 0
        cuda = dist.get_backend() == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if cuda else "cpu"
        self._sums: SharedSums | None = None
        self.shares_memory = not cuda and _n_local(world_size) == world_size > 1

    def announce(self, job: tuple) -> None:
        """Tell the other processes what is to be trained."""
        self._leave_word(b"train")
        self._broadcast(job)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Share all training within it, then tell the others that there is nothing more to do."""
        try:
            with as_group(self):
                yield
        except WorkerLostError:
            raise
        except BaseException:
            self._leave_word(END)
            raise
        self._leave_word(END)

    def follow(self) -> None:
        """Train along whatever is announced."""
        for job in self._jobs():
            # A model travels as arrays, and the rows are on the device.
            job[0].to(job[3].device)
            settings = job[6]
            process = arithmetic(settings.n_threads, settings.precision)
            with process, np.errstate(all="ignore"):
                run = self.start(job)
                run.part = None
                run.fit(lambda record: False)

    def told(self, what: Any) -> Any:
        """What the first process says."""
        self._check_parent()
        return self._broadcast(what)

    def add_up(self, numbers: Tensor) -> None:
        """Replace numbers by their sums over all processes."""
        sums = self._sums_for(numbers)
        here = numbers.to(self._device)
        add_up = dist.all_reduce if sums is None else sums.add_up
        self._together("adding up gradients", lambda: add_up(here))
        if here is not numbers:
            numbers.copy_(here)

    def close(self) -> None:
        """Take no part any more."""
        if self._sums is not None:
            self._sums.close()
            self._sums = None

    def _sums_for(self, numbers: Tensor) -> SharedSums | None:
        """Shared memory that holds the numbers, or None if the processes share none."""
        n_bytes = numbers.numel() * numbers.element_size()
        if self.shares_memory and (self._sums is None or self._sums.n_bytes < n_bytes):
            self.close()
            how = self.rank, self.world_size, n_bytes, self.timeout
            self._sums = shared_sums(*how, self._broadcast, self._all_agree)
            self.shares_memory = self._sums is not None
        return self._sums

    def _all_agree(self, yes: bool) -> bool:
        n_yes = torch.tensor(float(yes))
        self._together("agreeing on memory", lambda: dist.all_reduce(n_yes))
        return int(n_yes) == self.world_size

    def _jobs(self) -> Iterator[tuple]:
        while self._word() != END:
            yield self._broadcast(None)

    def _leave_word(self, word: bytes) -> None:
        self.store.set(f"job-{self._n_jobs}", word)
        self._n_jobs += 1

    def _word(self) -> bytes:
        """The next word of the first process, which may be long at other things."""
        key, pause = f"job-{self._n_jobs}", SOONEST
        while not self.store.check([key]):
            self._check_parent()
            time.sleep(pause)
            pause = min(2 * pause, LATEST)
        self._n_jobs += 1
        return self.store.get(key)

    def _broadcast(self, what: Any) -> Any:
        packed = _packed(what) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(packed)], device=self._device)
        self._together("hearing from the first", lambda: dist.broadcast(size, 0))
        packed = packed.new_empty(int(size)) if self.rank else packed
        packed = packed.to(self._device)
        self._together("hearing from the first", lambda: dist.broadcast(packed, 0))
        return _unpacked(packed) if self.rank else what

    def _together(self, what: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except RuntimeError as error:
            raise WorkerLostError(
                f"Process {self.rank} of {self.world_size} lost another one while {what}: it has "
                f"ended, or was silent for {self.timeout:g} s. Look for its own message and for "
                "memory that ran out, and start again: with checkpoint='folder' of the "
                f"estimator, training goes on where it was. ({error})"
            ) from error

    def _check_parent(self) -> None:
        if os.getppid() != self._parent:
            raise WorkerLostError(
                f"Process {self.rank} of {self.world_size} stops, as the process that started it "
                "has ended."
            )


@contextmanager
def joined_group(
    store, rank: int, world_size: int, n_lanes: int | None, backend: str, timeout: float
) -> Iterator[Group]:
    """The group of this process and the others, which leaves when the context ends.

    Raises
    ------
    ValueError
        If there are fewer lanes than processes.
    """
    n_lanes = world_size if n_lanes is None else n_lanes
    if n_lanes < world_size:
        raise ValueError(
            f"Each of {world_size} processes trains one shard or more, got n_shards={n_lanes}. "
            "Raise n_shards, or start fewer processes."
        )
    if backend == "auto":
        own_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= _n_local(world_size)
        backend = "nccl" if own_gpu else "gloo"
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", rank))
        torch.cuda.set_device(local % torch.cuda.device_count())
    limit = timedelta(seconds=timeout)
    dist.init_process_group(
        backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world_size,
        timeout=limit,
    )  # fmt: skip
    group = Group(rank, world_size, n_lanes, timeout, dist.PrefixStore("words", store))
    try:
        yield group
    finally:
        group.close()
        dist.destroy_process_group()


def _n_local(world_size: int) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size))


def _packed(what: Any) -> Tensor:
    buffer = io.BytesIO()
    torch.save(what, buffer)
    return torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)


def _unpacked(packed: Tensor) -> Any:
    buffer = io.BytesIO(packed.cpu().numpy().tobytes())
    return torch.load(buffer, map_location=_own_device, weights_only=False)


def _own_device(storage, location: str):
    return storage.cuda() if location.startswith("cuda") else storage
