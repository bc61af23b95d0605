"""Cells as numbers that a network can look at, those of rows and those of a decoder alike.

Categories are shown as their probabilities, counts by ``log(1 + count)``, the rest as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._pass import Batch
from ..distributions import Categorical, Distribution, TokenSequence

Blocks = tuple[tuple[str, tuple[int, ...]], ...]
# Kinds of which a network sees one number per category.
CODED = ("categorical", "token")


def width_of(blocks: Blocks) -> int:
    """Numbers per row that cells of these blocks are shown as."""
    return sum(len(sizes) * _repeats(kind, sizes) for kind, sizes in blocks)


def real_cells(blocks: Blocks, batch: Batch) -> Tensor:
    """Cells of rows, ``(members, 1, rows, width)``; missing ones are 0."""
    values = batch.values.split([len(sizes) for _, sizes in blocks], -1)
    shown = torch.cat(
        [_shown(kind, max(sizes), v) for (kind, sizes), v in zip(blocks, values)], -1
    )
    return _where_seen(blocks, batch, shown)


def expected_cells(blocks: Blocks, likelihood: Distribution, batch: Batch | None) -> Tensor:
    """What a decoder expects of them, ``(members, draws, rows, width)``, with the same gaps."""
    parts = zip(blocks, likelihood.parts)
    expected = torch.cat([_expected(kind, part) for (kind, _), part in parts], -1)
    return expected if batch is None else _where_seen(blocks, batch, expected)


def _repeats(kind: str, sizes: tuple[int, ...]) -> int:
    return max(sizes) if kind in CODED else 1


def _shown(kind: str, n_categories: int, values: Tensor) -> Tensor:
    if kind in CODED:
        return F.one_hot(values.long(), n_categories).to(values.dtype).flatten(-2)
    return torch.log1p(values) if kind == "count" else values


def _expected(kind: str, part: Distribution) -> Tensor:
    if isinstance(part, (Categorical, TokenSequence)):
        return part.probs.flatten(-2)
    return torch.log1p(part.mean) if kind == "count" else part.mean


def _where_seen(blocks: Blocks, batch: Batch, cells: Tensor) -> Tensor:
    if batch.mask is None:
        return cells
    masks = batch.mask.split([len(sizes) for _, sizes in blocks], -1)
    seen = [
        mask.repeat_interleave(_repeats(kind, sizes), -1)
        for (kind, sizes), mask in zip(blocks, masks)
    ]
    return torch.where(torch.cat(seen, -1), cells, 0.0)
