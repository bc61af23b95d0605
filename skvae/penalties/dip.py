"""DIP: latents without correlation, each of variance 1."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from .._pass import Pass
from ..alignment import aligned, padded
from ..noise import Noise
from ._base import WeightedPenalty

# What the variances weigh beside the correlations unless told otherwise.
DIAGONAL_FACTORS = {"means": 10.0, "codes": 1.0}


def covariance(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Covariance of ``rows (members, n, d)``, ``(members, d, d)``, divided by ``n``."""
    n, d = rows.shape[1:]
    weights = rows.new_ones(1, n) if weights is None else weights
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    centred = padded(rows - (rows * share).sum(1, keepdim=True), aligned(d))
    return torch.bmm(centred.mT, centred * share)[:, :d, :d]


class DIP(WeightedPenalty):
    """Squared covariances between latents, and squares of what their variances are from 1.

    The DIP-VAE asks of the moments of all codes what the prior N(0, I) has.

    Parameters
    ----------
    weight : float, default=10.0
        Nats per row for a sum of squared covariances of 1.
    diagonal_weight : float, default=None
        The same for the variances less 1; None for 10 times ``weight`` if ``of="means"``, and
        ``weight`` if ``of="codes"``.
    of : {"codes", "means"}, default="codes"
        Whether the moments are those of codes, which is DIP-VAE-II, or of their means given the
        row, which is DIP-VAE-I.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import DIP
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, penalty=DIP(5.0), objective=ELBO(), random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)

    References
    ----------
    Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent Concepts from
    Unlabeled Observations, 2018.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "diagonal_weight": [None, Interval(Real, 0, None, closed="left")],
        "of": [StrOptions(set(DIAGONAL_FACTORS))],
    }
    only_locates = True

    def __init__(self, weight=10.0, diagonal_weight=None, of="codes"):
        super().__init__()
        self.weight = weight
        self.diagonal_weight = diagonal_weight
        self.of = of

    def forward(self, step: Pass, noise: Noise) -> Tensor:
        """Weighted squares of the batch, ``(members,)``."""
        moments = covariance(step.posterior.mean[:, 0], step.weights)
        if self.of == "codes":
            spread = step.posterior.stddev[:, 0].square()
            if step.weights is not None:
                spread = spread * step.weights[..., None]
            moments = moments + torch.diag_embed(spread.mean(1))
        diagonal = moments.diagonal(dim1=1, dim2=2)
        weight = self.diagonal_weight
        if weight is None:
            weight = DIAGONAL_FACTORS[self.of] * self.weight
        squares = moments.square().sum((1, 2)) - diagonal.square().sum(-1)
        return self.weight * squares + weight * (diagonal - 1.0).square().sum(-1)
