"""Sums over the cells of rows of counts, differentiated by hand.

A count has three logarithms of gamma functions, and a table of counts mostly zeros, for which
they cancel.  Here they are taken of the other cells only, and what the gradient needs is kept
from the way forward: a training step of a wide table is a tenth of what automatic
differentiation makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..arrays import on_host

# From here on the digamma function is its expansion, and differences of it do not cancel.
LARGE = 32.0
# Beyond this count the terms of its log-probability lose more than 1e-4 nats in float32.
LARGE_COUNT = 256.0


def softplus(x: Tensor) -> Tensor:
    """Log of 1 + exp(x), by functions whose vectors and remainders round alike."""
    # Of two that tie each takes half of the slope; a clamp gives one of them all.
    return torch.maximum(x, x.new_zeros(())) + torch.log1p(torch.exp(-x.abs()))


class SizeTerms(NamedTuple):
    """Sums over the observed cells of each row, ``(members, draws, rows)`` each.

    Parameters
    ----------
    log_prob : Tensor
        Logarithm of the probability of the cells.
    slope, curvature : Tensor
        First derivative of it, and minus the second one, by a number that is added to all
        logarithms of means; constants for automatic differentiation.
    """

    log_prob: Tensor
    slope: Tensor
    curvature: Tensor


def observed_sum(cells: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over the observed cells of each row."""
    return (cells if mask is None else torch.where(mask, cells, 0.0)).sum(-1)


def counts_exactly(cells: Tensor, learns: bool = False) -> bool:
    """Whether large counts are computed anew: where there is float64, and no step waits for it."""
    return on_host(cells) or not (learns or cells.device.type == "mps")


def with_exact_large(
    found: Tensor, value: Tensor, mask: Tensor | None, exact: Callable[..., Tensor],
    *parameters: Tensor,
) -> Tensor:  # fmt: skip
    """Log-probabilities of cells, those of large counts computed anew in float64, in place.

    Of a count of a million the terms are some ten million and cancel: in float32 the sum is off
    by a nat.  Small ones are many, and as good in float32.

    Parameters
    ----------
    found : Tensor (members, draws, rows, columns)
    value, mask : Tensor (1 or members, 1, rows, columns)
    exact : callable
        Of counts and parameters in float64.
    *parameters : Tensor
        Of shapes that expand to that of ``found``.
    """
    large = value > LARGE_COUNT if mask is None else (value > LARGE_COUNT) & mask
    if not bool(large.any()):
        return found
    place = large.expand_as(found)
    cells = (part.expand_as(found)[place].double() for part in (value, *parameters))
    found[place] = exact(*cells).to(found.dtype)
    return found


def log_rising(start: Tensor, n: Tensor) -> Tensor:
    """Log of Gamma(start + n) / Gamma(start), which cancels where ``start`` is large."""
    large = start > LARGE
    safe = torch.where(large, start, LARGE)
    total = safe + n
    by_stirling = (
        n * safe.log()
        + (total - 0.5) * torch.log1p(n / safe)
        - n
        - n / (12.0 * safe * total)
        + (1.0 / safe**3 - 1.0 / total**3) / 360.0
    )
    small = torch.where(large, 1.0, start)
    return torch.where(large, by_stirling, torch.lgamma(small + n) - torch.lgamma(small))


def _rising_slope(start: Tensor, n: Tensor) -> Tensor:
    """Derivative of ``log_rising`` by ``start``."""
    large = start > LARGE
    safe = torch.where(large, start, LARGE)
    total = safe + n
    expanded = (
        torch.log1p(n / safe)
        + 0.5 * n / (safe * total)
        + (1.0 / safe**2 - 1.0 / total**2) / 12.0
        - (1.0 / safe**4 - 1.0 / total**4) / 120.0
    )
    small = torch.where(large, 1.0, start)
    return torch.where(large, expanded, torch.digamma(small + n) - torch.digamma(small))


def negative_binomial(value: Tensor, log_mean: Tensor, log_total: Tensor) -> Tensor:
    """Log-probability of counts, by logarithms of mean and total count."""
    total, log_ratio = log_total.exp(), log_mean - log_total
    return (
        log_rising(total, value)
        - torch.lgamma(value + 1)
        + value * log_ratio
        - (total + value) * softplus(log_ratio)
    )


class _Positive:
    """The cells that are not zero, side by side; on a device all, as it is not asked which.

    Parameters
    ----------
    value : Tensor (members, 1, rows, columns)
    mask : Tensor or None
    per_column : Tensor (members, 1, 1, columns)
        Whose entries are wanted for each of these cells.
    """

    def __init__(self, value: Tensor, mask: Tensor | None, per_column: Tensor):
        positive = value > 0 if mask is None else (value > 0) & mask
        # One table of cells may serve all members, each of which has entries of its own.
        n_members = max(len(per_column), len(positive))
        positive = positive.expand(n_members, *positive.shape[1:])
        self.shape = positive.shape
        if on_host(positive):
            self.place = positive.flatten().nonzero().squeeze(1)
        else:
            # How many there are is not asked; where nothing was counted nothing comes of it.
            value = torch.where(positive, value, 0.0)
            self.place = torch.arange(self.shape.numel(), device=positive.device)
        self.count = value.expand(self.shape).flatten()[self.place]
        n_rows, n_columns = self.shape[-2:]
        column = self.place % n_columns
        if len(per_column) > 1:
            column = column + self.place // (n_rows * n_columns) * n_columns
        self.of_column = per_column.flatten()[column]

    def spread(self, cells: Tensor) -> Tensor:
        """The whole table, 0 elsewhere."""
        whole = cells.new_zeros(self.shape.numel())
        whole[self.place] = cells
        return whole.view(self.shape)


class NegativeBinomialRows(torch.autograd.Function):
    """``SizeTerms`` of negative binomials, given logarithms of their means and total counts."""

    @staticmethod
    def forward(ctx, log_mean, log_total, value, mask):  # noqa: D102
        ratio = log_mean - log_total
        small = ratio.abs().neg_().exp_()
        soft = torch.log1p(small).add_(ratio.clamp_min(0.0))
        share = torch.where(ratio >= 0, 1.0, small).div_(small.add_(1.0))
        n = value + log_total.exp()
        slope = torch.mul(n, share).neg_().add_(value)
        cells = ratio.mul_(value).sub_(n * soft)
        curvature = (n * share).mul_(share.neg_().add_(1.0))
        if mask is not None:
            for part in (soft, slope, cells, curvature):
                part.masked_fill_(~mask, 0.0)
        positive = _Positive(value, mask, log_total.exp())
        rising = log_rising(positive.of_column, positive.count)
        rest = rising - torch.lgamma(positive.count + 1.0)
        if counts_exactly(cells, learns=ctx.needs_input_grad[0]):
            rest.masked_fill_(positive.count > LARGE_COUNT, 0.0)
            with_exact_large(cells, value, mask, negative_binomial, log_mean, log_total)
        constant = positive.spread(rest).sum(-1)
        ctx.save_for_backward(log_total, slope, soft)
        ctx.positive = positive
        terms = cells.sum(-1) + constant, slope.sum(-1), curvature.sum(-1)
        ctx.mark_non_differentiable(*terms[1:])
        return terms

    @staticmethod
    def backward(ctx, weight, *_):  # noqa: D102
        log_total, slope, soft = ctx.saved_tensors
        positive = ctx.positive
        weight = weight.unsqueeze(-1)
        for_mean = weight * slope
        for_total = None
        if ctx.needs_input_grad[1]:
            total = log_total.exp()
            rising = positive.spread(
                positive.of_column * _rising_slope(positive.of_column, positive.count)
            )
            rising = rising.mul_(weight.sum(1, keepdim=True)).sum(2, keepdim=True)
            others = (weight * soft).mul_(total).add_(for_mean).sum((1, 2), keepdim=True)
            for_total = (rising - others).sum_to_size(log_total.shape)
        return for_mean, for_total, None, None
