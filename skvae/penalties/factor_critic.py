"""FactorCritic: latents that a critic cannot tell from shuffled ones."""

from __future__ import annotations

from torch import Tensor

from .._pass import Pass
from ..noise import Noise
from .critic import CriticPenalty, told_apart
from .pairs import drawn_by_weight


def shuffled(codes: Tensor, noise: Noise) -> Tensor:
    """Each latent of ``codes (members, n, d)`` in an order of its own."""
    return codes.gather(1, noise.uniform(*codes.shape[1:]).argsort(1))


class FactorCritic(CriticPenalty):
    """Total correlation of the codes, as a critic sees it.

    The critic learns to tell codes from codes whose latents come from different rows; its
    log-odds are then those of the joint density to the product of the latents, whose mean is
    the total correlation.  Unlike :class:`TotalCorrelation` it needs no density of codes given
    their row.  The FactorVAE has ``objective=ELBO()``.

    The last epoch is kept, not the best: no two epochs have the same critic.

    Parameters
    ----------
    weight : float, default=10.0
        Nats per row for a total correlation of one nat; ``gamma`` of the paper.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the critic's hidden layers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import FactorCritic
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(
    ...     2, penalty=FactorCritic(5.0), objective=ELBO(), max_iter=20, random_state=0
    ... )
    >>> vae.fit(X).transform(X).shape
    (150, 2)

    References
    ----------
    Kim and Mnih, Disentangling by Factorising, 2018.
    """

    only_locates = True

    def __init__(self, weight=10.0, hidden_layer_sizes=(64, 64)):
        super().__init__()
        self.weight = weight
        self.hidden_layer_sizes = hidden_layer_sizes

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Total correlation in the eyes of the critic, ``(members,)``."""
        log_odds, _ = self.critic(step.z[:, 0], trained=False)
        return step.row_mean(log_odds)

    def critic_loss(self, step: Pass, noise: Noise) -> Tensor:
        """How badly codes and shuffled codes are told apart, ``(members,)``."""
        codes = drawn_by_weight(step.z[:, 0].detach(), step.weights, noise)
        joint, _ = self.critic(codes, trained=True)
        product, _ = self.critic(shuffled(codes, noise), trained=True)
        return told_apart(joint, product)
