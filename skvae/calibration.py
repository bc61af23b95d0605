"""Calibration: refit noise, prior and posterior width after training, the networks fixed."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ._pass import Batch, Cells
from .gaussian_score import GaussianScore
from .noise import FixedDraws, Noise
from .training.conditional_start import means_under_conditions
from .training.rows import PART_NUMBERS, split

N_DRAWS = 8
# Many rows need no draws of their own: so many decoded rows fix a noise well enough.
DECODED_ROWS = 8192
MAX_ROWS = 4096
SCORED_ROWS = 1024
N_DRAW_SETS = 8
LOG_FACTORS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def calibrate(vae, rows, train_index: Tensor, validation_index: Tensor | None, seeds) -> None:
    """Refit what the bound needs and the networks do not carry.

    In training the noise lags behind the residuals, and N(0, I) is not what the codes look
    like.  Both are refitted here, and the posterior is widened or narrowed to what then
    scores held-out rows best.  The code of a row does not change.

    Parameters
    ----------
    vae : VAE
        Trained.
    rows : Rows
        The resident table.
    train_index, validation_index : Tensor (members, rows)
        The same rows as in training; without the latter the training rows judge.
    seeds : sequence of int
        One per member, for the draws and the mixture.
    """
    held_out_index = train_index if validation_index is None else validation_index
    noise = Noise(seeds, rows.values.device)
    calibrate_noise(vae, rows, train_index, validation_index, noise)
    if not vae.calibrates_codes:
        vae.eval()
        return
    index = _by_weight(rows, train_index)
    parts = rows.parts(index)
    found = [vae.infer(p.inputs, codes=p.codes) for p in parts]
    codes = torch.cat([posterior.rsample(noise)[:, 0] for posterior in found], 1)
    if vae.moves:
        codes = codes - means_under_conditions(vae, rows, index)
    vae.calibrate_prior(found, codes.cpu().numpy(), seeds)
    vae.eval()
    if vae.posterior.has_density:
        _calibrate_posterior(vae, rows.take(held_out_index[:, :SCORED_ROWS]))


@torch.no_grad()
def calibrate_noise(
    vae, rows, train_index: Tensor, validation_index: Tensor | None, noise: Noise
) -> None:
    """Refit the noise of the columns alone; the model is left in training."""
    held_out_index = train_index if validation_index is None else validation_index
    vae.train()
    # Only a noise is refitted, and only locations have one.  The cells that are there would tell
    # too small a one where the others are missing for what they are.
    if vae.likelihood.n_locations and vae.missingness is None:
        fitted = rows.take(train_index[:, :MAX_ROWS])
        held_out = rows.take(held_out_index[:, :MAX_ROWS])
        vae.likelihood.calibrate(_cells(vae, fitted, noise), _cells(vae, held_out, noise))


def _by_weight(rows, index: Tensor) -> Tensor:
    """The rows of each member repeated in proportion to their weights, as many in all."""
    if rows.weights is None:
        return index
    edges = rows.weights[index].double().cumsum(1)
    n = index.shape[1]
    steps = (torch.arange(n, device=index.device, dtype=torch.float64) + 0.5) / n
    place = torch.searchsorted(edges, steps * edges[:, -1:]).clamp_(max=n - 1)
    return index.gather(1, place)


def _cells(vae, batch: Batch, noise: Noise) -> Cells:
    n_draws = min(max(DECODED_ROWS // batch.inputs.shape[2], 1), N_DRAWS)
    parameters = vae.parameters_of(batch, noise, n_draws)
    weights = torch.ones_like(batch.values)
    if batch.mask is not None:
        weights = batch.mask.to(weights.dtype)
    if batch.weights is not None:
        weights = weights * batch.weights[:, None, :, None]
    return Cells(parameters, batch.values, weights)


def _calibrate_posterior(vae, batch: Batch) -> None:
    scores = _bounds_by_factor(vae, batch)
    if batch.weights is not None:
        scores = scores * batch.weights
    best = scores.mean(-1).argmax(0)
    vae.posterior.calibrate(torch.tensor(LOG_FACTORS).to(best.device)[best])


def _bounds_by_factor(vae, batch: Batch) -> Tensor:
    """Log p(x) of the rows for each width of the posterior, ``(factors, members, rows)``.

    The rows are cut into parts with draws of their own, none of them those of scores.  With
    the same draws for all rows the width that suits these very draws would win, and promise a
    density above any that there is.
    """
    n_rows = batch.values.shape[2]
    sizes = [len(part) for part in np.array_split(np.empty(n_rows), min(N_DRAW_SETS, n_rows))]
    parts = enumerate(split(batch, sizes), 1)
    return torch.cat([_bounds_of_part(vae, part, seed) for seed, part in parts], -1)


def _bounds_of_part(vae, batch: Batch, seed: int) -> Tensor:
    draws = FixedDraws(2 * N_DRAWS, vae.n_latents, batch.values.device, seed)
    written_out = GaussianScore.of(vae, draws, 2 * N_DRAWS)
    if written_out is None:
        return torch.stack([_bound(vae, batch, draws, factor) for factor in LOG_FACTORS])
    parts, scores = (batch.values, batch.mask, batch.inputs), []
    for m in range(vae.n_members):
        values, mask, inputs = (None if part is None else part[m, 0].numpy() for part in parts)
        scores.append(written_out(m, values, mask, inputs, LOG_FACTORS))
    return torch.as_tensor(np.stack(scores, 1))


def _bound(vae, batch: Batch, draws: FixedDraws, log_factor: float) -> Tensor:
    vae.posterior.calibrate(torch.full((vae.n_members,), log_factor))
    n_rows, n_columns = batch.values.shape[2:]
    at_once = max(PART_NUMBERS // (2 * N_DRAWS * vae.n_members * n_columns), 1)
    sizes = [min(at_once, n_rows - start) for start in range(0, n_rows, at_once)]
    parts = [vae(part, draws, 2 * N_DRAWS).log_weight() for part in split(batch, sizes)]
    log_weight = torch.cat(parts, -1)
    return torch.logsumexp(log_weight, 1) - math.log(2 * N_DRAWS)
