"""The assembled variational autoencoder: infer, decode, and what both give together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._component import Component, Shapes
from ._pass import Batch, Pass
from .distributions import Distribution
from .divergences import kl
from .noise import FixedDraws, Noise


class VAE(Component):
    """Encoder -> q(z|x) -> z -> decoder -> p(x|z), with a prior p(z), for a stack of members.

    Parameters
    ----------
    network : Network
        The encoder and decoder pair.
    posterior : Posterior
        Turns the encoder's output into q(z|x).
    prior : Prior
        Gives p(z).
    likelihood : Likelihood
        Turns the decoder's output into p(x|z).
    view : View or None
        What the encoder is shown of a row in training.
    missingness : Missingness or None
        How likely a cell is to be missing given its value; None where that says nothing.
    penalty : Penalty or None
        What is asked of the codes beside the bound; it may also place them.
    supervision : Supervision or None
        What is learned of targets of the rows.
    """

    def __init__(
        self, network, posterior, prior, likelihood, view=None, missingness=None, penalty=None,
        supervision=None,
    ):  # fmt: skip
        super().__init__()
        self.network = network
        self.posterior = posterior
        self.prior = prior
        self.likelihood = likelihood
        self.view = view
        self.missingness = missingness
        self.penalty = penalty
        self.supervision = supervision

    # Whether the locations of codes are held while the rest is trained.
    holds_codes = False
    # How many of the last inputs are conditions, which the decoder sees beside the code.
    n_conditions = 0
    # Whether prior and width of the posterior are refitted to codes after training.
    calibrates_codes = True
    # How many steps the codes of a row are of.
    n_steps = 1
    # Whether encoder and decoder are run more than once in a step of training.
    passes_twice = False

    def held(self) -> list:
        """Weights that training must leave alone, and which of their columns."""
        return self.network.locating(self.n_latents) if self.holds_codes else []

    def build(self, shapes: Shapes, noise: Noise) -> VAE:
        """Create the weights of all parts, each member from its own generator."""
        self.n_inputs, self.n_exact = shapes.n_inputs, shapes.n_exact
        self.n_latents = self.posterior.n_latents(shapes)
        self.n_continuous = shapes.n_components
        self.n_members = noise.n_members
        if self.penalty is not None:
            self.penalty.check(self.posterior)
        if shapes.n_conditions:
            self.n_conditions = shapes.n_conditions
            shape = noise.n_members, 1, 1, shapes.n_conditions
            self.register_buffer("usual_conditions", torch.zeros(shape, device=noise.device))
            slopes = torch.zeros(*shape[:2], shape[-1], self.n_latents, device=noise.device)
            self.register_buffer("code_slopes", slopes)
        self.posterior.build(shapes, noise)
        self.prior.build(self.posterior.first(shapes), noise)
        placed = self.penalty is not None and self.penalty.needs_whole_table
        if placed and self.prior.pseudo_inputs is not None:
            raise ValueError(
                f"{self.prior!r} is made of what the encoder says, which with "
                f"{self.penalty!r} does not say where codes lie. Use prior='aggregate'."
            )
        self.n_encoded = self.posterior.n_parameters(shapes)
        shapes = replace(shapes, n_components=self.n_latents)
        parts = self.likelihood, self.view, self.missingness, self.penalty, self.supervision
        for part in parts:
            if part is not None:
                part.build(shapes, noise)
        self.network.connect(shapes, self.n_encoded, self.likelihood.n_parameters, noise)
        return self

    def select(self, members: Tensor) -> None:
        """Keep only these members, in this order."""
        super().select(members)
        self.n_members = len(members)

    def uncalibrate(self) -> None:
        """Forget what calibration refitted: noise, prior and posterior width."""
        for part in (self.posterior, self.prior, self.likelihood):
            part.uncalibrate()
        if self.n_conditions:
            self.code_slopes.zero_()

    @property
    def moves(self) -> bool:
        """Whether codes can be told apart from what conditions say of them."""
        plain = self.prior.pseudo_inputs is None and self.posterior.moves
        return bool(self.n_conditions) and self.encodes and plain

    @property
    def encodes(self) -> bool:
        """Whether the encoder alone says where codes lie."""
        return self.penalty is None or not self.penalty.places

    def infer(
        self, inputs: Tensor, network=None, codes: Tensor | None = None, mask: Tensor | None = None
    ) -> Distribution:
        """Posterior of the codes of ``inputs (members, 1, rows, n_inputs)``.

        It lies at ``codes`` where they are given, else where the penalty places the rows if it
        does so, and has the width of the penalty; else it is as the encoder says.
        """
        if codes is None and not self.encodes:
            codes = self.penalty.place(inputs)
        if codes is None:
            return self.found(self.encoded(inputs, network))
        known = torch.cat([codes, self.penalty.width.expand_as(codes)], -1)
        return self.posterior(known[..., : self.n_encoded])

    def infer_cells(self, units) -> Callable[[Tensor], Distribution] | None:
        """``infer`` of cells from which ``units`` would make inputs, for a model of one member.

        None where what sees the inputs first is no layer that can take in the units.
        """
        if self.encodes:
            network = self.network.reading(units)
            return None if network is None else partial(self.infer, network=network)
        place = self.penalty.reading(units)
        return None if place is None else lambda cells: self.infer(cells, codes=place(cells))

    def codes(self) -> Any:
        """Distribution p(z) of codes before a row is seen."""
        pseudo = self.prior.pseudo_inputs
        if pseudo is None:
            return self.over(self.prior())
        encoded = self.posterior.as_trained(self.network.encode(pseudo))
        return self.over(self.prior(encoded))

    def found(self, encoded: Tensor) -> Distribution:
        """Posterior of codes by what the encoder gives."""
        return self.posterior(encoded)

    def over(self, prior: Distribution) -> Distribution:
        """Prior of whole codes, given that of the latents that the prior is of."""
        return self.posterior.over(prior)

    def explained(
        self, posterior: Distribution, z: Tensor, conditions: Tensor | None, network=None
    ) -> Distribution:
        """Distribution of the cells given codes that were drawn from ``posterior`` last."""
        return self.decode(z, conditions, network)

    def _infer_with_prior(self, inputs: Tensor, network, codes: Tensor | None):
        """Posterior and prior; pseudo-inputs of the prior are encoded along with the rows."""
        pseudo = self.prior.pseudo_inputs
        if pseudo is None or codes is not None or not self.encodes:
            return self.infer(inputs, network, codes), self.codes()
        n_rows = inputs.shape[2]
        encoded = self.encoded(torch.cat([inputs, pseudo], 2), network)
        rows, others = encoded[:, :, :n_rows], encoded[:, :, n_rows:]
        prior = self.prior(self.posterior.as_trained(others))
        return self.found(rows), self.over(prior)

    def calibrate_prior(self, found: list, codes: np.ndarray, seeds) -> None:
        """Refit the prior to posteriors, part by part, and to draws from them.

        ``codes`` are ``(members, draws, rows, n_latents)``.
        """
        continuous = self.posterior.continuous(codes)
        if continuous is not None:
            members, n_draws, _, n_latents = continuous.shape
            self.prior.calibrate(continuous.reshape(members, -1, n_latents), seeds, n_draws)
        self.posterior.calibrate_prior(found, codes[:, 0])

    @property
    def n_noisy(self) -> int:
        """How many of the inputs, the first ones, a view may change."""
        n_exact = max(self.network.n_exact, self.n_exact)
        return self.n_inputs - self.n_conditions - n_exact

    def conditions(self, inputs: Tensor) -> Tensor | None:
        """What the decoder sees beside the codes of rows; None where there are no conditions."""
        return self.given(inputs)

    def given(self, inputs: Tensor) -> Tensor | None:
        """Those of ``inputs`` that are conditions, all of which must be there."""
        if not self.n_conditions:
            return None
        return inputs[..., self.n_inputs - self.n_conditions : self.n_inputs]

    def encoded(self, inputs: Tensor, network=None) -> Tensor:
        """Parameters of the posterior; once trained, less what conditions say of locations."""
        parameters = (network or self.network).encode(inputs)
        if self.training or not self.n_conditions:
            return parameters
        expected = self.given(inputs) @ self.code_slopes
        n = self.n_latents
        return torch.cat([parameters[..., :n] - expected, parameters[..., n:]], -1)

    def categories(self, inputs: Tensor) -> Tensor:
        """Numbers of the discrete latents ``(members, rows, categories)``."""
        return self.posterior.categories(self.encoded(inputs))

    def decoded(self, z: Tensor, conditions: Tensor | None = None, network=None) -> Tensor:
        """Parameters of the cells, under the usual conditions where none are given."""
        if self.n_conditions:
            if conditions is None:
                conditions = self.usual_conditions.to(z.dtype)
            whole = self.whole(z, conditions)
            z = torch.cat([whole, conditions.expand(*whole.shape[:-1], -1)], -1)
        return (network or self.network).decode(z)

    def whole(self, z: Tensor, conditions: Tensor | None) -> Tensor:
        """Codes with what conditions say of them, which is told apart once trained."""
        if self.training or not self.n_conditions or conditions is None:
            return z
        return z + conditions @ self.code_slopes

    def parameters_of(self, batch: Batch, noise: Noise, n_draws: int) -> Tensor:
        """Parameters of the cells of rows, for draws of their codes."""
        z = self.infer(batch.inputs, codes=batch.codes).rsample(noise, n_draws)
        return self.decoded(z, self.conditions(batch.inputs))

    def drawn_conditions(self, noise: Noise, n_rows: int, given: Tensor | None) -> Tensor | None:
        """Conditions of new rows; here those that are given."""
        return given

    def drawn_anew(self, batch: Batch, noise: Noise | FixedDraws) -> Batch:
        """The rows, with what a view draws anew in training."""
        if batch.shares is None or not self.training or self.view is None:
            return batch
        return self.view.redrawn(batch, noise)

    def decode(self, z: Tensor, conditions: Tensor | None = None, network=None) -> Distribution:
        """Distribution of the cells given codes ``(members, draws, rows, n_components)``.

        ``conditions (members, 1, rows, n_conditions)`` are those of the rows.
        """
        return self.likelihood(self.decoded(z, conditions, network))

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> Pass:
        """Encode, draw, decode and compare; ``network`` may stand in for the model's own."""
        batch = self.drawn_anew(batch, noise)
        inputs = batch.inputs
        if self.training and self.view is not None and batch.codes is None:
            inputs = self.view(inputs, noise, self.n_noisy)
        posterior, prior = self._infer_with_prior(inputs, network, batch.codes)
        z = posterior.rsample(noise, n_draws)
        # By a view of their own, what the cells say of the codes is told from all else.
        seen = z.view_as(z)
        likelihood = self.explained(posterior, seen, self.conditions(batch.inputs), network)
        # Rows held out are judged as they are scored, by draws that do not change.
        if self.training and isinstance(noise, Noise):
            likelihood = likelihood.in_training(noise)
        log_likelihood = likelihood.log_prob_rows(batch.values, batch.mask)
        if self.training and batch.targets is not None:
            of_targets = self.supervision.log_prob_rows(z, batch.targets)
            log_likelihood = log_likelihood + of_targets
        # Scores are of the observed cells; in training the mask itself is data.
        if self.training and self.missingness is not None and batch.mask is not None:
            log_mask = self.missingness.log_prob_rows(likelihood, batch.values, batch.mask, noise)
            log_likelihood = log_likelihood + log_mask
        return Pass(
            log_likelihood=log_likelihood,
            kl=kl(posterior, prior, z),
            posterior=posterior,
            prior=prior,
            likelihood=likelihood,
            z=z,
            weights=batch.weights,
            seen=seen,
            batch=batch,
            model=self,
        )
