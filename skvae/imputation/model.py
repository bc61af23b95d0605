"""The conditional VAE: p(hidden cells | visible cells), for any visible set."""

from __future__ import annotations

import torch
from sklearn.base import clone
from torch import Tensor

from .._component import Component, Shapes
from .._pass import Batch, Pass
from ..distributions import Distribution
from ..distributions.normal import EncodedNormal
from ..divergences import kl
from ..noise import FixedDraws, Noise
from ..objectives import Objective

# exp(4) standard deviations are enough for any code, and a smooth bound keeps its gradient.
LOG_SCALE_BOUND = 4.0
# Visible cells need no imputation; at this weight they still help to learn the codes.
VISIBLE_WEIGHT = 0.2


class Codes(Component):
    """Independent normals over codes from the output of a net."""

    def __init__(self):
        super().__init__()

    def forward(self, parameters: Tensor) -> EncodedNormal:
        """Turn ``(members, 1, rows, 2 * n_components)`` into normals."""
        return EncodedNormal(parameters, LOG_SCALE_BOUND)


class ConditionalVAE(Component):
    """Prior p(z | visible), proposal q(z | observed) and decoder p(x | z, visible).

    The prior is learned, so imputation needs neither importance weights nor a chain.

    Parameters
    ----------
    network : ConditionalNetwork
    likelihood : Columnwise
    encoding : CellEncoding
    view : RandomMask or None
        Which cells a row shows in training; None shows all that a batch gives as inputs.

    References
    ----------
    Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019.
    """

    def __init__(self, network, likelihood, encoding, view=None):
        super().__init__()
        self.network = network
        self.likelihood = likelihood
        self.encoding = encoding
        self.view = view
        self.prior, self.posterior = Codes(), Codes()

    def build(self, shapes: Shapes, noise: Noise) -> ConditionalVAE:
        """Create the weights of all parts."""
        self.n_latents, self.n_members = shapes.n_components, noise.n_members
        self.encoding.build(shapes, noise)
        # What a code leaves open is less than what its mean does: each has a noise of its own.
        self.mean_likelihood = clone(self.likelihood).build(shapes, noise)
        self.likelihood.build(shapes, noise)
        inner = Shapes(self.encoding.width, shapes.n_components, shapes.blocks)
        self.network.build_parts(inner, self.likelihood.n_parameters, noise)
        return self

    def select(self, members: Tensor) -> None:
        """Keep only these members, in this order."""
        super().select(members)
        self.n_members = len(members)

    def condition(self, values: Tensor, visible: Tensor) -> tuple[EncodedNormal, Tensor]:
        """Prior of the codes given the visible cells, and what the decoder sees of these."""
        return self.context(self.encoding(values, visible))

    def context(self, inputs: Tensor, network=None) -> tuple[EncodedNormal, Tensor]:
        """The same for encoded cells."""
        out = (network or self.network).run("prior", inputs)
        n = 2 * self.n_latents
        return self.prior(out[..., :n]), out[..., n:]

    def decode(self, z: Tensor, context: Tensor) -> Distribution:
        """Distribution of all cells given codes and context."""
        return self.likelihood(self.parameters_of_cells(z, context))

    def parameters_of_cells(self, z: Tensor, context: Tensor, network=None) -> Tensor:
        """Output of the decoder."""
        both = torch.cat([z, context.expand(-1, z.shape[1], -1, -1)], -1)
        return (network or self.network).run("decoder", both)

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> Pass:
        """Compare the target cells with what their row's visible cells say.

        ``batch.inputs`` says which cells may be shown, ``batch.mask`` which are targets.  With
        a view, a draw of the proposal trains the model, and the mean of the prior the road
        that imputation takes.  A draw of the prior in its place would teach the decoder to
        ignore the code, and the cells of a drawn row would no longer hang together.
        """
        if self.view is None:
            return self._judge(batch, noise, n_draws)
        shown, values = batch.inputs, batch.values
        visible, features = self.view(shown, noise), self.encoding.features(values)
        prior, context = self.context(self.encoding.masked(features, visible), network)
        both = torch.cat([self.encoding.masked(features, shown), visible], -1)
        posterior = self.posterior((network or self.network).run("proposal", both))
        z = torch.cat([posterior.rsample(noise), prior.loc], 1)
        parameters = self.parameters_of_cells(z, context, network)
        likelihood = self.likelihood(parameters[:, :1])
        by_mean = self.mean_likelihood(parameters[:, 1:])
        log_prob = torch.cat([likelihood.log_prob(values), by_mean.log_prob(values)], 1)
        weight = shown - (1.0 - VISIBLE_WEIGHT) * visible
        return Pass(
            log_likelihood=(log_prob * weight).sum(-1),
            kl=kl(posterior, prior, z),
            posterior=posterior,
            prior=prior,
            likelihood=likelihood,
            z=z,
            weights=None,
        )

    def _judge(self, batch: Batch, noise: Noise | FixedDraws, n_draws: int) -> Pass:
        """The log-likelihood of held-out cells given all others."""
        prior, context = self.condition(batch.values, batch.inputs)
        z = prior.rsample(noise, n_draws)
        likelihood = self.decode(z, context)
        return Pass(
            log_likelihood=likelihood.log_prob_rows(batch.values, batch.mask),
            kl=torch.zeros_like(z[:, :1, :, :1]),
            posterior=prior,
            prior=prior,
            likelihood=likelihood,
            z=z,
            weights=None,
        )


class ConditionalBound(Objective):
    """Half the bound of the proposal's draw, half the log-likelihood given the prior's mean.

    Parameters
    ----------
    n_draws : int, default=2
        Draws per row when held-out cells are judged.
    warm_up : float, default=0.1
        Share of the run over which the KL term comes in.
    """

    def __init__(self, n_draws=2, warm_up=0.1):
        super().__init__()
        self.n_draws = n_draws
        self.warm_up = warm_up

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Loss per member, nats per row."""
        ramp = min(epoch / max(self.warm_up * max_iter, 1e-9), 1.0)
        return 0.5 * ramp * step.mean_kl.sum(-1) - step.mean_log_likelihood

    def mean_bound(self, step: Pass) -> Tensor:
        """What is reported, ``(members,)``: on held-out cells their log-likelihood."""
        return step.mean_log_likelihood - 0.5 * step.mean_kl.sum(-1)
