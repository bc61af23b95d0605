"""RadonSobolev: codes at as much distance from the prior as from one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._pass import Pass
from ..arrays import wide
from ..distributions import StandardNormal
from ..noise import Noise
from ._base import WeightedPenalty
from .pairs import (
    mean_of_pairs,
    mean_of_rows,
    memberwise,
    prior_draws,
    some_codes,
    squared_distances,
)

# Nodes of the integral: exact to single precision up to the distance below.
N_NODES = 64
FAR = 50.0
# Keeps the slope of the distance of two equal codes finite.
SOFTENING = 1e-6


def distance_to_normal(squares: Tensor, d: int) -> Tensor:
    """Mean distance of codes to draws of N(0, I) in ``d`` dimensions.

    It is the integral over an angle of ``(1 - cos^d exp(-r^2/2 sin^2)) / sin^2``, from the
    moments of a distance as an integral over its Laplace transform; the midpoint rule converges
    exponentially.

    Parameters
    ----------
    squares : Tensor (members, n)
        Squared lengths of the codes.
    d : int

    Returns
    -------
    Tensor (members, n)
    """
    # Made where they are needed: a step would wait for what is sent there.
    place = wide(torch.arange(N_NODES, device=squares.device) + 0.5)
    angle = place * (0.5 * math.pi / N_NODES)
    sine = angle.sin().square()
    power = (d * angle.cos().log()).to(squares)
    near = squares.clamp_max(FAR**2)[..., None]
    gap = memberwise(torch.expm1, power - 0.5 * near * sine.to(squares))
    share = math.sqrt(2.0 / math.pi) * (0.5 * math.pi / N_NODES) / sine
    close = -(gap * share.to(squares)).sum(-1)
    length = squares.clamp_min(FAR**2).sqrt()
    return torch.where(squares < FAR**2, close, length + 0.5 * (d - 1) / length)


def half_energy(
    x: Tensor, to_prior: Tensor, within_prior: Tensor | float, weights: Tensor | None
) -> Tensor:
    """E|Z - N| - E|Z - Z'|/2 - E|N - N'|/2, ``(members,)``, without bias.

    Parameters
    ----------
    x : Tensor (members, n, d)
    to_prior : Tensor (members, n)
        Mean distance of each row to the prior.
    within_prior : Tensor (members,) or float
        Mean distance of two draws of the prior.
    weights : Tensor (members, n) or None
        Of the rows.
    """
    distances = (squared_distances(x, x) + SOFTENING).sqrt()
    # Of a row to itself nothing is left but the softening and what rounding adds.
    distances = distances - torch.diag_embed(distances.diagonal(dim1=1, dim2=2))
    within = mean_of_pairs(distances, weights, 0.0)
    return mean_of_rows(to_prior, weights) - 0.5 * within - 0.5 * within_prior


class RadonSobolev(WeightedPenalty):
    """Energy distance between all codes and the prior, that to N(0, I) in closed form.

    Codes are drawn towards the prior and pushed from one another.  Against N(0, I) nothing is
    drawn from the prior, whose mean distance to a code is known; draws stand for other priors.

    Parameters
    ----------
    weight : float, default=30.0
        Nats per row for half an energy distance of 1, in units of the prior.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, penalty="radon_sobolev", random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)

    References
    ----------
    Turinici, Radon-Sobolev Variational Auto-Encoders, 2021; Szekely and Rizzo, Energy
    statistics, 2013.
    """

    only_locates = True

    def __init__(self, weight=30.0):
        super().__init__()
        self.weight = weight

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Distance of the batch, ``(members,)``."""
        codes, weights = some_codes(step)
        n, d = codes.shape[1:]
        within: Tensor | float
        if isinstance(step.prior, StandardNormal):
            to_prior = distance_to_normal(codes.square().sum(-1), d)
            within = 2.0 * math.exp(math.lgamma(0.5 * (d + 1)) - math.lgamma(0.5 * d))
        else:
            drawn = prior_draws(step, noise, n)
            to_prior = (squared_distances(codes, drawn) + SOFTENING).sqrt().mean(2)
            apart = (squared_distances(drawn, drawn) + SOFTENING).sqrt()
            within = mean_of_pairs(apart, None, math.sqrt(SOFTENING))
        return half_energy(codes, to_prior, within, weights)
