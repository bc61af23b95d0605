"""Conditional draws and completions of encoded tables, in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .. import inference
from ..noise import Noise
from .annealing import annealed
from .completion import drawn_around, draws, judged_by_mask, point
from .evidence import Evidence
from .methods import METHODS
from .shared_noise import SharedNoise

# Draws that are annealed together for one condition.
MAX_DRAWS = 8192
MIN_DRAWS = 1024
POINT_SEED = 0


@torch.no_grad()
def draws_given(
    vae, encoded, n_rows: int, n_draws: int | None, noise: Noise
) -> tuple[np.ndarray, float]:
    """Rows given the cells of one row, and how many independent rows they are worth.

    Parameters
    ----------
    vae : VAE
        Of one member, in evaluation.
    encoded : Encoded
        One row; its mask says which cells are given.
    n_rows : int
    n_draws : int or None
        Draws of the code at least; None takes ``MIN_DRAWS``.
    noise : Noise

    Returns
    -------
    cells : ndarray (n_rows, columns)
    effective_size : float
    """
    tensors = (torch.as_tensor(a, device=noise.device)[None, None] for a in encoded)
    evidence = Evidence(vae, *tensors)
    parts, size = [], 0.0
    for n in _shares(n_rows):
        particles = annealed(evidence, noise, max(n, n_draws or MIN_DRAWS))
        n_particles = particles.z.shape[1]
        particles, cells = drawn_around(evidence, particles, noise)
        if cells is not None:
            parts.append(draws(evidence, particles, cells, noise, n)[0].cpu().numpy())
            size += 1.0 / (1.0 / n + 1.0 / float(particles.effective_size[0]))
            continue
        chosen = noise.permutation(n_particles)[0, :n]
        z = particles.z[:, chosen].transpose(1, 2)
        parts.append(evidence.cells(z).sample(noise)[0, 0].cpu().numpy())
        # A part of the draws without replacement varies less than the draws themselves.
        size += 1.0 / (1.0 / n - 1.0 / n_particles + 1.0 / float(particles.effective_size[0]))
    return np.concatenate(parts), size


def draws_given_each(vae, encoded, n_draws: int, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """One row for each row of given cells, and the effective size of the draws behind it."""

    def draw(values: Tensor, mask: Tensor, inputs: Tensor) -> tuple[Tensor, ...]:
        evidence = Evidence(vae, values, mask, inputs)
        particles = annealed(evidence, noise, n_draws)
        particles, around = drawn_around(evidence, particles, noise)
        return draws(evidence, particles, around, noise, 1)[:, 0], particles.effective_size

    rows_at_once = inference.chunk_rows(n_draws)
    cells, size = inference.in_chunks(draw, list(encoded), noise.device, rows_at_once)
    return cells, size


def completions(
    vae,
    encoded,
    method: str,
    n_draws: int,
    n_imputations: int | None,
    noise: Noise,
    features: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with their missing cells filled, and the effective size of the draws behind each.

    Parameters
    ----------
    vae : VAE
        Of one member, in evaluation.
    encoded : Encoded
        The rows.
    method : str
        One of ``METHODS``.
    n_draws : int
        Per row.
    n_imputations : int or None
        None gives the best value of each cell, by the same random numbers for every row.
    noise : Noise
    features : callable
        What the encoder sees of complete rows ``(rows, columns)``.

    Returns
    -------
    cells : ndarray (rows, n_imputations or 1, columns)
    effective_size : ndarray (rows,)
    """
    device = noise.device

    def complete(values: Tensor, mask: Tensor, inputs: Tensor) -> tuple[Tensor, ...]:
        own = SharedNoise([POINT_SEED], device) if n_imputations is None else noise
        evidence = Evidence(vae, values, mask, inputs)

        def encode(cells: Tensor) -> Tensor:
            flat = features(cells.flatten(0, 2).cpu().numpy())
            seen = torch.as_tensor(flat, device=device).view(*cells.shape[:-1], -1)
            given = evidence.conditions
            if given is None:
                return seen
            return torch.cat([seen, given.expand(*cells.shape[:-1], -1)], -1)

        particles = METHODS[method].particles(evidence, own, n_draws, encode)
        particles, around = drawn_around(evidence, particles, own)
        particles, cells = judged_by_mask(evidence, particles, around, own)
        if n_imputations is None:
            filled = point(evidence, particles, cells)[:, None]
        else:
            filled = draws(evidence, particles, cells, own, n_imputations)
        return filled, particles.effective_size

    rows_at_once = inference.chunk_rows(n_draws)
    cells, size = inference.in_chunks(complete, list(encoded), device, rows_at_once)
    return cells, size


def _shares(n_rows: int) -> list[int]:
    n_parts = -(-n_rows // MAX_DRAWS)
    return [len(part) for part in np.array_split(np.empty(n_rows), n_parts)]
