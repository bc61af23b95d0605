"""Expectations over the value of a single cell, differentiable in its distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor

from . import distributions as D
from .noise import Noise

# A sum over more categories than this costs more than draws tell.
MAX_CATEGORIES = 64

LogFunction = Callable[[Tensor, slice], Tensor]


def log_expectation(
    cells: D.Distribution, log_function: LogFunction, noise: Noise, n_draws: int
) -> Tensor:
    """Log E[exp(log_function(x))] for each cell, ``(members, draws, rows, columns)``.

    Discrete cells are summed over, normal ones cut into ``n_draws`` parts of equal probability,
    others drawn.

    Parameters
    ----------
    cells : Distribution
    log_function : callable
        Of values ``(members, draws, rows, columns)`` and the slice of the table's columns that
        they are of.
    noise : Noise
    n_draws : int

    Examples
    --------
    >>> import torch
    >>> from skvae import distributions
    >>> from skvae.expectations import log_expectation
    >>> from skvae.noise import Noise
    >>> coin = distributions.Bernoulli(torch.zeros(1, 1, 1, 1))
    >>> log_expectation(coin, lambda x, columns: torch.log(1.0 + x), Noise([0]), 1).exp()
    tensor([[[[1.5000]]]])
    """
    parts = cells.parts
    widths = cells.widths if isinstance(cells, D.Blocks) else [None]
    results, start = [], 0
    for part, width in zip(parts, widths):
        columns = slice(start, None if width is None else start + width)
        start += width or 0
        results.append(_log_mean(part, lambda x, c=columns: log_function(x, c), noise, n_draws))
    return torch.cat(results, -1)


@singledispatch
def _log_mean(cells: D.Distribution, log_function, noise: Noise, n_draws: int) -> Tensor:
    terms = []
    for _ in range(n_draws):
        with torch.no_grad():
            drawn = cells.sample(noise)
        # Of value 1; its gradient moves the density to where the function is large.
        log_ratio = cells.log_prob(drawn)
        terms.append(log_function(drawn) + log_ratio - log_ratio.detach())
    return torch.logsumexp(torch.stack(terms), 0) - math.log(n_draws)


@_log_mean.register
def _(cells: D.Normal, log_function, noise: Noise, n_draws: int) -> Tensor:
    scale, terms = cells.log_scale.exp(), []
    for stratum in range(n_draws):
        uniform = noise.uniform(*cells.loc.shape[1:])
        standard = torch.special.ndtri(((stratum + uniform) / n_draws).clamp(1e-6, 1 - 1e-6))
        terms.append(log_function(cells.loc + scale * standard))
    return torch.logsumexp(torch.stack(terms), 0) - math.log(n_draws)


@_log_mean.register
def _(cells: D.StudentT, log_function, noise: Noise, n_draws: int) -> Tensor:
    scale, terms = cells.log_scale.exp(), []
    for _ in range(n_draws):
        standard = ((cells.sample(noise) - cells.loc) / scale).detach()
        terms.append(log_function(cells.loc + scale * standard))
    return torch.logsumexp(torch.stack(terms), 0) - math.log(n_draws)


@_log_mean.register
def _(cells: D.Bernoulli, log_function, noise: Noise, n_draws: int) -> Tensor:
    one = torch.ones_like(cells.logits)
    of_one = torch.nn.functional.logsigmoid(cells.logits) + log_function(one)
    of_zero = torch.nn.functional.logsigmoid(-cells.logits) + log_function(0.0 * one)
    return torch.logaddexp(of_one, of_zero)


@_log_mean.register
def _(cells: D.Categorical, log_function, noise: Noise, n_draws: int) -> Tensor:
    logits = cells.logits
    if logits.shape[-1] > MAX_CATEGORIES:
        return _log_mean.dispatch(D.Distribution)(cells, log_function, noise, n_draws)
    log_probs = logits.log_softmax(-1)
    n_categories = torch.isfinite(logits).sum(-1)
    terms = []
    for code in range(log_probs.shape[-1]):
        # A column of fewer categories asks for its last one again, of probability 0.
        codes = (n_categories - 1).clamp(max=code).to(log_probs.dtype)
        terms.append(log_probs[..., code] + log_function(codes))
    return torch.logsumexp(torch.stack(terms), 0)
