"""What a model of sequences says of single steps, and of those behind the end."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import inference
from .._pass import Batch
from ..conditioning.shared_noise import SharedNoise
from ..noise import FixedDraws, Noise
from .model import SequentialVAE, Walk

# Ways through the steps of one row at least, of which drawn rows are chosen.
MIN_WAYS = 1024


def step_scores(vae: SequentialVAE, n_draws: int, device, encoded) -> np.ndarray:
    """Log p(x_t | x_<t) of each step, averaged over members, ``(rows, steps)``.

    The differences of importance-weighted bounds of beginnings, which add up to that of the row.
    """
    draws = FixedDraws(n_draws, vae.n_latents, device)

    def scores(values: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        walk = vae.drawn_codes(vae.steps_of(values, mask), draws, n_draws)
        log_weights = vae.log_weights(walk, Batch(values, values, mask, None))
        beginnings = torch.logsumexp(log_weights.cumsum(-1), 1) - math.log(n_draws)
        return (torch.diff(F.pad(beginnings, (1, 0))).mean(0),)

    width = vae.likelihood.n_parameters
    rows_at_once = inference.chunk_rows(n_draws, width)
    (found,) = inference.in_chunks(scores, [encoded.values, encoded.mask], device, rows_at_once)
    return found


def continued(
    vae: SequentialVAE, encoded, n_more: int, n_draws: int, n_paths: int | None, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with their gaps filled, and ``n_more`` steps; and effective numbers of draws.

    The former are ``(rows, paths, 1 + n_more, columns)``: the steps that the model knows, then
    tables whose last step is a further one.  Ways are drawn by their importance weights; without
    ``n_paths`` there is one, the weighted mean of ways that end in best values.
    """
    device = noise.device

    def go_on(values: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        if mask is None:
            mask = torch.ones_like(values, dtype=torch.bool)
        steps = vae.steps_of(values, mask)
        source = SharedNoise([0], device) if n_paths is None else noise
        walk = vae.drawn_codes(steps, source, n_draws, n_more, draws_end=n_paths is not None)
        share = vae.log_weights(walk, Batch(values, values, mask, None)).sum(-1).softmax(1)[0]
        tables = _tables(vae, walk)[0].movedim(1, 0)
        size = 1.0 / share.square().sum(0)
        if n_paths is None:
            return (share.T[..., None, None] * tables).sum(1, keepdim=True), size
        edges = share.T.cumsum(-1).contiguous()
        uniform = noise.uniform(edges.shape[0], n_paths)[0] * edges[:, -1:]
        index = torch.searchsorted(edges, uniform).clamp_(max=n_draws - 1)
        index = index[..., None, None].expand(-1, -1, *tables.shape[2:])
        return tables.gather(1, index), size

    width = vae.likelihood.n_parameters + n_more * vae.network.step_width
    rows_at_once = inference.chunk_rows(n_draws, width)
    found = inference.in_chunks(go_on, [encoded.values, encoded.mask], device, rows_at_once)
    return found[0], found[1]


def completions(
    vae: SequentialVAE, encoded, n_draws: int, n_paths: int | None, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with their gaps filled, ``(rows, paths or 1, columns)``, and effective sizes."""
    tables, size = continued(vae, encoded, 0, n_draws, n_paths, noise)
    return tables[:, :, 0], size


def draws_given(
    vae: SequentialVAE, encoded, n_rows: int, n_draws: int | None, noise: Noise
) -> tuple[np.ndarray, float]:
    """Rows given the cells of one row, and how many independent rows they are worth."""
    n_ways = max(n_draws or 0, MIN_WAYS)
    parts, total = [], 0.0
    for start in range(0, n_rows, n_ways):
        n = min(n_ways, n_rows - start)
        cells, size = completions(vae, encoded, n_ways, n, noise)
        parts.append(cells[0])
        total += 1.0 / (1.0 / n + 1.0 / float(size[0]))
    return np.concatenate(parts), total


def draws_given_each(
    vae: SequentialVAE, encoded, n_draws: int, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """One row for each row of given cells, and the effective size of the draws behind it."""
    cells, size = completions(vae, encoded, n_draws, 1, noise)
    return cells[:, 0], size


def _tables(vae: SequentialVAE, walk: Walk) -> Tensor:
    """Cells by column, and each further step in the place of the last one of a table."""
    network, n_steps = vae.network, vae.n_steps
    further = walk.cells[..., n_steps:, None, :]
    further = F.pad(further, (0, 0, n_steps - 1, 0))
    known = walk.cells[..., :n_steps, :].unsqueeze(-3)
    return network.columns(torch.cat([known, further], -3))
