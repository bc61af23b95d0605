"""The ways to codes given cells, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..noise import Noise
from .annealing import annealed
from .evidence import Evidence, Particles
from .gibbs import gibbs
from .importance import weighted

Encode = Callable[[Tensor], Tensor]


class Method(NamedTuple):
    """A way to codes given cells.

    Parameters
    ----------
    particles : callable
        Of the evidence, the noise, the number of draws, and what an encoder sees of full rows.
    n_draws : int
        Draws per row unless told otherwise.
    """

    particles: Callable[[Evidence, Noise, int, Encode], Particles]
    n_draws: int


METHODS = {
    "miwae": Method(lambda evidence, noise, n, encode: weighted(evidence, noise, n), 500),
    "annealed": Method(lambda evidence, noise, n, encode: annealed(evidence, noise, n), 64),
    "gibbs": Method(gibbs, 200),
}
