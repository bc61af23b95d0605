"""Calibration: refit noise, prior and posterior width after training, the networks fixed."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ._pass import Batch, Cells
from .arrays import wide
from .gaussian_score import GaussianScore
from .noise import FixedDraws, Noise
from .training.conditional_start import means_under_conditions
from .training.rows import PART_NUMBERS, split

N_DRAWS = 8
# Of so many draws of a row some are kept by their weights.
N_WEIGHED = 16
# Many rows need no draws of their own: so many decoded rows fix a noise well enough.
DECODED_ROWS = 4096
MAX_ROWS = 4096
# Weighing asks for many draws of a row: so many rows tell each noise to some percent.
WEIGHED_ROWS = 1024
# Few rows are drawn several times for the prior: one code of each tells little of its width.
PRIOR_CODES = 2048
# Of wide rows each tells more: so many cells suffice, of a few rows at least.
SCORED_ROWS, SCORED_CELLS, FEWEST_SCORED = 512, 2**17, 32
LOG_FACTORS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
# Widths whose scores are as near to the best one's, in nats per row, are equally good for scores.
SAME_SCORE = 0.01


@torch.no_grad()
def calibrate(vae, rows, train_index: Tensor, validation_index: Tensor | None, seeds) -> None:
    """Refit what the bound needs and the networks do not carry.

    In training the noise lags behind the residuals, and N(0, I) is not what the codes look
    like.  Both are refitted here, and the posterior is widened or narrowed to what then
    scores held-out rows best.  Codes that the encoder draws leave more of a row than those that
    the model finds likely, so the noise is refitted once more to draws weighed by it.  The code
    of a row does not change.

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

    References
    ----------
    Rubin, Using the SIR algorithm to simulate posterior distributions, 1988, for such draws.
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
    n_draws = min(max(PRIOR_CODES // index.shape[1], 1), N_DRAWS)
    codes = torch.cat([posterior.rsample(noise, n_draws) for posterior in found], 2)
    if vae.moves:
        codes = codes - means_under_conditions(vae, rows, index)[:, None]
    vae.calibrate_prior(found, codes.cpu().numpy(), seeds)
    vae.eval()
    if vae.posterior.has_density:
        n_judged = max(SCORED_CELLS // rows.values.shape[1], FEWEST_SCORED)
        n_judged = min(n_judged, SCORED_ROWS)
        judged = held_out_index[:, :n_judged]
        # Few rows are judged by several sets of draws each.
        batch = rows.take(judged.repeat(1, max(n_judged // judged.shape[1], 1)))
        _calibrate_posterior(vae, batch)
        if vae.posterior.closed_form is not None and _has_noise(vae):
            few = [index[:, :WEIGHED_ROWS] for index in (train_index, held_out_index)]
            _refit_noise(vae, rows, few[0], few[1], partial(_weighed, vae, noise))
            _calibrate_posterior(vae, batch)


@torch.no_grad()
def calibrate_noise(
    vae, rows, train_index: Tensor, validation_index: Tensor | None, noise: Noise
) -> None:
    """Refit the noise of the columns alone; the model is left in training."""
    held_out_index = train_index if validation_index is None else validation_index
    vae.train()
    if _has_noise(vae):
        _refit_noise(vae, rows, train_index, held_out_index, partial(_drawn, vae, noise))


def _has_noise(vae) -> bool:
    # Only a noise is refitted, and only locations have one.  The cells that are there would tell
    # too small a one where the others are missing for what they are.
    return bool(vae.likelihood.n_locations) and vae.missingness is None


def _refit_noise(vae, rows, train_index: Tensor, held_out_index: Tensor, decoded) -> None:
    """Refit it to what is ``decoded`` of rows, given a batch and a number of draws."""
    cells = []
    for index in (train_index, held_out_index):
        batch = rows.take(index[:, :MAX_ROWS])
        n_draws = min(max(DECODED_ROWS // batch.inputs.shape[2], 1), N_DRAWS)
        cells.append(_cells(decoded(batch, n_draws), batch))
    vae.likelihood.calibrate(*cells)


def _drawn(vae, noise: Noise, batch: Batch, n_draws: int) -> Tensor:
    """What is decoded of draws of the encoder, ``(members, draws, rows, n_parameters)``."""
    return vae.parameters_of(batch, noise, n_draws)


def _weighed(vae, noise: Noise, batch: Batch, n_draws: int) -> Tensor:
    """The same for draws of which each is as likely as its weight, p(x, z) / q(z|x)."""
    n_rows, found = batch.values.shape[2], []
    at_once = max(PART_NUMBERS // (N_WEIGHED * vae.likelihood.n_parameters), 1)
    for part in split(batch, [min(at_once, n_rows - i) for i in range(0, n_rows, at_once)]):
        posterior = vae.infer(part.inputs, codes=part.codes)
        z = posterior.rsample(noise, N_WEIGHED)
        decoded = vae.decoded(z, vae.conditions(part.inputs))
        log_likelihood = vae.likelihood(decoded).log_prob_rows(part.values, part.mask)
        edges = (log_likelihood + posterior.log_odds(vae.codes(), z)).softmax(1).cumsum(1)
        below = edges[:, None] < noise.uniform(n_draws, 1, edges.shape[2])
        place = below.sum(2).clamp_max(N_WEIGHED - 1)[..., None]
        found.append(decoded.gather(1, place.expand(-1, -1, -1, decoded.shape[-1])))
    return torch.cat(found, 2)


def _by_weight(rows, index: Tensor) -> Tensor:
    """The rows of each member repeated in proportion to their weights, as many in all."""
    if rows.weights is None:
        return index
    edges = wide(rows.weights[index]).cumsum(1)
    n = index.shape[1]
    steps = (torch.arange(n, device=index.device, dtype=edges.dtype) + 0.5) / n
    place = torch.searchsorted(edges, steps * edges[:, -1:]).clamp_(max=n - 1)
    return index.gather(1, place)


def _cells(parameters: Tensor, batch: Batch) -> Cells:
    weights = torch.ones_like(batch.values)
    if batch.mask is not None:
        weights = batch.mask.to(weights.dtype)
    if batch.weights is not None:
        weights = weights * batch.weights[:, None, :, None]
    return Cells(parameters, batch.values, weights)


def _calibrate_posterior(vae, batch: Batch) -> None:
    """Of the widths that score alike, take the one nearest to the true posterior.

    With several draws per row, a few latents are integrated out by any width, so that scores
    tell none from another; the bound of one draw is largest at the posterior.
    """
    scores, bounds = _bounds_by_factor(vae, batch)
    if batch.weights is not None:
        scores, bounds = scores * batch.weights, bounds * batch.weights
    scores, bounds = scores.mean(-1), bounds.mean(-1)
    alike = scores >= scores.max(0).values - SAME_SCORE
    best = torch.where(alike, bounds, -math.inf).argmax(0)
    vae.posterior.calibrate(_at_the_top(bounds, best))


def _at_the_top(bounds: Tensor, best: Tensor) -> Tensor:
    """Log-factor of the largest ``bounds (factors, members)``, from parabolas about ``best``."""
    factors = torch.tensor(LOG_FACTORS, dtype=bounds.dtype, device=bounds.device)
    middle = best.clamp(1, len(factors) - 2)
    low, top, high = (bounds.gather(0, (middle + i)[None])[0] for i in (-1, 0, 1))
    inside = (middle == best) & (top >= low) & (top >= high) & (low + high < 2.0 * top)
    offset = 0.5 * (low - high) / (low + high - 2.0 * top)
    step = factors[1] - factors[0]
    return factors[best] + torch.where(inside, offset, 0.0) * step


def _bounds_by_factor(vae, batch: Batch) -> Tensor:
    """Bounds on log p(x) for each width of the posterior, ``(2, factors, members, rows)``.

    First that of all draws together, then that of one.  Each row has draws of its own, none of
    them those of scores: with the same draws for all rows the width that suits these very draws
    would win, and promise a density above any that there is.
    """
    n_rows, n_draws = batch.values.shape[2], 2 * N_DRAWS
    draws = FixedDraws(n_draws, vae.n_latents, batch.values.device, seed=1, n_rows=n_rows)
    written_out = GaussianScore.of(vae, draws, n_draws)
    if written_out is None:
        return torch.stack([_bounds(vae, batch, draws, factor) for factor in LOG_FACTORS], 1)
    parts, bounds = (batch.values, batch.mask, batch.inputs), []
    for m in range(vae.n_members):
        values, mask, inputs = (None if part is None else part[m, 0].numpy() for part in parts)
        bounds.append(written_out.bounds(m, values, mask, inputs, LOG_FACTORS))
    return torch.as_tensor(np.stack(bounds, 2))


def _bounds(vae, batch: Batch, draws: FixedDraws, log_factor: float) -> Tensor:
    vae.posterior.calibrate(torch.full((vae.n_members,), log_factor))
    n_rows, n_columns = batch.values.shape[2:]
    at_once = max(PART_NUMBERS // (2 * N_DRAWS * vae.n_members * n_columns), 1)
    starts = range(0, n_rows, at_once)
    parts = split(batch, [min(at_once, n_rows - start) for start in starts])
    log_weight = torch.cat(
        [
            vae(part, draws.of_rows(slice(start, start + at_once)), 2 * N_DRAWS).log_weight()
            for start, part in zip(starts, parts)
        ],
        -1,
    )
    together = torch.logsumexp(log_weight, 1) - math.log(2 * N_DRAWS)
    return torch.stack([together, log_weight.mean(1)])
