"""From codes to cells: the best values of the missing cells, or draws of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributions import Blocks, Distribution
from ..noise import Noise
from .evidence import DECODED_ROWS, Evidence, Particles


def drawn_around(evidence: Evidence, particles: Particles, noise: Noise):
    """Particles with cells around the given ones, weighted by how well these fit in; the cells.

    Where cells depend on nothing but the code, the particles as they are, and None.

    References
    ----------
    Doucet, de Freitas and Gordon, Sequential Monte Carlo Methods in Practice, 2001.
    """
    cells, log_weights = [], []
    for z in _parts(evidence, particles.z):
        found = evidence.cells(z).drawn_around(noise)
        if found is None:
            return particles, None
        cells.append(found[0])
        log_weights.append(found[1])
    return _reweighted(particles, torch.cat(log_weights, 1)), torch.cat(cells, 1)


def judged_by_mask(evidence: Evidence, particles: Particles, around: Tensor | None, noise: Noise):
    """Particles weighted by how likely their cells were to be missing, and these cells.

    Where the model does not say why cells are missing, the particles as they are, and the cells
    ``around`` the given ones, if there are any yet.

    References
    ----------
    Ipsen, Mattei and Frellsen, not-MIWAE: Deep Generative Modelling with Missing not at Random
    Data, 2021.
    """
    missingness = evidence.vae.missingness
    if missingness is None or evidence.mask is None:
        return particles, around
    n = _at_once(evidence)
    cells, log_weights = [], []
    for i, z in enumerate(_parts(evidence, particles.z)):
        there = None if around is None else around[:, i * n : (i + 1) * n]
        drawn = evidence.cells(z).sample(noise) if there is None else there
        cells.append(drawn)
        log_missing = F.logsigmoid(missingness(drawn))
        log_weights.append(torch.where(evidence.mask, 0.0, log_missing).sum(-1))
    return _reweighted(particles, torch.cat(log_weights, 1)), torch.cat(cells, 1)


def _reweighted(particles: Particles, log_factor: Tensor) -> Particles:
    log_weight = particles.log_weight + log_factor
    before, after = (_effective(w) for w in (particles.log_weight, log_weight))
    effective = particles.effective_size * (after / before).clamp_max(1.0)
    return Particles(particles.z, log_weight, effective)


def point(evidence: Evidence, particles: Particles, cells: Tensor | None) -> Tensor:
    """Mean of each cell, or its likeliest category, ``(rows, columns)``."""
    weight = particles.log_weight.softmax(1)
    n = _at_once(evidence)
    totals: list = []
    for i, (z, share) in enumerate(zip(particles.z.split(n, 1), weight.split(n, 1))):
        said = None if cells is None else cells[:, i * n : (i + 1) * n]
        parts = _expectations(evidence.cells(z), said)
        sums = [torch.einsum("mkr,mkr...->r...", share, part) for part in parts]
        totals = [a + b for a, b in zip(totals, sums)] if totals else sums
    best = [t.argmax(-1).to(weight.dtype) if t.ndim == 3 else t for t in totals]
    return torch.cat(best, -1)


def draws(
    evidence: Evidence, particles: Particles, cells: Tensor | None, noise: Noise, n: int
) -> Tensor:
    """Draws of all cells of each row by importance resampling, ``(rows, n, columns)``."""
    chosen = particles.chosen(n, noise)
    if cells is not None:
        return cells.take_along_dim(chosen, 1)[0].transpose(0, 1)
    z = particles.z.take_along_dim(chosen, 1)
    drawn = [evidence.cells(part).sample(noise) for part in _parts(evidence, z)]
    return torch.cat(drawn, 1)[0].transpose(0, 1)


def _expectations(likelihood: Distribution, cells: Tensor | None) -> list[Tensor]:
    """Per block of columns: means, or probabilities of the categories along one more axis."""
    if isinstance(likelihood, Blocks):
        n = len(likelihood.parts)
        split = [None] * n if cells is None else cells.split(likelihood.widths, -1)
        return [e for part, c in zip(likelihood.parts, split) for e in _expectations(part, c)]
    probs = getattr(likelihood, "probs", None)
    if probs is None:
        return [likelihood.mean if cells is None else cells]
    if cells is None:
        return [probs]
    return [F.one_hot(cells.long(), probs.shape[-1]).to(probs.dtype)]


def _at_once(evidence: Evidence) -> int:
    return max(DECODED_ROWS // evidence.n_rows, 1)


def _parts(evidence: Evidence, z: Tensor) -> tuple[Tensor, ...]:
    return z.split(_at_once(evidence), 1)


def _effective(log_weight: Tensor) -> Tensor:
    return 1.0 / log_weight.softmax(1).square().sum(1)[0]
