"""Sequential Monte Carlo over codes: from the prior to p(z | given), step by step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..arrays import wide
from ..noise import Noise
from .evidence import Evidence, Particles, effective_size, told_apart

# Share of the draws that a step of the temperature may leave effective.
SHARE = 0.4
MAX_STAGES = 200
# Moves per stage: a walk crosses a density of more latents in more steps.
FEWEST_MOVES, MOVES_PER_LATENT = 4, 2
# At the end moves go on until draws of one ancestor have lost sight of each other: until so
# large a share of the draws counts as independent.
INDEPENDENT = 0.6
MAX_LAST_STAGES = 10
ACCEPTANCE = 0.3
# Differences of draws span nothing new where there are fewer of them than so many per latent.
FEWEST_PER_LATENT = 4


def annealed(evidence: Evidence, noise: Noise, n_draws: int) -> Particles:
    """Draws from p(z | given) by annealed importance sampling with resampling and moves.

    The likelihood of the given cells comes in by as much as leaves enough draws effective; then
    the draws are resampled and moved by Metropolis steps along differences of other draws,
    which have the shape of the density as it is by then.  Each row has its own temperature.
    The encoder plays no part: where it is sure of the wrong code, draws would stay there.

    Parameters
    ----------
    evidence : Evidence
    noise : Noise
    n_draws : int

    Returns
    -------
    Particles
        Equally weighted.

    References
    ----------
    Neal, Annealed importance sampling, 2001; Del Moral, Doucet and Jasra, Sequential Monte
    Carlo samplers, 2006; ter Braak, A Markov chain Monte Carlo version of the genetic
    algorithm differential evolution, 2006.
    """
    fewest = FEWEST_PER_LATENT * evidence.vae.n_latents
    cloud = _Cloud(evidence, noise, 2 * math.ceil(max(n_draws, fewest) / 2))
    for _ in range(MAX_STAGES):
        if not cloud.advance():
            break
    return cloud.particles()


class _Cloud:
    def __init__(self, evidence: Evidence, noise: Noise, n_draws: int):
        self.evidence, self.noise, self.n_draws = evidence, noise, n_draws
        self.z = evidence.draw_prior(noise, n_draws)
        self.log_prior, self.log_likelihood = self._densities(self.z)
        n_rows, device = evidence.n_rows, self.z.device
        self.share = torch.zeros(1, 1, n_rows, device=device)
        self.stages_left = torch.full((1, 1, n_rows), MAX_LAST_STAGES, device=device)
        self.n_moves = max(FEWEST_MOVES, MOVES_PER_LATENT * evidence.vae.n_latents)
        step = math.log(2.38 / math.sqrt(2.0 * evidence.vae.n_latents))
        self.log_step = torch.full((1, 1, n_rows), step, device=device)
        self.family = torch.arange(n_draws, device=device).view(1, -1, 1).repeat(1, 1, n_rows)

    def advance(self) -> bool:
        """Take the next step of each row that is on its way; False when none is left."""
        going = self.stages_left > 0
        if not bool(going.any()):
            return False
        before, self.share = self.share, _next_share(self.log_likelihood, self.share)
        gain = (self.share - before) * self.log_likelihood
        self._resample(gain, (self.share > before) & going)
        for _ in range(self.n_moves):
            self._move(going)
        arrived = self.share >= 1.0
        self.stages_left = self.stages_left - arrived.to(self.stages_left.dtype)
        if bool(arrived.any()):
            enough = effective_size(self.z, self.family) >= INDEPENDENT * self.n_draws
            self.stages_left = torch.where(arrived & enough, 0, self.stages_left)
        return True

    def particles(self) -> Particles:
        # Where the steps did not suffice, the few draws that are left tell by themselves.
        self._resample((1.0 - self.share) * self.log_likelihood, self.share < 1.0)
        size = told_apart(effective_size(self.z, self.family), self.log_likelihood)
        return Particles(self.z, torch.zeros_like(self.log_prior), size)

    def _densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_likelihood = self.evidence.log_likelihood(z).nan_to_num(-1e30, 1e30, -1e30)
        return self.evidence.log_prior(z), log_likelihood

    def _resample(self, log_weight: Tensor, chosen: Tensor) -> None:
        edges = wide(log_weight[0].T.softmax(-1)).cumsum(-1)
        n, n_rows = self.n_draws, edges.shape[0]
        offset = wide(self.noise.uniform(1, n_rows, 1)[0, 0])
        places = (torch.arange(n, device=edges.device) + offset) / n * edges[:, -1:]
        index = torch.searchsorted(edges, places).clamp_(max=n - 1).T[None]
        own = torch.arange(n, device=index.device).view(1, -1, 1)
        index = torch.where(chosen, index, own)
        self.z = self.z.gather(1, index.unsqueeze(-1).expand_as(self.z))
        self.log_prior = self.log_prior.gather(1, index)
        self.log_likelihood = self.log_likelihood.gather(1, index)
        self.family = self.family.gather(1, index)

    def _move(self, going: Tensor) -> None:
        half = self.n_draws // 2
        first, second = slice(None, half), slice(half, None)
        self._move_half(first, second, going)
        self._move_half(second, first, going)

    def _move_half(self, mine: slice, others: slice, going: Tensor) -> None:
        z, pool = self.z[:, mine], self.z[:, others]
        n, n_rows, n_latents = z.shape[1:]
        order = self.noise.permutation(n)[0]
        along = pool[:, order] - pool[:, order.roll(1)]
        # Resampled draws are equal, and their difference leads nowhere.
        along = along + 0.05 * pool.std(1, keepdim=True) * self.noise.normal(n, n_rows, n_latents)
        spread = 0.5 * self.noise.normal(n, n_rows, 1)
        proposal = z + (self.log_step.unsqueeze(-1) + spread).exp() * along
        log_prior, log_likelihood = self._densities(proposal)
        gain = log_prior - self.log_prior[:, mine]
        gain = gain + self.share * (log_likelihood - self.log_likelihood[:, mine])
        accepted = self.noise.uniform(n, n_rows, 1)[..., 0].log() < gain
        rate = accepted.float().mean(1, keepdim=True)
        self.log_step = self.log_step + 0.5 * (rate - ACCEPTANCE)
        accepted = accepted & going
        self.z[:, mine] = torch.where(accepted.unsqueeze(-1), proposal, z)
        for kept, new in ((self.log_prior, log_prior), (self.log_likelihood, log_likelihood)):
            kept[:, mine] = torch.where(accepted, new, kept[:, mine])


def _next_share(gain: Tensor, share: Tensor) -> Tensor:
    """The largest share of the likelihood that leaves enough draws effective, per row."""
    low, high = share, torch.ones_like(share)
    for _ in range(30):
        middle = torch.where(_effective((1.0 - share) * gain) >= SHARE, high, 0.5 * (low + high))
        enough = _effective((middle - share) * gain) >= SHARE
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(1.0 - low < 1e-6, 1.0, low.clamp_min(share + 1e-9))


def _effective(log_weight: Tensor) -> Tensor:
    """Effective share of the draws, ``(1, 1, rows)``."""
    weight = log_weight.softmax(1)
    return 1.0 / (weight.square().sum(1, keepdim=True) * weight.shape[1])
