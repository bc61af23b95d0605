"""The generative model: p(any cell | any other cells), by codes of what is visible."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._component import Shapes
from .._pass import Batch, Pass
from ..imputation.model import ConditionalVAE
from ..noise import FixedDraws, Noise
from ..objectives import Objective
from .masks import UniformMask

# Visible cells are given; a little weight on them still helps to learn the codes.
VISIBLE_WEIGHT = 0.1


class GenerativeVAE(ConditionalVAE):
    """Prior p(z | visible) and decoder p(x | z, visible), trained by draws of the prior.

    The bound on the log-likelihood of each hidden cell takes the conditional prior itself as
    proposal and weighs several of its draws.  Training so goes the road that sampling will go,
    where a bound with a proposal that has seen the cells leaves a gap between the two.

    References
    ----------
    Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional
    Generative Models, 2015.

    Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016.
    """

    # How many numbers of a row are given whatever is visible.
    n_given = 0

    def build(self, shapes: Shapes, noise: Noise) -> GenerativeVAE:
        """Create the weights of all parts."""
        self.n_latents, self.n_members = shapes.n_components, noise.n_members
        self.encoding.build(shapes, noise)
        self.likelihood.build(shapes, noise)
        # Those that judge, while ``view`` is taken away.
        self.masks = UniformMask()
        self.n_given = shapes.n_conditions
        width = self.encoding.width + self.n_given
        inner = Shapes(width, shapes.n_components, shapes.blocks)
        self.network.build_parts(inner, self.likelihood.n_parameters, noise)
        return self

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> Pass:
        """Say how likely the hidden cells of each row are, given the visible ones.

        ``batch.inputs`` says which cells are observed, and ends in what is given.  Cells are
        weighed so that the mean over masks is the log-likelihood of a row drawn cell by cell, in
        nats.
        """
        seen, given = batch.inputs, None
        if self.n_given:
            n = seen.shape[-1] - self.n_given
            seen, given = seen[..., :n], seen[..., n:]
        visible = self.masks.fixed(seen) if self.view is None else self.view(seen, noise)
        features = self.encoding.features(batch.values)
        prior, context = self.context(self.shown(features, visible, given), network)
        z = prior.rsample(noise, n_draws)
        likelihood = self.likelihood(self.parameters_of_cells(z, context, network))
        per_cell = torch.logsumexp(likelihood.log_prob(batch.values), 1, keepdim=True)
        return Pass(
            log_likelihood=((per_cell - math.log(n_draws)) * self._weight(seen, visible)).sum(-1),
            kl=torch.zeros_like(z[:, :1, :, :1]),
            posterior=prior,
            prior=prior,
            likelihood=likelihood,
            z=z,
            weights=batch.weights,
        )

    def shown(self, features: tuple, visible: Tensor, given: Tensor | None) -> Tensor:
        """What the networks see of rows: the visible cells, and what is given."""
        cells = self.encoding.masked(features, visible)
        return cells if given is None else torch.cat([cells, given], -1)

    def _weight(self, seen: Tensor, visible: Tensor) -> Tensor:
        hidden = seen - visible
        n_hidden = hidden.sum(-1, keepdim=True)
        weight = hidden * (seen.sum(-1, keepdim=True) / n_hidden.clamp_min(1.0))
        return weight + VISIBLE_WEIGHT * visible if self.view is not None else weight


class SequentialBound(Objective):
    """The log-likelihood of rows that are drawn cell by cell.

    Parameters
    ----------
    n_draws : int, default=2
        Draws of the prior per row.
    """

    def __init__(self, n_draws=2):
        super().__init__()
        self.n_draws = n_draws

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Loss per member, nats per row."""
        return -step.mean_log_likelihood

    def mean_bound(self, step: Pass) -> Tensor:
        """What is reported, ``(members,)``."""
        return step.mean_log_likelihood.detach()
