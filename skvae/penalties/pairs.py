"""What the penalties on codes share: pairs of codes, draws of the prior, weighted rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._pass import Pass
from ..alignment import aligned, padded
from ..arrays import wide
from ..noise import Noise

# Pairs of so many rows say enough, and those of more would cost more than the model.
MAX_ROWS = 256


def memberwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of each member: the vectors of one call would fall differently in a stack."""
    return torch.stack([function(member) for member in x.unbind()])


def some_codes(step: Pass) -> tuple[Tensor, Tensor | None]:
    """Codes of rows ``(members, n, n_components)``, no more than pairs of are cheap; weights."""
    weights = None if step.weights is None else step.weights[:, :MAX_ROWS]
    return step.z[:, 0, :MAX_ROWS], weights


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Of all pairs of ``x (members, n, d)`` and ``y (members, m, d)``, ``(members, n, m)``."""
    (n, d), m = x.shape[1:], y.shape[1]
    wide, tall = (
        F.pad(padded(rows, aligned(d)), (0, 0, 0, aligned(length) - length))
        for rows, length in ((x, n), (y, m))
    )
    product = torch.bmm(wide, tall.mT)[:, :n, :m]
    squares = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None]
    return (squares - 2.0 * product).clamp_min(0.0)


def mean_of_rows(of_rows: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over rows of ``(members, n)`` by weights ``(members, n)`` or evenly, ``(members,)``."""
    if weights is None:
        return of_rows.mean(1)
    return (of_rows * (weights / weights.mean(1, keepdim=True))).mean(1)


def mean_of_pairs(of_pairs: Tensor, weights: Tensor | None, of_itself: float) -> Tensor:
    """Mean over the pairs of two different rows of ``(members, n, n)``, ``(members,)``.

    Parameters
    ----------
    of_pairs : Tensor (members, n, n)
    weights : Tensor (members, n) or None
        Of the rows.
    of_itself : float
        What stands on the diagonal.
    """
    if weights is None:
        n = of_pairs.shape[1]
        return (of_pairs.sum((1, 2)) - n * of_itself) / max(n * (n - 1), 1)
    both = weights[:, :, None] * weights[:, None]
    square = weights.square().sum(-1)
    rest = (weights.sum(-1).square() - square).clamp_min(1e-12)
    return ((of_pairs * both).sum((1, 2)) - square * of_itself) / rest


@torch.no_grad()
def prior_draws(step: Pass, noise: Noise, n_rows: int) -> Tensor:
    """Codes ``(members, n_rows, n_components)`` drawn from the prior, which is taken as given."""
    prior: Any = step.prior
    return prior.sample(noise, n_rows)[:, 0]


def drawn_by_weight(codes: Tensor, weights: Tensor | None, noise: Noise) -> Tensor:
    """As many codes, each row as often as its weight says; ``codes (members, n, d)``."""
    if weights is None:
        return codes
    n = codes.shape[1]
    edges = wide(weights).cumsum(1)
    steps = torch.arange(n, device=codes.device) + wide(noise.uniform(n))
    place = torch.searchsorted(edges, steps / n * edges[:, -1:]).clamp_(max=n - 1)
    return codes.gather(1, place[..., None].expand(-1, -1, codes.shape[2]))
