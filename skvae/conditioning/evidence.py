"""What the given cells of rows say about the codes of these rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..distributions import Distribution
from ..noise import Noise
from .shared_noise import SharedNoise

# Decoded rows at once: what lies between the layers of more of them leaves the cache.
DECODED_ROWS = 8192
# Where log-likelihoods are larger, float32 rounds a nat away.
MOST_NATS = 1.0 / torch.finfo(torch.float32).eps


class Particles(NamedTuple):
    """Weighted codes that stand for p(z | given) of each row.

    Parameters
    ----------
    z : Tensor (1, draws, rows, n_components)
    log_weight : Tensor (1, draws, rows)
    effective_size : Tensor (rows,)
        How many independent draws would tell as much about the mean code.
    """

    z: Tensor
    log_weight: Tensor
    effective_size: Tensor

    def chosen(self, n: int, noise: Noise) -> Tensor:
        """Places of ``n`` draws of each row by their weights, ``(1, n, rows, 1)``."""
        edges = self.log_weight[0].T.softmax(-1).cumsum(-1).contiguous()
        uniform = noise.uniform(n, edges.shape[0], 1)[0, ..., 0].T.contiguous()
        index = torch.searchsorted(edges, uniform * edges[:, -1:]).clamp_(max=edges.shape[1] - 1)
        return index.T[None, ..., None]


class Evidence:
    """The density of codes given cells, up to its constant, and draws to start from.

    Parameters
    ----------
    vae : VAE
        Of one member, in evaluation.
    values, mask, inputs : Tensor (1, 1, rows, width)
        The rows; ``mask`` says which cells are given, None all of them.
    """

    def __init__(self, vae, values: Tensor, mask: Tensor | None, inputs: Tensor):
        self.vae, self.values, self.mask = vae, values, mask
        self.prior, self.guide = vae.codes(), vae.infer(inputs)
        self.conditions = vae.conditions(inputs)
        self.n_rows = values.shape[2]

    def draw(self, noise: Noise, n_draws: int) -> Tensor:
        """Codes of density ``log_start``, an even number: half from p(z), half from q(z | given).

        One half is right wherever the given cells say little or the encoder knows such rows.
        """
        half = n_draws // 2
        return torch.cat([self.draw_prior(noise, half), self.guide.rsample(noise, half)], 1)

    def draw_prior(self, noise: Noise, n_draws: int) -> Tensor:
        """Codes ``(1, n_draws, rows, n_components)`` from the prior."""
        if isinstance(noise, SharedNoise):
            z = self.prior.sample(noise.apart, n_draws).transpose(1, 2)
            return z.repeat(1, 1, self.n_rows, 1)
        z = self.prior.sample(noise, n_draws * self.n_rows)
        return z.view(1, n_draws, self.n_rows, -1)

    def log_prior(self, z: Tensor) -> Tensor:
        """Log p(z), ``(1, draws, rows)``."""
        log_p = self.prior.log_prob(z)
        return log_p.sum(-1) if log_p.ndim == z.ndim else log_p

    def log_start(self, z: Tensor) -> Tensor:
        """Log density of what ``draw`` gives."""
        log_q = self.guide.log_prob(z).sum(-1)
        return torch.logaddexp(self.log_prior(z), log_q) - math.log(2.0)

    def cells(self, z: Tensor) -> Distribution:
        """Distribution of the cells given codes and the given cells of the row."""
        return self.vae.decode(z, self.conditions).given(self.values, self.mask)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Log p(given cells | z)."""
        n = max(DECODED_ROWS // self.n_rows, 1)
        likelihoods = (self.vae.decode(part, self.conditions) for part in z.split(n, 1))
        return torch.cat([p.log_prob_rows(self.values, self.mask) for p in likelihoods], 1)


def told_apart(size: Tensor, log_likelihood: Tensor) -> Tensor:
    """The effective size of draws, or 1 where rounding hides which of them explains the cells.

    Parameters
    ----------
    size : Tensor (rows,)
    log_likelihood : Tensor (1, draws, rows)
    """
    return torch.where(log_likelihood.amax(1)[0] < -MOST_NATS, 1.0, size)


def effective_size(z: Tensor, family: Tensor) -> Tensor:
    """Independent draws that the mean of equally weighted, related codes is worth, ``(rows,)``.

    Codes of one family, as the descendants of one draw, may have moved apart since or not; the
    sums of their deviations tell.

    Parameters
    ----------
    z : Tensor (1, draws, rows, n_components)
    family : Tensor (1, draws, rows)
        Number of the family of each code, below the number of draws.

    References
    ----------
    Chan and Lai, A general theory of particle filters in hidden Markov models, 2013.
    """
    n_draws, n_latents = z.shape[1], z.shape[3]
    deviation = z - z.mean(1, keepdim=True)
    deviation = deviation / deviation.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    index = family.unsqueeze(-1).expand_as(z)
    sums = torch.zeros_like(z).scatter_add_(1, index, deviation)
    found = n_draws**2 * n_latents / sums.square().sum((1, 3)).clamp_min(1e-12)
    # One family has no second to be compared with.
    n_families = torch.zeros_like(family).scatter_(1, family, 1).sum(1)
    found = torch.where(n_families > 1, found, 1.0)
    return found.clamp(1.0, n_draws)[0]
