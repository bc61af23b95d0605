"""Where the rows of an epoch come from: a resident table, or chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .rows import Rows

Chunk = tuple[Rows, Tensor, Sequence[int]]


@dataclass
class Resident:
    """A resident table, of which each member trains on rows of its own.

    Parameters
    ----------
    rows : Rows
    index : Tensor (members, rows)
    """

    rows: Rows
    index: Tensor

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return self.index.shape[1]

    def chunks(self, epoch: int, sizes: Sequence[int]) -> Iterator[Chunk]:
        """Yield rows, which of them each member trains on, and the sizes of their batches."""
        yield self.rows, self.index, sizes

    def lanes(self, n: int) -> list[Resident]:
        """Cut the rows into ``n`` lanes, which differ by one row at most."""
        return [Resident(self.rows, part) for part in self.index.tensor_split(n, 1)]

    def select(self, members: Tensor) -> Resident:
        """The table for these members of a stack."""
        return Resident(self.rows.select(members), self.index[members])


@dataclass
class Streamed:
    """Chunks of a table beyond memory, the same for all members.

    Parameters
    ----------
    stream : Stream
    n_members : int
    """

    stream: Any
    n_members: int

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return self.stream.n_rows

    def chunks(self, epoch: int, sizes: Sequence[int]) -> Iterator[Chunk]:
        """Yield rows, which of them each member trains on, and the sizes of their batches."""
        for rows, group in self.stream.chunks(epoch, sizes):
            index = torch.arange(len(rows.values), device=rows.values.device)
            yield rows, index.expand(self.n_members, -1), group

    def lanes(self, n: int) -> list[Streamed]:
        """Cut the stream into ``n`` lanes of whole pieces."""
        return [Streamed(stream, self.n_members) for stream in self.stream.lanes(n)]

    def select(self, members: Tensor) -> Streamed:
        """The stream for these members of a stack."""
        return Streamed(self.stream, len(members))
