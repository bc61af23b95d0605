"""Metropolis-within-Gibbs: codes and missing cells in turn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..noise import Noise
from .evidence import Evidence, Particles, effective_size
from .importance import weighted

N_CHAINS = 4
# Draws that the chains are started from.
START_DRAWS = 64
# Parts that a chain is cut into to see how much its states differ.
N_PARTS = 8


def gibbs(
    evidence: Evidence,
    noise: Noise,
    n_draws: int,
    encode: Callable[[Tensor], Tensor],
    corrected: bool = True,
) -> Particles:
    """States of chains that draw a code for the filled row, then the missing cells anew.

    The proposal for the code is q(z|x) of the row as it is filled at the moment; whether it is
    taken is decided by a Metropolis-Hastings step, so that an encoder that errs costs steps
    and no bias.

    Parameters
    ----------
    evidence : Evidence
    noise : Noise
    n_draws : int
        States per row over all chains; the same number of steps comes before.
    encode : callable
        What the encoder sees of complete rows ``(1, chains, rows, columns)``.
    corrected : bool, default=True
        False takes every proposal: the pseudo-Gibbs sampler, which is biased.

    References
    ----------
    Mattei and Frellsen, Leveraging the Exact Likelihood of Deep Latent Variable Models, 2018;
    Rezende, Mohamed and Wierstra, Stochastic Backpropagation and Approximate Inference in Deep
    Generative Models, 2014.
    """
    vae = evidence.vae
    start = weighted(evidence, noise, START_DRAWS)
    z = start.z.take_along_dim(start.chosen(N_CHAINS, noise), 1)
    n_kept = max(-(-n_draws // N_CHAINS), N_PARTS)
    cells = _filled(evidence, evidence.cells(z), noise)
    kept = []
    for step in range(2 * n_kept):
        guide = vae.infer(encode(cells))
        proposal = guide.rsample(noise, N_CHAINS)
        gain = _log_ratio(evidence, guide, proposal, cells) - _log_ratio(evidence, guide, z, cells)
        accepted = noise.uniform(N_CHAINS, evidence.n_rows, 1)[..., 0].log() < gain
        if not corrected:
            accepted = torch.ones_like(accepted)
        z = torch.where(accepted.unsqueeze(-1), proposal, z)
        cells = _filled(evidence, evidence.cells(z), noise)
        if step >= n_kept:
            kept.append(z)
    states = torch.stack(kept, 2).flatten(1, 2)  # chain by chain
    family = torch.arange(N_CHAINS * n_kept, device=z.device) // -(-n_kept // N_PARTS)
    family = family.view(1, -1, 1).expand(1, -1, evidence.n_rows).contiguous()
    return Particles(states, states.new_zeros(states.shape[:-1]), effective_size(states, family))


def _log_ratio(evidence: Evidence, guide, z: Tensor, cells: Tensor) -> Tensor:
    likelihood = evidence.vae.decode(z, evidence.conditions).log_prob_rows(cells, None)
    return likelihood + evidence.log_prior(z) - guide.log_prob(z).sum(-1)


def _filled(evidence: Evidence, likelihood, noise: Noise) -> Tensor:
    drawn = likelihood.sample(noise)
    return drawn if evidence.mask is None else torch.where(evidence.mask, evidence.values, drawn)
