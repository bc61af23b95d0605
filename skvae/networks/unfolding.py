"""Rows laid out as they stand in the table, for networks that know neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._component import Component, Shapes
from ..noise import Noise

# Kinds of which the encoder sees one number per category.
CODED = ("categorical", "ordinal", "token")


class Unfolding(Component):
    """Every number of a row at the place of its column, and back.

    A column that is constant keeps its place, where the encoder sees 0 and from where nothing
    is read.

    Parameters
    ----------
    asker : str
        The network, for the errors.
    n_places : int or None
        How many columns it expects; None takes all that there are.

    Attributes
    ----------
    n_shown, n_read : int
        Numbers per place that the encoder sees and that the decoder gives.
    """

    def __init__(self, asker, n_places):
        super().__init__()
        self.asker = asker
        self.n_places = n_places

    def lay_out(self, shapes: Shapes, n_decoded: int, noise: Noise) -> Unfolding:
        """Find the place of each number."""
        sizes = [(kind, size) for kind, block in shapes.blocks for size in block]
        places = range(len(sizes)) if shapes.places is None else shapes.places
        total = shapes.n_columns
        if self.n_places not in (None, total):
            raise ValueError(
                f"{self.asker} has {self.n_places} numbers per row, and the table has {total} "
                "columns that are not conditions. Pass the shape that rows have, or all columns."
            )
        self.n_cells = total
        shown = [size if kind in CODED else 1 for kind, size in sizes]
        read = self._numbers_read(shapes, n_decoded)
        self.n_read, self.has_gaps = max(read), bool(shapes.indicated)
        self.n_shown = max(shown) + self.has_gaps
        self.n_inputs = shapes.n_inputs - shapes.n_conditions
        if sum(shown) + len(shapes.indicated) != self.n_inputs:
            raise ValueError(
                f"{self.asker} cannot tell which of {self.n_inputs} inputs belongs to which of "
                f"{len(sizes)} columns. Use network='mlp' for this table."
            )
        # One number more is 0 and the last is 1.
        source = torch.full((total, self.n_shown), self.n_inputs)
        if self.has_gaps:
            source[list(places), -1] = self.n_inputs + 1
            behind = sum(shown)
            for i, slot in enumerate(shapes.indicated):
                source[places[slot], -1] = behind + i
        for i, first, n in _runs(places, shown):
            source[i, :n] = torch.arange(first, first + n)
        target = [
            torch.arange(i * self.n_read, i * self.n_read + n) for i, _, n in _runs(places, read)
        ]
        for name, index in (("source", source.flatten()), ("target", torch.cat(target))):
            index = index.to(noise.device).expand(noise.n_members, -1)
            self.register_buffer(name, index.clone())
        self.shown_as_is = _is_range(source.flatten(), self.n_inputs)
        self.read_as_is = _is_range(self.target[0], total * self.n_read)
        return self

    def unfold(self, inputs: Tensor) -> Tensor:
        """Inputs ``(members, draws, rows, n_inputs)`` as ``(..., n_cells, n_shown)``."""
        x = inputs[..., : self.n_inputs]
        if not self.shown_as_is:
            ends = x.new_zeros(*x.shape[:-1], 2)
            ends[..., 1] = 1.0
            x = torch.cat([x, ends], -1).index_select(-1, self.source[0])
        return x.unflatten(-1, (self.n_cells, self.n_shown))

    def fold(self, cells: Tensor) -> Tensor:
        """Numbers ``(..., n_cells, n_read)`` in the order of the decoder's output."""
        flat = cells.flatten(-2)
        return flat if self.read_as_is else flat.index_select(-1, self.target[0])

    def _numbers_read(self, shapes: Shapes, n_decoded: int) -> list[int]:
        sizes = [(kind, size) for kind, block in shapes.blocks for size in block]
        read = [size if kind == "categorical" else 1 for kind, size in sizes]
        if sum(read) == n_decoded:
            return read
        if len(shapes.blocks) == 1 and n_decoded % len(sizes) == 0:
            return [n_decoded // len(sizes)] * len(sizes)
        raise ValueError(
            f"{self.asker} cannot tell which of the {n_decoded} parameters of the likelihood "
            f"belongs to which of {len(sizes)} columns. Use one likelihood for all columns, or "
            "network='mlp'."
        )


def _runs(places: Sequence[int], widths: list[int]):
    """Yield each column's place, the first of its numbers and how many it has."""
    first = 0
    for place, width in zip(places, widths):
        yield place, first, width
        first += width


def _is_range(index: Tensor, n: int) -> bool:
    return len(index) == n and bool((index.cpu() == torch.arange(n)).all())
