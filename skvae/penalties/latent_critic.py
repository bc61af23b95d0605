"""LatentCritic: codes that a critic cannot tell from draws of the prior."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .._pass import Pass
from ..noise import Noise
from .critic import CriticPenalty, told_apart
from .pairs import drawn_by_weight, memberwise, prior_draws


class LatentCritic(CriticPenalty):
    """Codes of all rows that pass as draws from the prior before a critic.

    The adversarial autoencoder, and the Wasserstein autoencoder with a critic, have
    ``posterior="deterministic"`` and ``objective=ELBO(beta=0)``.  :class:`MMD` asks for the
    same without a critic.

    The last epoch is kept, not the best: no two epochs have the same critic.

    Parameters
    ----------
    weight : float, default=10.0
        Nats per row for a surprise of one nat that a code is no draw from the prior; codes
        that cannot be told from draws leave log 2.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the critic's hidden layers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import LatentCritic
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(
    ...     2, posterior="deterministic", objective=ELBO(beta=0.0), penalty=LatentCritic(),
    ...     max_iter=20, random_state=0,
    ... )
    >>> vae.fit(X).transform(X).shape
    (150, 2)

    References
    ----------
    Makhzani et al., Adversarial Autoencoders, 2015; Tolstikhin, Bousquet, Gelly and Schoelkopf,
    Wasserstein Auto-Encoders, 2018.
    """

    only_locates = True

    def __init__(self, weight=10.0, hidden_layer_sizes=(64, 64)):
        super().__init__()
        self.weight = weight
        self.hidden_layer_sizes = hidden_layer_sizes

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Minus the log of how likely the critic takes codes for draws, ``(members,)``."""
        log_odds, _ = self.critic(step.z[:, 0], trained=False)
        return step.row_mean(memberwise(F.softplus, -log_odds))

    def critic_loss(self, step: Pass, noise: Noise) -> Tensor:
        """How badly draws from the prior and codes are told apart, ``(members,)``."""
        codes = drawn_by_weight(step.z[:, 0].detach(), step.weights, noise)
        drawn = prior_draws(step, noise, codes.shape[1])
        real, _ = self.critic(drawn, trained=True)
        return told_apart(real, self.critic(codes, trained=True)[0])
