"""Posteriors in a graph: where codes lie, and draws of them with their densities."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_ndtr

from ..exceptions import ExportError
from ..posteriors import (
    LOG_SCALE_BOUND,
    Deterministic,
    DiagonalNormal,
    Epanechnikov,
    Joint,
)
from .arrays import HALF_LOG_2PI, per_column
from .graph import Value
from .registry import Exporters

POSTERIORS = Exporters("posterior")


@POSTERIORS.of(Deterministic)
class Points:
    """Codes that the encoder gives as they are.

    Parameters
    ----------
    posterior : Posterior
    parameters : Value (members, 1, rows, width)
        What the encoder says.
    n_latents : int
    """

    def __init__(self, posterior: Any, parameters: Value, n_latents: int):
        self.posterior, self.loc = posterior, parameters

    @property
    def mean(self) -> Value:
        """Mean of the codes, ``(members, 1, rows, n_components)``."""
        return self.loc

    def drawn(self, eps: np.ndarray) -> tuple[Value, Value]:
        """Codes ``(members, draws, rows, n_components)`` and their log densities ``(...)``."""
        raise ExportError(
            f"The posterior {self.posterior!r} has no density over codes, which score_samples "
            "needs. Export other methods."
        )

    def log_prob(self, z: Value) -> Value:
        """Log density of any codes, ``(members, draws, rows)``."""
        return self.drawn(np.zeros(()))[1]


# In scores that of compact support proposes codes by the normal of the same moments.
@POSTERIORS.of(DiagonalNormal, Epanechnikov)
class Normals(Points):
    """Independent normals per latent."""

    def __init__(self, posterior, parameters, n_latents):
        loc, raw = parameters.parts([n_latents, n_latents])
        super().__init__(posterior, loc, n_latents)
        factor = per_column(loc.graph, posterior.log_factor)
        squashed = (raw / LOG_SCALE_BOUND).apply("Tanh")
        self.log_scale = squashed * LOG_SCALE_BOUND + factor

    def drawn(self, eps):
        z = self.loc + self.log_scale.exp() * eps
        # (z - loc) / scale is the draw again.
        constant = 0.5 * np.square(eps).sum(-1) + HALF_LOG_2PI * eps.shape[-1]
        return z, -self.log_scale.sum(-1) - constant

    @property
    def nats(self) -> Value:
        """Divergence from N(0, I) in closed form, ``(members, 1, rows)``."""
        squares = self.loc * self.loc + (self.log_scale * 2.0).exp() - 1.0
        return (squares * 0.5 - self.log_scale).sum(-1)

    def log_prob(self, z):
        standard = (z - self.loc) * (-self.log_scale).exp()
        return (standard * standard * -0.5 - self.log_scale - HALF_LOG_2PI).sum(-1)


@POSTERIORS.of(Joint)
class NormalsAndCategory(Normals):
    """Independent normals, and the one-hot of a category behind them."""

    def __init__(self, posterior, parameters, n_latents):
        n, n_categories = posterior.n_numbers, posterior.n_categories
        loc, self.logits, raw = parameters.parts([n, n_categories, n])
        super().__init__(posterior, parameters.graph.joined([loc, raw]), n)

    @property
    def mean(self):
        return self.loc.graph.joined([self.loc, self.logits.apply("Softmax", axis=-1)])

    def drawn(self, eps):
        n, n_categories = self.posterior.n_numbers, self.posterior.n_categories
        z, log_q = super().drawn(eps[..., :n])
        gumbel = -np.log(-log_ndtr(eps[..., n:].astype(np.float64)))
        chosen = (self.logits + gumbel).argmax().one_hot(n_categories)
        log_share = (chosen * self.logits.apply("LogSoftmax", axis=-1)).sum(-1)
        return z.graph.joined([z, chosen]), log_q + log_share
