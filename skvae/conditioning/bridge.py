"""From codes that are easily drawn to p(z | given), and back: weights that tell p(given)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import wide
from ..noise import Noise
from .evidence import Evidence
from .hamiltonian import Ends, moved

# Chains that find the length of a step for all others and have no weight themselves: steps that
# a chain had found for itself would bias its weight.
N_PILOTS = 4
# Share of the moves to be accepted: at fewer, steps of few latents are so long that codes come
# back to where they were.  How fast steps become longer or shorter for that, and the first of
# them, for one latent, in widths of the density.
ACCEPTANCE = 0.9
GAIN = 0.5
FIRST_STEP = 0.7
# Half the sigmoid that the temperatures are spaced by.
HALF_WIDTH = 4.0
# Draws that tell how wide the density is that chains start from.
SPREAD_DRAWS = 64


class Start(NamedTuple):
    """What codes are drawn from before they are moved.

    Parameters
    ----------
    draw : callable
        Codes ``(1, chains, rows, n_components)`` of evidence, noise and the number of chains.
    log_prob : callable
        Log-density of codes given evidence, ``(1, chains, rows)``.
    """

    draw: Callable[[Evidence, Noise, int], Tensor]
    log_prob: Callable[[Evidence, Tensor], Tensor]


STARTS = {
    "encoder": Start(
        lambda evidence, noise, n: evidence.guide.rsample(noise, n),
        lambda evidence, z: evidence.guide.log_prob(z).sum(-1),
    ),
    "prior": Start(Evidence.draw_prior, Evidence.log_prior),
}


class Course(NamedTuple):
    """How long the way is, and how many take it.

    Parameters
    ----------
    start : str
        One of ``STARTS``.
    n_temperatures : int
        Steps from the first density to the last; one is plain importance sampling.
    n_leapfrog : int
        Steps of each move.
    n_chains : int
        Chains per row.
    """

    start: str
    n_temperatures: int
    n_leapfrog: int
    n_chains: int

    @property
    def shares(self) -> list[float]:
        """How far each density is on the way, from 0 to 1, close together at both ends."""
        places = np.linspace(-HALF_WIDTH, HALF_WIDTH, self.n_temperatures + 1)
        sigmoid = 1.0 / (1.0 + np.exp(-places))
        return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).tolist()


class Bridge:
    """Densities between that of the start and p(z) p(given | z), and chains along them.

    Parameters
    ----------
    evidence : Evidence
    noise : Noise
    course : Course

    References
    ----------
    Neal, Annealed importance sampling, 2001; Wu, Burda, Salakhutdinov and Grosse, On the
    Quantitative Analysis of Decoder-Based Generative Models, 2017.
    """

    def __init__(self, evidence: Evidence, noise: Noise, course: Course):
        self.evidence, self.noise, self.course = evidence, noise, course
        self.start, self.shares = STARTS[course.start], course.shares
        drawn = self.start.draw(evidence, noise, SPREAD_DRAWS)
        self.precisions = [
            width.clamp_min(1e-6) ** -2.0
            for width in (drawn.std(1, keepdim=True), evidence.guide.stddev)
        ]

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log-densities of codes at both ends, ``(1, chains, rows)``."""
        joint = self.evidence.log_prior(z) + self.evidence.log_likelihood(z)
        return self.start.log_prob(self.evidence, z), joint

    def forth(self) -> tuple[Tensor, list[Tensor]]:
        """Log-weights ``(1, chains, rows)`` from the start, and the steps of each move.

        The mean of the weights has the expectation p(given).
        """
        n_chains = N_PILOTS + self.course.n_chains
        ends = Ends.at(self.densities, self.start.draw(self.evidence, self.noise, n_chains))
        log_step = torch.full_like(ends.first[:, :1], math.log(FIRST_STEP))
        log_step -= 0.25 * math.log(ends.z.shape[-1])
        log_weight, steps = _gain(ends, 0.0, self.shares[1]), []
        for share, following in zip(self.shares[1:], self.shares[2:]):
            steps.append(log_step.exp().unsqueeze(-1) * self._width(share))
            ends, rate = self._moved(ends, share, steps[-1])
            log_step = log_step + GAIN * (rate[:, :N_PILOTS].mean(1, keepdim=True) - ACCEPTANCE)
            log_weight += _gain(ends, share, following)
        return log_weight[:, N_PILOTS:], steps

    def back(self, z: Tensor, steps: list[Tensor]) -> Tensor:
        """Log-weights ``(1, chains, rows)`` from codes of p(z | given), by the steps of ``forth``.

        The mean of the weights has the expectation 1 / p(given).

        References
        ----------
        Grosse, Ghahramani and Adams, Sandwiching the marginal likelihood using bidirectional
        Monte Carlo, 2015.
        """
        ends = Ends.at(self.densities, z.expand(-1, self.course.n_chains, -1, -1))
        shares = self.shares[::-1]
        log_weight = _gain(ends, 1.0, shares[1])
        for share, following, step in zip(shares[1:], shares[2:], reversed(steps)):
            ends, _ = self._moved(ends, share, step)
            log_weight += _gain(ends, share, following)
        return log_weight

    def _moved(self, ends: Ends, share: float, step: Tensor) -> tuple[Ends, Tensor]:
        n_leapfrog = self.course.n_leapfrog
        return moved(ends, self.densities, share, step, self.noise, n_leapfrog)

    def _width(self, share: float) -> Tensor:
        """Widths that codes may have at a temperature; those of normals would be exact."""
        first, last = self.precisions
        return ((1.0 - share) * first + share * last).rsqrt()


def _gain(ends: Ends, share: float, following: float) -> Tensor:
    return (following - share) * (wide(ends.last) - wide(ends.first))
