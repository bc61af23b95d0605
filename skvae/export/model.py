"""A whole variational autoencoder in a graph: codes of rows, scores of rows, cells of codes."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from ..distributions import StandardNormal
from ..exceptions import ExportError
from ..inference import LARGEST_CODE
from ..noise import FixedDraws
from ..semi_supervised import SemiSupervisedVAE
from ..vae import VAE
from .arrays import array_of, layers, per_column, weight
from .blocks import blocks
from .codec import Rows
from .graph import Graph, Value
from .networks import NETWORKS
from .posteriors import POSTERIORS
from .priors import PRIORS
from .registry import Exporters

MODELS = Exporters("model")


@MODELS.of(VAE)
class Model:
    """Encoder, posterior, prior, decoder and likelihood.

    Parameters
    ----------
    graph : Graph
    vae : VAE
        Trained; all of its members take part.
    """

    def __init__(self, graph: Graph, vae: Any):
        if not vae.encodes:
            raise ExportError(
                f"The penalty {vae.penalty!r} places codes by searching the training rows, which "
                "cannot be exported. Use penalty=None."
            )
        self.graph, self.vae = graph, vae
        self.network = NETWORKS(vae.network)(vae.network)

    def posterior(self, inputs: Value) -> Any:
        """Posterior of the codes of rows ``(rows, n_inputs)``."""
        return self._posterior(self.shown(inputs))

    def shown(self, inputs: Value) -> Value:
        """What the encoder sees of rows, ``(members, 1, rows, n_inputs)``."""
        return inputs.expanded(0, 1)

    def _posterior(self, x: Value) -> Any:
        vae = self.vae
        parameters = self.network.encode(x)
        conditions = self.conditions(x)
        if conditions is not None:
            n, n_others = vae.n_latents, vae.n_encoded - vae.n_latents
            expected = conditions @ weight(self.graph, vae.code_slopes[:, 0])
            first, *others = parameters.parts([n, n_others] if n_others else [n])
            parameters = self.graph.joined([first - expected, *others])
        return POSTERIORS(vae.posterior)(vae.posterior, parameters, vae.n_latents)

    def conditions(self, x: Value) -> Value | None:
        """The last of the inputs ``(members, draws, rows, n_inputs)``, which the decoder sees."""
        n = self.vae.n_conditions
        return x.parts([self.vae.n_inputs - n, n])[1] if n else None

    def decoded(self, z: Value, conditions: Value | None) -> list:
        """Blocks of cells given codes ``(members, draws, rows, n_components)``."""
        return blocks(self.vae.likelihood, self.parameters(z, conditions))

    def parameters(self, z: Value, conditions: Value | None) -> Value:
        """What the decoder says of the cells, ``(members, draws, rows, n_parameters)``."""
        if conditions is not None:
            z = self.whole(z, conditions)
            z = self.graph.joined([z, z.zeros() + conditions])
        return self.network.decode(z)

    def whole(self, z: Value, conditions: Value | None) -> Value:
        """Codes with what conditions say of them."""
        if conditions is None:
            return z
        return z + conditions @ weight(self.graph, self.vae.code_slopes[:, 0])

    def point(self, z: Value) -> Value:
        """Best values ``(rows, columns)`` of codes ``(rows, n_components)``."""
        if self.vae.n_conditions:
            raise ExportError(
                "inverse_transform of a model with conditions or classes takes these beside the "
                "codes, and cannot be exported. Export reconstruct."
            )
        return self._point(z.expanded(0, 1), None)

    def reconstructed(self, inputs: Value) -> Value:
        """Best values ``(rows, columns)`` of the posterior means of rows."""
        x = self.shown(inputs)
        return self._point(self._posterior(x).mean, self.conditions(x))

    def _point(self, z: Value, conditions: Value | None) -> Value:
        parts = self.decoded(z.clipped(-LARGEST_CODE, LARGEST_CODE), conditions)
        return self.graph.joined([part.point for part in parts]).squeezed(0, 1)

    def log_weights(self, rows: Rows, n_draws: int) -> Value:
        """Log p(x, z) - log q(z|x) of fixed draws, ``(members, draws, rows)``."""
        likelihood, odds = self._terms(rows, rows.inputs.expanded(0, 1), n_draws)
        return likelihood + odds

    def _terms(self, rows: Rows, x: Value, n_draws: int) -> tuple[Value, Value]:
        vae = self.vae
        fixed = FixedDraws(n_draws, vae.n_latents)
        eps = array_of(fixed.normal(n_draws, 1, vae.n_latents))
        z, log_q = self._posterior(x).drawn(eps)
        cells = self.decoded(z, self.conditions(x))
        return self.log_likelihood(cells, rows), self.log_prior(z) - log_q

    def log_prior(self, z: Value) -> Value:
        """Log p(z), ``(members, draws, rows)``."""
        prior = self.vae.codes()
        return PRIORS(prior)(prior, z)

    def log_likelihood(self, cells: list, rows: Rows) -> Value:
        """Log p(x|z) of the observed cells, ``(members, draws, rows)``."""
        widths = self.vae.likelihood.widths
        parts = zip(cells, rows.values.parts(widths), rows.mask.parts(widths))
        terms = [part.log_prob_rows(values, mask) for part, values, mask in parts]
        return functools.reduce(operator.add, terms)

    def log_marginal(self, rows: Rows, n_draws: int) -> Value:
        """Importance-weighted log p(x), ``(members, rows)``, in the units of the values."""
        return self.log_weights(rows, n_draws).log_sum_exp(1) - math.log(n_draws)

    def bound(self, rows: Rows, n_draws: int) -> Value:
        """Lower bound on it, by the means over the same draws."""
        if self.vae.posterior.is_discrete:
            raise ExportError(
                f"score_function='elbo' of the posterior {self.vae.posterior!r} cannot be "
                "exported. Use score_function='likelihood'."
            )
        x = self.shown(rows.inputs)
        likelihood, odds = self._terms(rows, x, n_draws)
        if isinstance(self.vae.codes(), StandardNormal):
            return likelihood.reduce("Mean", 1) - self._posterior(x).nats.squeezed(1)
        return (likelihood + odds).reduce("Mean", 1)


@MODELS.of(SemiSupervisedVAE)
class ClassModel(Model):
    """A model whose last conditions are the class of the row."""

    def log_classes(self, x: Value) -> Value:
        """Log q(y|x) of rows without classes, ``(members, 1, rows, n_classes)``."""
        return head_of(self.vae.supervision.classifier, x).apply("LogSoftmax", axis=-1)

    def shown(self, inputs):
        """Rows with the indicators of their likeliest class."""
        x = inputs.expanded(0, 1)
        return self._under(x, self.likeliest(x))

    def likeliest(self, x: Value) -> Value:
        """Indicators of the likeliest class, ``(members, 1, rows, n_classes)``."""
        return self.log_classes(x).argmax().one_hot(self.vae.n_classes)

    def _under(self, x: Value, classes: Value) -> Value:
        return self.graph.joined([classes.zeros() + x, classes])

    def log_weights(self, rows, n_draws):
        """Of draws under each class, ``(members, draws * classes, rows)``."""
        x, found = rows.inputs.expanded(0, 1), []
        log_prior = self.vae.supervision.log_prior
        for i in range(self.vae.n_classes):
            one_hot = np.eye(self.vae.n_classes, dtype=np.float32)[i]
            likelihood, odds = self._terms(rows, self._under(x, x.zeros() + one_hot), n_draws)
            share = per_column(self.graph, log_prior[:, i : i + 1]).squeezed(-1)
            found.append(likelihood + odds + share)
        return self.graph.joined(found, 1)

    def bound(self, rows, n_draws):
        raise ExportError(
            "score_function='elbo' of a model with classes cannot be exported. Use "
            "score_function='likelihood'."
        )


def head_of(head: Any, x: Value) -> Value:
    """A small perceptron of the supervision, from ``(members, draws, rows, n_in)``."""
    places = range(len(head.widths) - 1)
    weights = [getattr(head, f"weight_{i}") for i in places]
    biases = [getattr(head, f"bias_{i}") for i in places]
    return layers(x, weights, biases, "silu")
