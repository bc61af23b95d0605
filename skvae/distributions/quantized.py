"""Codes from codebooks: what an encoder chooses, and what is chosen beforehand."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import register_kl

from ..noise import FixedDraws, Noise
from ._base import Distribution


class Codebook:
    """Levels of codebooks, each of which codes what the levels before it leave.

    Parameters
    ----------
    vectors : Tensor (members, levels, positions, n_codes, size)
        A code is split into ``positions`` parts of ``size`` latents, and a part is the sum of
        one vector from each level.
    """

    def __init__(self, vectors: Tensor):
        self.vectors = vectors

    def numbers(self, z: Tensor) -> Tensor:
        """Numbers of the nearest vectors, ``(members, rows, levels, positions)``."""
        left = self._parts(z)
        found = []
        for level in self.vectors.unbind(1):
            # Distances by squares and products would lose digits far from the origin.
            distance = torch.cdist(left, level, compute_mode="donot_use_mm_for_euclid_dist")
            number = distance.argmin(-1)
            left = left - _rows_of(level, number)
            found.append(number.transpose(1, 2))
        return torch.stack(found, 2)

    def left(self, z: Tensor, numbers: Tensor) -> list[Tensor]:
        """What each level is to code, ``(members, positions, rows, size)`` per level."""
        left, found = self._parts(z), []
        for level, number in zip(self.vectors.unbind(1), numbers.unbind(2)):
            found.append(left)
            left = left - _rows_of(level, number.transpose(1, 2))
        return found

    def codes(self, numbers: Tensor) -> Tensor:
        """Codes of these numbers, ``(members, rows, n_latents)``."""
        total: Tensor | float = 0.0
        for level, number in zip(self.vectors.unbind(1), numbers.unbind(2)):
            total = total + _rows_of(level, number.transpose(1, 2))
        return total.transpose(1, 2).flatten(2)  # type: ignore[union-attr]

    def _parts(self, z: Tensor) -> Tensor:
        """Codes ``(members, rows, n_latents)`` as ``(members, positions, rows, size)``."""
        return z.unflatten(-1, (self.vectors.shape[2], -1)).transpose(1, 2)


def _rows_of(level: Tensor, number: Tensor) -> Tensor:
    index = number.unsqueeze(-1).expand(*number.shape, level.shape[-1])
    return level.gather(2, index)


class Quantized(Distribution):
    """All mass at the code of a codebook nearest to what the encoder gives.

    Parameters
    ----------
    encoded : Tensor (members, 1, rows, n_latents)
    book : Codebook
    commitment : float
        Weight of the squared distance between both, in the gradient of the divergence.
    """

    def __init__(self, encoded: Tensor, book: Codebook, commitment: float):
        self.encoded, self.commitment = encoded, commitment
        with torch.no_grad():
            self.numbers = book.numbers(encoded[:, 0])
            self.loc = book.codes(self.numbers).unsqueeze(1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        # All mass is at one of countably many codes.
        return torch.zeros_like(value)

    def log_odds(self, prior: Any, z: Tensor) -> Tensor:
        # By the numbers that were chosen: level by level, a sum of vectors may have others.
        return prior.log_prob_numbers(self.numbers).unsqueeze(1).expand(z.shape[:-1])

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """The code ``n_draws`` times, with the gradient handed on to the encoder."""
        return _StraightThrough.apply(self.encoded, self.loc).expand(-1, n_draws, -1, -1)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, encoded, code):
        return code.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient, None


class CodePrior(Distribution):
    """Codes of a codebook before a row is seen: all alike, or by trees of their numbers.

    Parameters
    ----------
    book : Codebook
    order, parent : Tensor of int (members, levels * positions) or None
        Trees, as in ``CodeTree``, over the numbers level by level; None where all are alike.
    log_table : Tensor (members, levels * positions, n_codes, n_codes) or None
    """

    def __init__(
        self,
        book: Codebook,
        order: Tensor | None = None,
        parent: Tensor | None = None,
        log_table: Tensor | None = None,
    ):
        self.book, self.order, self.parent, self.log_table = book, order, parent, log_table

    def log_prob(self, value: Tensor) -> Tensor:
        members, draws, rows, _ = value.shape
        flat = value.expand(len(self.book.vectors), -1, -1, -1).flatten(1, 2)
        return self.log_prob_numbers(self.book.numbers(flat)).view(-1, draws, rows)

    def log_prob_numbers(self, numbers: Tensor) -> Tensor:
        """Log probability of numbers ``(members, rows, levels, positions)``, per row."""
        members, rows = numbers.shape[:2]
        codes = numbers.flatten(2)
        if self.log_table is None or self.parent is None:
            n_codes, n = self.book.vectors.shape[3], codes.shape[-1]
            return self.book.vectors.new_full((members, rows), -n * math.log(n_codes))
        total = self.book.vectors.new_zeros(members, rows)
        member = torch.arange(members, device=codes.device)[:, None]
        for place in range(codes.shape[-1]):
            before = codes.gather(2, self.parent[:, None, place, None].expand(-1, rows, -1))
            total = total + self.log_table[member, place, before[..., 0], codes[..., place]]
        return total

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, n_latents)``."""
        members, levels, positions, n_codes, _ = self.book.vectors.shape
        uniform = noise.uniform(n_rows, levels * positions)
        numbers = (uniform * n_codes).long().clamp_(max=n_codes - 1)
        if self.log_table is not None:
            numbers = torch.stack([self._walk(m, uniform[m]) for m in range(members)])
        return self.book.codes(numbers.unflatten(-1, (levels, positions))).unsqueeze(1)

    def _walk(self, member: int, uniform: Tensor) -> Tensor:
        numbers = torch.zeros_like(uniform, dtype=torch.long)
        for place in self.order[member].tolist():  # type: ignore[index]
            before = numbers[:, int(self.parent[member, place])]  # type: ignore[index]
            edges = self.log_table[member, place][before].exp().cumsum(-1)  # type: ignore[index]
            chosen = (uniform[:, place, None] > edges).sum(-1)
            numbers[:, place] = chosen.clamp_(max=edges.shape[-1] - 1)
        return numbers


@register_kl(Quantized, CodePrior)
def _kl_quantized(q: Quantized, p: CodePrior) -> Tensor:
    """Nats of the code; its gradient is that of the commitment."""
    nats = -p.log_prob_numbers(q.numbers)[:, None, :, None]
    distance = q.commitment * (q.encoded - q.loc).square().sum(-1, keepdim=True)
    return nats + (distance - distance.detach())
