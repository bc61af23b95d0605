"""Moves of codes along the slope of a density that changes from one end to the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..noise import Noise

# Moves of one length would come back to where they began in a density whose waves they fit.
LEAST_STEP, MOST_STEP = 0.3, 1.0
LOWEST = -1e30


class Ends(NamedTuple):
    """Codes and two densities there, with their slopes.

    Parameters
    ----------
    z : Tensor (1, chains, rows, n_components)
    first, last : Tensor (1, chains, rows)
        Log-densities of the two ends, up to their constants.
    first_slope, last_slope : Tensor (1, chains, rows, n_components)
    """

    z: Tensor
    first: Tensor
    last: Tensor
    first_slope: Tensor
    last_slope: Tensor

    @classmethod
    def at(cls, densities: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor) -> Ends:
        """What ``densities`` gives of codes."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            values = densities(z)
            slopes = [torch.autograd.grad(value.sum(), z)[0] for value in values]
        first, last = (v.detach().nan_to_num(LOWEST, LOWEST, LOWEST) for v in values)
        return cls(z.detach(), first, last, *(slope.nan_to_num(0.0, 0.0, 0.0) for slope in slopes))

    def density(self, share: float) -> Tensor:
        """Log-density so far on the way from the first end to the last."""
        return (1.0 - share) * self.first + share * self.last

    def slope(self, share: float) -> Tensor:
        """Slope of that."""
        return (1.0 - share) * self.first_slope + share * self.last_slope

    def where(self, chosen: Tensor, other: Ends) -> Ends:
        """The chosen codes ``(1, chains, rows)`` of these, and the rest of the other ones."""
        pairs = zip(self, other, strict=True)
        return Ends(*(torch.where(_as_wide(chosen, a), a, b) for a, b in pairs))


def moved(
    ends: Ends,
    densities: Callable[[Tensor], tuple[Tensor, Tensor]],
    share: float,
    step: Tensor,
    noise: Noise,
    n_leapfrog: int,
) -> tuple[Ends, Tensor]:
    """One move of Hamiltonian Monte Carlo, which leaves a density as it is.

    Parameters
    ----------
    ends : Ends
        Where the codes are.
    densities : callable
        Log-densities of both ends at codes.
    share : float
        Which density in between.
    step : Tensor (1, 1, rows, n_components)
        Longest step; each chain takes one that is shorter by chance.
    noise : Noise
    n_leapfrog : int
        Steps.

    Returns
    -------
    ends : Ends
    rate : Tensor (1, chains, rows)
        Probability that each move was accepted with.

    References
    ----------
    Neal, MCMC using Hamiltonian dynamics, 2011.
    """
    n_chains, n_rows, n_latents = ends.z.shape[1:]
    jitter = noise.uniform(n_chains, n_rows, 1) * (MOST_STEP - LEAST_STEP) + LEAST_STEP
    step = step * jitter
    momentum = noise.normal(n_chains, n_rows, n_latents)
    before = ends.density(share) - 0.5 * momentum.square().sum(-1)
    new, slope = ends, ends.slope(share)
    for _ in range(n_leapfrog):
        momentum = momentum + 0.5 * step * slope
        new = Ends.at(densities, new.z + step * momentum)
        slope = new.slope(share)
        momentum = momentum + 0.5 * step * slope
    gain = new.density(share) - 0.5 * momentum.square().sum(-1) - before
    gain = gain.nan_to_num(LOWEST, 0.0, LOWEST)
    accepted = noise.uniform(n_chains, n_rows, 1)[..., 0].log() < gain
    return new.where(accepted, ends), gain.clamp_max(0.0).exp()


def _as_wide(chosen: Tensor, other: Tensor) -> Tensor:
    return chosen if chosen.ndim == other.ndim else chosen.unsqueeze(-1)
