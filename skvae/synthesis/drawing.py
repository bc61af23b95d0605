"""Rows drawn cell by cell, each cell given all those before it."""

from __future__ import annotations

import numpy as np
import torch

from .._memory import in_parts
from ..noise import Noise
from .model import GenerativeVAE

# Rows that are drawn at once, and into how many steps a row is cut at most: cells of one step
# hang together by the code alone.
ROWS_AT_ONCE = 8192
MOST_STEPS = 64


def draw(vae: GenerativeVAE, values: np.ndarray, given: np.ndarray, rng, device) -> np.ndarray:
    """Draw the cells that are not given, ``(rows, columns)``.

    Each row has an order of its own, and each of its cells comes from a random member, so that
    it is drawn from the mean of what the members say.

    Parameters
    ----------
    vae : GenerativeVAE
        Trained.
    values : ndarray of float32 (rows, columns)
        Read where ``given``.
    given : ndarray of bool (rows, columns)
    rng : RandomState
    device : torch.device
    """
    seeds = rng.randint(np.iinfo(np.int32).max, size=vae.n_members)
    noise = Noise(seeds, device)
    out = np.where(given, values, 0.0).astype(np.float32)

    def part(start: int, stop: int, size: int) -> None:
        _draw_part(vae, out[start:stop], given[start:stop].copy(), rng, noise)

    in_parts(part, len(out), ROWS_AT_ONCE)
    return out


@torch.no_grad()
def _draw_part(vae: GenerativeVAE, out, known, rng, noise: Noise) -> None:
    """Fill ``out`` in place."""
    # Given cells come first and are passed over.
    order = np.argsort(np.where(known, -1.0, rng.uniform(size=known.shape)), 1)
    n_columns = known.shape[1]
    first = int(known.sum(1).min())
    n_steps = min(max(n_columns - first, 1), MOST_STEPS)
    for places in np.array_split(np.arange(first, n_columns), n_steps):
        drawn = _all_cells(vae, out, known, rng, noise)
        for place in places:
            column = order[:, place]
            rows = np.flatnonzero(~known[np.arange(len(out)), column])
            out[rows, column[rows]] = drawn[rows, column[rows]]
            known[rows, column[rows]] = True


def _all_cells(vae: GenerativeVAE, values, known, rng, noise: Noise) -> np.ndarray:
    """A draw of every cell given the known ones, rows dealt to the members at random."""
    n_rows, n_members = len(values), vae.n_members
    each = -(-n_rows // n_members)
    dealt = np.resize(rng.permutation(n_rows), n_members * each)
    shape = n_members, 1, each, -1
    cells = torch.as_tensor(values[dealt], device=noise.device).view(shape)
    visible = torch.as_tensor(known[dealt].astype(np.float32), device=noise.device).view(shape)
    prior, context = vae.condition(cells, visible)
    drawn = vae.decode(prior.rsample(noise), context).sample(noise)
    out = np.empty_like(values)
    out[dealt] = drawn.cpu().numpy().reshape(len(dealt), -1)
    return out
