"""Where a fit is, kept on disk: killed at any moment, it goes on and ends with the same bits.

What comes before a training loop and after it is computed again from the same table and the same
seed.  Only what steps change is kept: one file for each call of ``train`` in a fit, numbered in
the order in which they come, which is the same in every run.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._files import FolderLock, replacing
from .._warning import level_of_caller
from ..exceptions import CheckpointError, CheckpointWarning, DivergedError
from ..noise import Noise

# Of the time of training, what is spent on writing at most.
SHARE_OF_TIME = 0.005
# Seconds between two writes at least.
SHORTEST = 1.0
FORMAT = 1
MANIFEST = "fit.json"

# The loops of a fit are reached on many ways, scores and searches among them, none of which has
# anything else to say of where their state is kept.
_CURRENT: ContextVar[Checkpoint | None] = ContextVar("checkpoint", default=None)


class Checkpoint:
    """A folder in which one fit keeps where it is; training within ``with`` finds it.

    Parameters
    ----------
    folder : path
        Created where there is none.
    owner : str
        Who fits, for messages.
    facts : dict of str to str
        What the fit is of and how: one of other facts is another fit.
    machine : dict of str to str
        What may change the last bits of an equal fit.
    seed : int or None
        What random numbers start from in a new fit, where the caller does not say; one that
        goes on keeps its own.

    Attributes
    ----------
    seed : int or None
        That of the fit, once entered.

    Raises
    ------
    CheckpointError
        If the folder holds an unfinished fit of other facts, or files of somebody else, or
        another process fits in it, or it cannot be made.
    """

    def __init__(self, folder, owner: str, facts: dict, machine: dict, seed: int | None):
        self.folder, self.owner = Path(folder), owner
        self.facts, self.machine, self.seed = facts, machine, seed
        self.is_left = False
        self._n_parts = 0
        self._lock = FolderLock(self.folder)

    def __enter__(self) -> Checkpoint:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._error(
                f"is no folder and cannot be made one: {error}. Name another"
            ) from error
        if not self._lock.acquire():
            raise self._error("is in use by another fit. Give each fit a folder of its own")
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, kind, *_: Any) -> None:
        _CURRENT.reset(self._token)
        try:
            if kind is None and not self.is_left:
                self._write(finished=True)
            elif kind is not None and issubclass(kind, DivergedError):
                # It would diverge again; what is changed for the next fit is another fit.
                self._remove_parts()
        except OSError as error:
            self.warn(f"could not be written: {error}. The fit is done all the same")
        finally:
            self._lock.release()

    def next_part(self) -> Part | None:
        """Where the next loop keeps its state; None once a part was interrupted."""
        if self.is_left:
            return None
        self._n_parts += 1
        return Part(self, self.folder / f"part-{self._n_parts - 1}.npz", self._fit)

    def warn(self, what: str) -> None:
        """Tell of what went wrong and does not matter to the result."""
        text = f"checkpoint={str(self.folder)!r} of {self.owner} {what}."
        warnings.warn(text, CheckpointWarning, stacklevel=level_of_caller())

    def _open(self) -> None:
        """Go on with the fit that is here, or begin a new one."""
        there = self._read()
        if there is None:
            strange = [name for name in os.listdir(self.folder) if not name.endswith(".tmp")]
            if strange:
                raise self._error(f"holds other files, as {min(strange)!r}. Name a new folder")
        elif there["facts"] == self.facts:
            self._fit, self.seed = there["fit"], there["seed"]
            self._compare_machines(there["machine"])
            return
        elif not there["finished"] and any(self.folder.glob("part-*.npz")):
            raise self._error(
                "holds an unfinished fit of another kind: " + _differences(there, self.facts)
                + ". Repeat that call to go on with it; delete the folder to begin anew"
            )  # fmt: skip
        self._remove_parts()
        self._fit = os.urandom(8).hex()
        self._write(finished=False)

    def _remove_parts(self) -> None:
        for part in self.folder.glob("part-*.npz"):
            part.unlink()

    def _read(self) -> dict | None:
        path = self.folder / MANIFEST
        if not path.exists():
            return None
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            is_known = there["format"] == FORMAT
            kinds = {"facts": dict, "machine": dict, "fit": str, "finished": bool}
            if is_known and not all(isinstance(there[name], kinds[name]) for name in kinds):
                raise TypeError(f"{MANIFEST} holds something else")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(f"has a {MANIFEST} that is damaged. Delete the folder") from error
        if not is_known:
            raise self._error("was written by another version of skvae. Delete the folder")
        return {"seed": None, **there}

    def _write(self, finished: bool) -> None:
        content = {
            "format": FORMAT,
            "fit": self._fit,
            "finished": finished,
            "seed": self.seed,
            "facts": self.facts,
            "machine": self.machine,
        }
        with replacing(self.folder / MANIFEST) as file:
            file.write(json.dumps(content, indent=1).encode())

    def _compare_machines(self, there: dict) -> None:
        if there != self.machine:
            different = _differences({"facts": there}, self.machine)
            self.warn(f"was begun elsewhere: {different}. The last bits may differ")

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint={str(self.folder)!r} of {self.owner} {what}, or set checkpoint=None."
        )


class Part:
    """Where one loop keeps its state.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : Path
        The file; whoever kills the process, it is whole.
    fit : str
        A name of the fit; files of others are not read.
    """

    def __init__(self, checkpoint: Checkpoint, path: Path, fit: str):
        self.checkpoint, self.path, self.fit = checkpoint, path, fit
        self._next = time.monotonic() + SHORTEST
        self._has_warned = False

    def is_due(self) -> bool:
        """Whether so much time has passed that another write does not matter."""
        return time.monotonic() >= self._next

    def save(self, run, ended: bool = False) -> None:
        """Keep the state of a run; where the disk takes nothing, the last one stays."""
        started = time.monotonic()
        try:
            with replacing(self.path) as file:
                np.savez(file, fit=self.fit, ended=ended, **run.state())
        except OSError as error:
            if not self._has_warned:
                self.checkpoint.warn(f"could not be written: {error}. Training goes on")
            self._has_warned = True
        now = time.monotonic()
        self._next = now + max(SHORTEST, (now - started) / SHARE_OF_TIME)

    def resume(self, run) -> bool:
        """Bring a run to where it was; True if it had ended there."""
        if not self.path.exists():
            return False
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            fit, ended = str(state.pop("fit")), bool(state.pop("ended"))
        except Exception as error:  # What a damaged file raises is any of a dozen errors.
            self.checkpoint.warn(
                f"has a damaged {self.path.name} ({error!r}), so that this part of training "
                "begins anew"
            )
            return False
        if fit != self.fit:
            return False
        try:
            run.load_state(state)
        except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{str(self.path)!r} does not hold the state of this training ({error!r}). "
                "Delete the folder to begin anew, or set checkpoint=None."
            ) from error
        return ended

    def leave(self) -> None:
        """Keep nothing more: what follows an interruption is not what would have followed."""
        self.checkpoint.is_left = True


class Orders:
    """Random orders of rows, of which the last before a kill is drawn again.

    Batches of the orders before it are passed over, whatever their rows.

    Parameters
    ----------
    noise : Noise
        What else draws from it is not disturbed.
    n_before : int, default=0
        How many were drawn in the epoch before the kill.
    place : ndarray, optional
        Where the generators were before the last of these.

    Attributes
    ----------
    n_drawn : int
    place : ndarray
        Where the generators were before the last order.
    """

    def __init__(self, noise: Noise, n_before: int = 0, place: np.ndarray | None = None):
        self.noise, self.n_before, self.n_drawn = noise, n_before, 0
        self.place = np.empty(0, dtype=np.uint8) if place is None else place

    def permutation(self, n: int) -> Tensor:
        """One random order of ``n`` rows per member, ``(members, n)``."""
        self.n_drawn += 1
        present = self.noise.places()
        if self.n_drawn > self.n_before:
            self.place = present
            return self.noise.permutation(n)
        if self.n_drawn < self.n_before:
            return torch.arange(n, device=self.noise.device).expand(self.noise.n_members, -1)
        self.noise.load_places(self.place)
        order = self.noise.permutation(n)
        self.noise.load_places(present)
        return order


def next_part() -> Part | None:
    """Where a loop that begins keeps its state; None without a checkpoint."""
    checkpoint = _CURRENT.get()
    return None if checkpoint is None else checkpoint.next_part()


def flattened(parts: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """States of parts of a run under one name each, as ``part/name``."""
    return {f"{part}/{k}": array for part, state in parts.items() for k, array in state.items()}


def parted(state: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """What ``flattened`` was given; empty for parts without an array."""
    parts: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for name, array in state.items():
        part, _, name = name.partition("/")
        parts[part][name] = array
    return parts


def untrained(module: nn.Module) -> dict[str, np.ndarray]:
    """What no optimiser sees of a module and its steps may change all the same, as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in _untrained(module)}


def load_untrained(module: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Give a module such tensors, in place."""
    there = dict(_untrained(module))
    for name, array in state.items():
        there[name].copy_(torch.as_tensor(array))


def _untrained(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter.detach()
    for name, buffer in module.named_buffers():
        # What is one number seen many times cannot be written to, by steps neither.
        if all(stride or length < 2 for stride, length in zip(buffer.stride(), buffer.shape)):
            yield name, buffer


def _differences(there: dict, here: dict) -> str:
    before = there["facts"]
    found = [
        f"{name} was {before.get(name, 'not there')}, and is {here.get(name, 'not there')} now"
        for name in sorted({**before, **here})
        if before.get(name) != here.get(name)
    ]
    return "; ".join(found)
