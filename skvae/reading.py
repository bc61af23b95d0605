"""How an encoder reads a table: standardised by the codec, or directly.

Where all inputs of an encoder are standardised numbers, its first layer can be given weights with
which it reads the numbers themselves.  No standardised copy of the table is needed then, which
of a wide one costs as much as the layer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import inference
from .distributions import Distribution
from .table.frames import open_table
from .table.units import Units
from .vae import VAE


class Reader:
    """Posteriors of the rows of a table by way of its codec.

    Parameters
    ----------
    vae : VAE
        Of which the first member is asked.
    codec : TableCodec
        Of its table.
    device : torch.device
        That of the VAE.
    """

    def __init__(self, vae, codec, device: torch.device):
        self.vae, self.codec, self.device = vae, codec, device
        # Numbers that a row takes.
        self.width = codec.n_inputs_ + codec.n_conditions_

    @classmethod
    def of(cls, vae, codec, device: torch.device) -> Reader:
        """The reader of a model: a direct one where that is possible."""
        plain = type(vae) is VAE and device.type == "cpu" and not codec.n_conditions_
        units = codec.arrangement.units if plain else None
        infer = None if units is None else vae.infer_cells(units)
        if units is None or infer is None:
            return cls(vae, codec, device)
        return DirectReader(vae, codec, units, infer)

    def parts(self, X, check: Callable[[Any], Any], whole: bool):
        """Number of rows, and the table read part by part, each or the ``whole`` of it checked."""
        if whole:
            return inference.parts_of(check(X), self.read, self.width)
        return inference.parts_of(X, lambda part: self.read(check(part)), self.width)

    def read(self, X) -> Any:
        """Read a checked table, or a part of one."""
        return self.codec.encode(X)

    def posterior(self, rows: Any, statistics: Sequence[str]) -> list[np.ndarray]:
        """Statistics of the posteriors of what was read, each ``(rows, n_components)``."""
        return inference.encode(self.vae, rows.inputs, self.device, rows.mask, statistics)


class Cells(NamedTuple):
    """What a ``DirectReader`` reads.

    Parameters
    ----------
    values : ndarray of float32 (rows, columns)
        Cells of the table, which where all rows are strange nobody looks at.
    strange : ndarray of bool (rows,)
        Which rows hold cells that only the codec knows what to do with.
    inputs : ndarray of float32 (strange rows, n_inputs) or None
        What the encoder sees of those.
    """

    values: np.ndarray
    strange: np.ndarray
    inputs: np.ndarray | None


class DirectReader(Reader):
    """Posteriors of rows by a VAE whose first layer has taken in the units of the columns.

    A row with missing cells, or cells far out, goes by way of the codec, whatever the rows
    beside it do.

    Parameters
    ----------
    vae : VAE
        Of one member, on the CPU.
    codec : TableCodec
        Of its table.
    units : Units
        Those of the codec.
    infer : callable
        From cells ``(1, 1, rows, columns)`` to their posterior.
    """

    def __init__(self, vae, codec, units: Units, infer: Callable[[Tensor], Distribution]):
        super().__init__(vae, codec, torch.device("cpu"))
        self.units, self.infer = units, infer

    def read(self, X) -> Cells:
        cells = self.units.cells(X)
        if cells is None:
            inputs = self.codec.encode(X).inputs
            return Cells(inputs, np.ones(len(inputs), dtype=bool), inputs)
        strange = self.units.strange(cells)
        if not strange.any():
            return Cells(cells, strange, None)
        return Cells(cells, strange, self.codec.encode(open_table(X).take(strange).X).inputs)

    def posterior(self, rows: Cells, statistics: Sequence[str]) -> list[np.ndarray]:
        if rows.inputs is None:
            return self._of(self.infer, rows.values, statistics)
        found = [np.empty((len(rows.values), self.vae.n_latents), np.float32) for _ in statistics]
        ways = [(self.vae.infer, rows.inputs, rows.strange)]
        if not rows.strange.all():
            ways.append((self.infer, rows.values[~rows.strange], ~rows.strange))
        for infer, array, chosen in ways:
            for whole, part in zip(found, self._of(infer, array, statistics)):
                whole[chosen] = part
        return found

    def _of(self, infer: Callable, array: np.ndarray, statistics: Sequence[str]):
        def chunk(x: Tensor) -> tuple[Tensor, ...]:
            posterior = infer(x)
            return tuple(getattr(posterior, statistic)[0, 0] for statistic in statistics)

        rows_at_once = inference.chunk_rows(width=self.width)
        return inference.in_chunks(chunk, [array], self.device, rows_at_once)
