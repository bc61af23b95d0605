"""Cells beside what the conditions of their row let expect, whatever the code."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from .inference import chunk_rows, in_chunks
from .noise import Noise
from .sensitivity import expected, spread
from .vae import VAE

# Codes that stand for all.
N_DRAWS = 32


@torch.no_grad()
def usual_codes(vae: VAE, device) -> Tensor:
    """Draws from the prior, always the same, ``(members, draws, 1, latents)``."""
    # Another device would draw others.
    vae = vae if torch.device(device).type == "cpu" else copy.deepcopy(vae).cpu()
    drawn = vae.codes().sample(Noise([0] * vae.n_members, torch.device("cpu")), N_DRAWS)
    return drawn.swapaxes(1, 2).to(device)


def deviations(vae: VAE, n_continuous: int, device, encoded) -> np.ndarray:
    """How each cell differs from what p(cell | conditions) lets expect, ``(rows, columns)``.

    The first ``n_continuous`` columns in standard deviations of that distribution; the others by
    the nats that they are unlikely by.  A missing cell is 0.  Averaged over members; the same
    draws of codes serve every row.
    """
    codes = usual_codes(vae, device)

    def apart(values: Tensor, mask: Tensor | None, inputs: Tensor) -> tuple[Tensor, ...]:
        conditions = vae.conditions(inputs.expand(vae.n_members, -1, -1, -1))
        cells = vae.decode(codes.expand(-1, -1, values.shape[2], -1), conditions)
        log_prob = cells.log_prob(values)[..., n_continuous:]
        found = [math.log(N_DRAWS) - torch.logsumexp(log_prob, 1)]
        if n_continuous:
            loc, scale = (of(cells.parts[0]) for of in (expected, spread))
            middle = loc.mean(1, keepdim=True)
            variance = (scale.square() + (loc - middle).square()).mean(1)
            found.insert(0, (values[:, 0, :, :n_continuous] - middle[:, 0]) / variance.sqrt())
        rows = torch.cat(found, -1).mean(0)
        return (rows if mask is None else rows * mask[0, 0],)

    arrays = [encoded.values, encoded.mask, encoded.inputs]
    width = vae.likelihood.n_parameters
    (rows,) = in_chunks(apart, arrays, device, chunk_rows(N_DRAWS, width))
    return rows
