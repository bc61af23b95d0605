"""DecoderCritic: rows that are alike where a critic looks, and pass as real before it."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor
from torch.nn import functional as F

from .._component import Shapes
from .._pass import Pass
from ..noise import Noise
from .appearance import expected_cells, real_cells, width_of
from .critic import CriticPenalty, told_apart
from .pairs import drawn_by_weight, memberwise, prior_draws


class DecoderCritic(CriticPenalty):
    """Reconstructions judged by what a critic sees in them, in place of cell by cell.

    The critic learns to tell real rows from reconstructions and from rows decoded from draws of
    the prior.  Its last hidden layer is what a reconstruction is compared in, and the decoder
    alone is trained to pass before it.  With ``likelihood_weight=0`` and ``objective=ELBO()``
    this is the VAE-GAN.

    The last epoch is kept, not the best: no two epochs have the same critic.

    Parameters
    ----------
    weight : float, default=1.0
        Of half the squared difference in the critic's last hidden layer, nats per row.
    adversarial_weight : float, default=1.0
        Nats per row for a surprise of one nat that decoded rows are not real.
    likelihood_weight : float, default=0.0
        What is left of the likelihood of the cells in the loss of an ELBO; noises are refitted
        after training in any case.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the critic's hidden layers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import DecoderCritic
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(
    ...     2, penalty=DecoderCritic(), objective=ELBO(), max_iter=20, random_state=0
    ... )
    >>> vae.fit(X).sample(3).shape
    (3, 4)

    References
    ----------
    Larsen, Sonderby, Larochelle and Winther, Autoencoding beyond Pixels using a Learned
    Similarity Metric, 2016.
    """

    _parameter_constraints = {
        **CriticPenalty._parameter_constraints,
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "likelihood_weight": [Interval(Real, 0, None, closed="left")],
    }
    decodes = replaces_cells = True

    def __init__(
        self,
        weight=1.0,
        adversarial_weight=1.0,
        likelihood_weight=0.0,
        hidden_layer_sizes=(64, 64),
    ):
        super().__init__()
        self.weight = weight
        self.adversarial_weight = adversarial_weight
        self.likelihood_weight = likelihood_weight
        self.hidden_layer_sizes = hidden_layer_sizes

    def critic_width(self, shapes: Shapes) -> int:
        """The cells of a row."""
        self.blocks = shapes.blocks
        return width_of(shapes.blocks)

    def forward(self, step: Pass, noise: Noise) -> Tensor:
        """Weighted difference and surprise of the batch, ``(members,)``."""
        taken = (1.0 - self.likelihood_weight) * step.mean_log_likelihood
        made = torch.cat(self._decoded(step, noise), 1)
        log_odds, _ = self.critic(made, trained=False)
        surprise = 2.0 * memberwise(F.softplus, -log_odds).mean(-1)
        return taken + self.weight * self.term(step, noise) + self.adversarial_weight * surprise

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Half the squared difference in the eyes of the critic, ``(members,)``."""
        real = real_cells(self.blocks, step.batch)[:, 0]
        made = expected_cells(self.blocks, step.likelihood, step.batch)[:, 0]
        _, of_real = self.critic(real, trained=False)
        _, of_made = self.critic(made, trained=False)
        return step.row_mean(0.5 * (of_real - of_made).square().sum(-1))

    def critic_loss(self, step: Pass, noise: Noise) -> Tensor:
        """How badly real rows and decoded ones are told apart, ``(members,)``."""
        with torch.no_grad():
            made = torch.cat(self._decoded(step, noise), 1)
        real = drawn_by_weight(real_cells(self.blocks, step.batch)[:, 0], step.weights, noise)
        log_odds, _ = self.critic(real, trained=True)
        return told_apart(log_odds, self.critic(made, trained=True)[0])

    def _decoded(self, step: Pass, noise: Noise) -> tuple[Tensor, Tensor]:
        """Rows decoded from their own codes and from the prior; only the decoder is reached."""
        codes = step.z[:, :1].detach()
        drawn = prior_draws(step, noise, codes.shape[2])[:, None]
        conditions = step.model.conditions(step.batch.inputs)
        # Under the conditions and gaps of each row; only then are rows drawn by weight.
        own, free = (
            expected_cells(self.blocks, step.model.decode(z, conditions), step.batch)[:, 0]
            for z in (codes, drawn)
        )
        own, free = (drawn_by_weight(cells, step.weights, noise) for cells in (own, free))
        return own, free
