"""How far given cells are from what the generator would draw of itself."""

from __future__ import annotations

import numpy as np
import torch

from ..incomplete_rows import patterns_of
from ..noise import Noise
from .drawing import draw
from .model import GenerativeVAE

# Rows that are drawn without any condition, and codes for each step of a probability.
N_REFERENCE = 1000
N_CODES = 8
# Free rows below this quantile may be the errors of the generator.
LEAST = 0.01


def support(codec, vae: GenerativeVAE, conditions, known, rng, device) -> np.ndarray:
    """How likely each condition is beside what 99 of 100 free rows exceed, at most 1.

    A condition like those that free rows meet counts as 1.  One that is a hundred times less
    likely than the cells of nearly all of them in these columns counts as a hundredth: what is
    drawn under it rests on no rows like it.

    Parameters
    ----------
    codec : TableCodec
    vae : GenerativeVAE
    conditions : Encoded
    known : ndarray of bool (conditions, columns)
        Which cells are given.
    rng : RandomState
    device : torch.device

    Returns
    -------
    ndarray of shape (n_conditions,)
    """
    shape = (N_REFERENCE, codec.n_modelled_)
    free = draw(vae, np.zeros(shape, np.float32), np.zeros(shape, dtype=bool), rng, device)
    reference = codec.encode(codec.decode(free, uniform=rng.uniform(size=shape)))
    noise = Noise(rng.randint(np.iinfo(np.int32).max, size=vae.n_members), device)
    patterns, which = patterns_of(known)
    found = np.ones(len(known))
    for k, columns in enumerate(map(np.flatnonzero, patterns)):
        rows = np.flatnonzero(which == k)
        both = [
            np.concatenate([table[rows][:, columns], other[:, columns]])
            for table, other in (
                (conditions.values, reference.values),
                (_jacobian(conditions), _jacobian(reference)),
            )
        ]
        log_prob = _log_prob(vae, both[0], columns, noise) - both[1].sum(1)
        least = np.quantile(log_prob[len(rows) :], LEAST)
        found[rows] = np.exp(np.minimum(log_prob[: len(rows)] - least, 0.0))
    return found


def _jacobian(encoded) -> np.ndarray:
    if encoded.log_jacobian is None:
        return np.zeros(encoded.values.shape)
    return encoded.log_jacobian


@torch.no_grad()
def _log_prob(vae: GenerativeVAE, cells: np.ndarray, columns: np.ndarray, noise) -> np.ndarray:
    """Log density of cells of these columns, one given those before it: the ensemble's mean."""
    values = torch.zeros(len(cells), vae.encoding.n_numeric + len(vae.encoding.sizes))
    values[:, columns] = torch.as_tensor(cells)
    values = values.to(noise.device).expand(vae.n_members, 1, -1, -1)
    visible = torch.zeros_like(values)
    total = np.zeros(len(cells))
    for column in columns:
        prior, context = vae.condition(values * visible, visible)
        log_prob = vae.decode(prior.rsample(noise, N_CODES), context).log_prob(values)
        parts = log_prob[..., column].flatten(0, 1)
        total += (torch.logsumexp(parts, 0) - np.log(len(parts))).cpu().numpy()
        visible[..., column] = 1.0
    return total
