"""How to train: for one model, and for a stack whose members differ in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))),
    "constant": lambda progress: 1.0,
}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    max_iter : int
        Epochs at most.
    batch_size : int
        Rows per step; the batches of an epoch differ by one row at most.
    learning_rate : float
        Step size at the start.
    schedule : {"cosine", "constant"}
        How the step size changes over ``max_iter`` epochs.
    weight_decay : float
        Decoupled decay of the weight matrices.
    clip_norm : float or None
        Largest norm of a gradient.
    n_iter_no_change : int
        Epochs without improvement of the held-out bound before training stops.
    tol : float
        Smallest improvement that counts, nats per row.
    n_threads : int or None
        Threads for the arithmetic; None leaves torch's setting alone.
    precision : str or None
        Precision of matrix products on CUDA devices; None leaves it alone.
    """

    max_iter: int
    batch_size: int
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip_norm: float | None = None
    n_iter_no_change: int = 10
    tol: float = 1e-4
    n_threads: int | None = 1
    precision: str | None = None

    def rate(self, epoch: float) -> float:
        """Step size at a moment of the run, in epochs from its start."""
        return self.learning_rate * SCHEDULES[self.schedule](epoch / self.max_iter)


class StackSettings:
    """The settings of every member of a stack.

    Members must agree on what gives a step its shape: batch size, threads and precision.

    Parameters
    ----------
    settings : sequence of Settings
        One per member.
    """

    def __init__(self, settings: Sequence[Settings]):
        self.members = list(settings)
        first = self.members[0]
        self.batch_size = first.batch_size
        self.n_threads, self.precision = first.n_threads, first.precision
        self.max_iter = self._each("max_iter", int)
        self.longest = int(self.max_iter.max())
        self.weight_decay = self._each("weight_decay", float)
        self.n_iter_no_change = self._each("n_iter_no_change", int)
        self.tol = self._each("tol", float)
        self.clip_norm = None if first.clip_norm is None else self._each("clip_norm", float)
        # Neighbours that agree in everything take one call of the optimiser.
        changes = [i for i in range(1, len(settings)) if settings[i] != settings[i - 1]]
        edges = [0, *changes, len(settings)]
        self._runs = [(i, j, settings[i]) for i, j in zip(edges, edges[1:])]

    def rates(self, epoch: float) -> list[tuple[int, int, float]]:
        """First member, last + 1 and step size of each run of equal members."""
        return [(first, stop, settings.rate(epoch)) for first, stop, settings in self._runs]

    def select(self, members: Sequence[int]) -> StackSettings:
        """The settings of these members."""
        return StackSettings([self.members[i] for i in members])

    def _each(self, name: str, dtype: type) -> np.ndarray:
        return np.array([getattr(settings, name) for settings in self.members], dtype)
