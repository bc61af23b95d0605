"""TotalCorrelation: latents that say nothing of one another."""

from __future__ import annotations

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from .._component import Shapes
from .._pass import Pass
from ..distributions import Distribution
from ..noise import Noise
from ._base import WeightedPenalty
from .pairs import mean_of_rows, memberwise, some_codes


def log_shares(n: int, n_rows: int | None, weights: Tensor | None, like: Tensor) -> Tensor:
    """Log of how much each row of a batch counts in the density of each code.

    A code's own row is one of ``n_rows``; the other rows of the batch stand for all others.
    This is the mean of minibatch stratified sampling over which row comes last.

    Parameters
    ----------
    n : int
        Rows of the batch.
    n_rows : int or None
        Rows of the table; None if the batch holds all.
    weights : Tensor (members, n) or None
        Of the rows of the batch, mean 1 over the table.
    like : Tensor
        Gives the type and the device.

    Returns
    -------
    Tensor (members or 1, n, n)
        Codes along the second axis, rows along the third.
    """
    total = max(n_rows or n, n)
    w = like.new_ones(1, n) if weights is None else weights
    own = w / total
    others = (w.sum(1, keepdim=True) - w)[:, :, None].clamp_min(1e-12)
    shares = (1.0 - own)[:, :, None] * w[:, None] / others
    eye = torch.eye(n, dtype=torch.bool, device=like.device)
    return memberwise(torch.log, torch.where(eye, own[:, :, None], shares).clamp_min(1e-30))


def log_aggregate(
    posterior: Distribution, z: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-densities of codes among all rows and given their own.

    Parameters
    ----------
    posterior : Distribution
        Of the rows of a batch.
    z : Tensor (members, n, d)
        One code of each of the first ``n`` rows.
    shares : Tensor (members or 1, n, rows)
        Of ``log_shares``.

    Returns
    -------
    joint : Tensor (members, n)
        log q(z).
    marginal : Tensor (members, n, d)
        log q(z_j) of each latent.
    own : Tensor (members, n)
        log q(z|x).
    """
    n = z.shape[1]
    of_pairs = posterior.log_prob(z[:, :, None])
    own = of_pairs.diagonal(dim1=1, dim2=2).mT[:, :n].sum(-1)
    shares = shares[:, :n].expand(len(z), -1, -1)
    joint = memberwise(lambda x: x.logsumexp(-1), of_pairs.sum(-1) + shares)
    marginal = memberwise(lambda x: x.logsumexp(1), of_pairs + shares[..., None])
    return joint, marginal, own


class TotalCorrelation(WeightedPenalty):
    """KL divergence from the product of the latents to their joint density, over all rows.

    The KL term of the bound is the sum of what codes tell of rows, the total correlation, and
    what single latents lack of the prior.  The beta-TCVAE weighs the second part alone: its
    ``beta`` is the weight here plus that of the KL term, as ``weight=5`` and
    ``objective=ELBO()`` for 6.  The density of a code among all rows is estimated from the
    batch.

    The correlation is that of the codes of the rows at hand.  Codes that tell each of few rows
    from all others, by more nats than the logarithm of their number, are as many points, which
    no product of latents is: their price is high, and they come to say less.
    :class:`FactorCritic` looks between the rows.

    Parameters
    ----------
    weight : float, default=5.0
        Nats per row for a total correlation of one nat.
    estimator : {"stratified", "weighted"}, default="stratified"
        Of the density among all rows: ``"stratified"`` counts a code's own row as one of the
        table and is an estimate of it, up to the logarithm of a mean; ``"weighted"``
        counts it like any other of the batch, as the authors' code does, the constant left out.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import TotalCorrelation
    >>> X, _ = load_iris(return_X_y=True)
    >>> penalty = TotalCorrelation(weight=5.0)
    >>> vae = VAETransformer(2, penalty=penalty, objective=ELBO(), random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)

    References
    ----------
    Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in Variational
    Autoencoders, 2018.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "estimator": [StrOptions({"stratified", "weighted"})],
    }
    only_locates = needs_density = True

    def __init__(self, weight=5.0, estimator="stratified"):
        super().__init__()
        self.weight = weight
        self.estimator = estimator

    def build(self, shapes: Shapes, noise: Noise) -> TotalCorrelation:
        """Remember the number of rows of the table."""
        self.n_rows = shapes.n_rows if self.estimator == "stratified" else None
        return self

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Total correlation of the batch, ``(members,)``."""
        z = step.z[:, 0]
        shares = log_shares(z.shape[1], self.n_rows, step.weights, z)
        codes, weights = some_codes(step)
        joint, marginal, _ = log_aggregate(step.posterior, codes, shares)
        return mean_of_rows(joint - marginal.sum(-1), weights)
