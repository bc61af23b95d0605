"""Training that processes share: each takes its lanes of every batch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._pass import Batch
from ..arrays import twin
from ..exceptions import WorkerLostError
from .checkpoint import Part
from .lanes import LaneFeed, LaneNoise, joined, lane_sizes
from .loop import _Run
from .terms import TERMS


class Lanes:
    """Every batch is cut into lanes, all of which this process trains.

    The loss of a batch is a mean over its rows, so that its gradient is the mean of those of
    the lanes, each weighed by its rows.  However many processes share the lanes out among
    them, the weights are those that one process ends with, up to the order of sums.

    Parameters
    ----------
    n_lanes : int, default=1
        Parts of every batch.  Each is a fixed share of the rows of the table, and has as many
        steps per epoch as the others, however many rows it has.
    """

    rank, world_size = 0, 1

    def __init__(self, n_lanes: int = 1):
        self.n_lanes = n_lanes

    @property
    def own(self) -> range:
        """The lanes of this process."""
        return range(self.rank, self.n_lanes, self.world_size)

    def run(self, vae, objective, rows, train_index, validation_index, noise, *how) -> SharedRun:
        """Begin to train, here and wherever else there are lanes."""
        check_rows_apart(vae, objective)
        job = vae, objective, rows, train_index, validation_index, noise.seeds(), *how
        self.announce(job)
        return self.start(job)

    def start(self, job: tuple) -> SharedRun:
        """Begin to train the lanes of this process."""
        vae, objective, rows, train_index, validation_index, seeds, *how = job
        noise = LaneNoise(seeds, self.own, train_index.device)
        return SharedRun(self, vae, objective, rows, train_index, validation_index, noise, *how)

    def announce(self, job: tuple) -> None:
        """Tell the other processes what is to be trained."""

    def told(self, what: Any) -> Any:
        """What the first process says."""
        return what

    def add_up(self, numbers: Tensor) -> None:
        """Replace numbers by their sums over all processes."""


class SharedRun(_Run):
    """A run of the training loop over the lanes of one process."""

    def __init__(self, group: Lanes, *arguments):
        super().__init__(*arguments)
        self.group = group
        self._part = SharedPart(group, None)
        n_steps = len(self.batch_sizes)
        lanes = self.feed.lanes(group.n_lanes)
        sizes = np.array([lane_sizes(lane.n_rows, n_steps) for lane in lanes])
        own = list(group.own)
        self.feed = LaneFeed([lanes[i] for i in own], self.feed.n_rows)
        self.lane_sizes = sizes[own].tolist()
        self.batch_sizes = sizes.sum(0).tolist()
        self._own_sizes = sizes[own].sum(0).tolist()

    @property
    def own_sizes(self) -> list[int]:
        return self._own_sizes

    @property
    def part(self) -> Any:  # type: ignore[override]
        """Where the first process keeps the state of the run."""
        return self._part

    @part.setter
    def part(self, part: Part | None) -> None:
        self._part = SharedPart(self.group, part)

    def _train(self, on_epoch: Callable[[dict], bool]) -> None:
        try:
            super()._train(lambda record: self.group.told(bool(on_epoch(record))))
        except WorkerLostError:
            self.part.save(self)
            raise

    def _batches(self, epoch: int) -> Generator[Batch, None, None]:
        done = 0 if self.terms is None else self.terms.n_steps
        self.noise.begin(epoch, done)
        lanes = zip(self.feed.lanes, self.noise.orders(epoch), self.lane_sizes)
        parts = [self._batches_of(feed, orders, epoch, sizes) for feed, orders, sizes in lanes]
        for batches in zip(*parts):
            self.noise.sizes = [batch.values.shape[2] for batch in batches]
            yield joined(batches)
        self.noise.sizes = None

    def _step(self, batch: Batch, progress: float) -> Any:
        step = 0 if self.terms is None else self.terms.n_steps
        share = self.own_sizes[step] / self.batch_sizes[step]
        gradient = self.optimizer.gradient
        terms = super()._step(batch, progress) if share else self._nothing()
        gradient *= share
        self.group.add_up(gradient)
        return terms

    def _nothing(self) -> list:
        """The terms of no row, whose gradient is 0."""
        self.optimizer.gradient.zero_()
        zero = torch.zeros(len(self.members), device=self.best.device)
        return [zero if self.gaussian is None else twin(zero)] * len(TERMS)

    def _judged(self) -> list:
        return self.validation[self.group.rank :: self.group.world_size]

    def _over_all(self, sums: np.ndarray) -> np.ndarray:
        whole = torch.as_tensor(sums, device=self.best.device)
        self.group.add_up(whole)
        return whole.cpu().numpy()


class SharedPart:
    """Where the first process keeps the state of a run, and whence the others have it.

    A run that goes on within an epoch draws other noise there than it would have drawn.

    Parameters
    ----------
    group : Lanes
    part : Part or None
        Of the first process, if there is a checkpoint.
    """

    def __init__(self, group: Lanes, part: Part | None):
        self.group, self.part = group, part

    def resume(self, run: SharedRun) -> bool:
        """Bring a run to where it was; True if it had ended there."""
        begun = run.epoch, run.terms
        ended = self.part is not None and self.part.resume(run)
        goes_on = self.part is not None and (ended or (run.epoch, run.terms) != begun)
        ended, state = self.group.told((ended, run.state() if goes_on else None))
        if self.group.rank and state is not None:
            run.load_state(state)
        return ended

    def is_due(self) -> bool:
        """Whether so much time has passed that another write does not matter."""
        return self.part is not None and self.part.is_due()

    def save(self, run: SharedRun, ended: bool = False) -> None:
        """Keep the state of a run."""
        if self.part is not None:
            self.part.save(run, ended)

    def leave(self) -> None:
        """Keep nothing more."""
        if self.part is not None:
            self.part.leave()


def check_rows_apart(vae, objective) -> None:
    """Refuse a model whose loss is not a mean over rows.

    Raises
    ------
    ValueError
        If a part of it looks at several rows of a batch at once.
    """
    parts = [objective, *(vae.modules() if isinstance(vae, nn.Module) else [])]
    for part in parts:
        if not getattr(part, "rows_apart", True):
            raise ValueError(
                "Training is shared by adding up the gradients of parts of a batch, and "
                f"{part!r} compares rows of a whole one. Train it in one process, or set it to "
                "its default."
            )
