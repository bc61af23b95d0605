"""Self-normalised importance sampling of codes."""

from __future__ import annotations

from ..noise import Noise
from .evidence import Evidence, Particles, told_apart


def weighted(evidence: Evidence, noise: Noise, n_draws: int) -> Particles:
    """Codes from the start, weighted by what the given cells say.

    References
    ----------
    Mattei and Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data
    Sets, 2019; Hesterberg, Weighted average importance sampling and defensive mixture
    distributions, 1995.
    """
    z = evidence.draw(noise, 2 * ((n_draws + 1) // 2))
    log_likelihood = evidence.log_likelihood(z)
    log_weight = log_likelihood + evidence.log_prior(z) - evidence.log_start(z)
    share = log_weight.softmax(1)
    size = told_apart(1.0 / share.square().sum(1)[0], log_likelihood)
    return Particles(z, log_weight, size)
