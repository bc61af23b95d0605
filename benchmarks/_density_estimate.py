"""log p(x) of rows of zeros and ones by importance sampling, the same for every library."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

# Decoded rows at once.
DECODED = 4096


@torch.no_grad()
def log_marginal(
    encode: Callable, decode: Callable, X: np.ndarray, n_draws: int, seed: int = 0
) -> np.ndarray:
    """Importance-weighted log p(x) of each row under p(z) = N(0, I), nats.

    Parameters
    ----------
    encode : callable
        Rows to mean and log standard deviation of the normal posterior, ``(rows, latents)``.
    decode : callable
        Codes ``(rows, latents)`` to logits ``(rows, columns)``.
    X : ndarray (rows, columns)
        Zeros and ones.
    n_draws : int
        Draws from the posterior per row.
    seed : int
        Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    at_once = min(n_draws, DECODED)
    scores = []
    for rows in torch.as_tensor(X, dtype=torch.float32).split(max(DECODED // at_once, 1)):
        loc, log_scale = encode(rows)
        parts = []
        for start in range(0, n_draws, at_once):
            n = min(at_once, n_draws - start)
            noise = torch.randn(n, *loc.shape, generator=generator)
            z = loc + log_scale.exp() * noise
            logits = decode(z.flatten(0, 1)).view(n, *rows.shape)
            soft = torch.nn.functional.softplus(logits).sum(-1)
            fit = (logits * rows).sum(-1) - soft
            odds = (0.5 * noise.square() - 0.5 * z.square() + log_scale).sum(-1)
            parts.append((fit + odds).double().logsumexp(0))
        scores.append(torch.stack(parts).logsumexp(0) - math.log(n_draws))
    return torch.cat(scores).numpy()
