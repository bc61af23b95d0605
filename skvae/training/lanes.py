"""Lanes: the parts of every batch, which processes share out among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch
from ..noise import Noise

# No step of an epoch has this number.
ORDERS = 1 << 62


def lane_sizes(n_rows: int, n_steps: int) -> list[int]:
    """Rows of a lane in each of the batches of an epoch, which differ by one at most."""
    return np.diff(np.arange(n_steps + 1) * n_rows // n_steps).tolist()


@dataclass
class LaneFeed:
    """Where the rows of the lanes of one process come from.

    Parameters
    ----------
    lanes : list of Resident or Streamed
        One for each lane of this process.
    n_rows : int
        Rows of an epoch in all lanes, whoever trains them.
    """

    lanes: list[Any]
    n_rows: int

    def select(self, members: Tensor) -> LaneFeed:
        """The lanes for these members of a stack."""
        return LaneFeed([lane.select(members) for lane in self.lanes], self.n_rows)


class LaneNoise(Noise):
    """Random numbers for the rows of some lanes, each lane with generators of its own.

    A row gets the same numbers whichever other lanes its process trains, and an epoch has its
    own whatever came before.  What belongs to no row comes from generators that are alike in
    all processes.

    Parameters
    ----------
    seeds : sequence of int
        One per member.
    own : sequence of int
        The lanes of this process.
    device : str or torch.device
        Where the numbers are drawn.

    Attributes
    ----------
    sizes : sequence of int or None
        Rows of each of the lanes in the batch at hand; None where there is no batch.

    Examples
    --------
    >>> from skvae.training.lanes import LaneNoise
    >>> both, second = LaneNoise([7], own=[0, 1]), LaneNoise([7], own=[1])
    >>> both.sizes, second.sizes = [4, 2], [2]
    >>> bool((both.normal(1, 6, 3)[:, :, 4:] == second.normal(1, 2, 3)).all())
    True
    """

    def __init__(
        self, seeds: Sequence[int], own: Sequence[int], device: str | torch.device = "cpu"
    ):
        self._seeds, self.own, self.device = list(seeds), list(own), torch.device(device)
        self.begin(0)

    def begin(self, epoch: int, step: int = 0) -> None:
        """Go to where an epoch begins, or goes on after so many steps."""
        self.sizes: Sequence[int] | None = None
        self.shared = self._source(0, epoch, step)
        self.lanes = [self._source(1 + lane, epoch, step) for lane in self.own]

    def orders(self, epoch: int) -> list[Noise]:
        """Sources of the orders of rows of each lane, which nothing else draws from."""
        return [self._source(1 + lane, epoch, ORDERS) for lane in self.own]

    def _source(self, *place: int) -> Noise:
        return Noise([_mixed(seed, *place) for seed in self._seeds], self.device)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: epoch and step say where the source is."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from there."""

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self._seeds)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, ``(members, *shape)``."""
        return self._drawn(shape, Noise.normal)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), ``(members, *shape)``."""
        return self._drawn(shape, Noise.uniform)

    def permutation(self, n: int) -> Tensor:
        """One random order of ``n`` rows per member, ``(members, n)``, alike in all processes."""
        return self.shared.permutation(n)

    def gamma(self, concentration: Tensor) -> Tensor:
        """Gamma numbers of rate 1 for concentrations ``(members, draws, rows, ...)``."""
        return self._drawn_for(concentration, Noise.gamma)

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts for rates ``(members, draws, rows, ...)``."""
        return self._drawn_for(rate, Noise.poisson)

    def select(self, members: Sequence[int]) -> LaneNoise:
        """The source of these members at the beginning of the first epoch."""
        return LaneNoise([self._seeds[i] for i in members], self.own, self.device)

    def _axis_of_rows(self, shape: Sequence[int]) -> int | None:
        """Which axis of ``(rows, columns)`` or ``(draws, rows, ...)`` is that of the batch."""
        axis = min(len(shape) - 2, 1)
        at_hand = self.sizes is not None and axis >= 0 and shape[axis] == sum(self.sizes)
        return axis if at_hand else None

    def _drawn(self, shape: tuple[int, ...], draw: Callable[..., Tensor]) -> Tensor:
        axis = self._axis_of_rows(shape)
        if axis is None:
            return draw(self.shared, *shape)
        parts = []
        for noise, size in zip(self.lanes, self.sizes or ()):
            parts.append(draw(noise, *shape[:axis], size, *shape[axis + 1 :]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1 + axis)

    def _drawn_for(self, cells: Tensor, draw: Callable[[Noise, Tensor], Tensor]) -> Tensor:
        axis = self._axis_of_rows(cells.shape[1:])
        if axis is None:
            return draw(self.shared, cells)
        parts = zip(self.lanes, cells.split(list(self.sizes or ()), 1 + axis))
        return torch.cat([draw(noise, part.contiguous()) for noise, part in parts], 1 + axis)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def joined(batches: Sequence[Batch]) -> Batch:
    """Put batches together along their rows."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]

    def whole(name: str, axis: int) -> Any:
        parts = [getattr(batch, name) for batch in batches]
        return None if parts[0] is None else torch.cat(parts, axis)

    values = whole("values", 2)
    found = {name: whole(name, 2) for name in ("mask", "codes", "targets", "shares")}
    inputs = values if first.inputs is first.values else whole("inputs", 2)
    return Batch(inputs, values, weights=whole("weights", 1), **found)
