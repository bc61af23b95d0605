"""What a posterior must offer."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .._component import Component, Shapes
from ..distributions import Distribution

# exp(-7) prior standard deviations is finer than any table needs, and a smooth bound keeps
# its gradient where a hard one would lose it.
LOG_SCALE_BOUND = 7.0


class Posterior(Component):
    """Base of the posteriors: parameters of the encoder in, a distribution over codes out."""

    has_density = True

    @property
    def has_bound(self) -> bool:
        """Whether log p(x) has a bound that rows can be scored by."""
        return self.has_density

    # Whether a code moves by what is added to the first of its parameters.
    moves = False

    # Whether codes, or some of them, are among a few: there is no way between two of these.
    is_discrete = False

    def n_latents(self, shapes: Shapes) -> int:
        """Width of a code, of which the prior covers the first ``n_components``."""
        return shapes.n_components

    # Whether latents come in groups, each drawn given those before it, and how many there are.
    is_ladder = False
    n_groups = 1

    def first(self, shapes: Shapes) -> Shapes:
        """Shapes of the latents that the prior of the estimator is of."""
        return shapes

    def over(self, prior: Distribution) -> Distribution:
        """Prior over whole codes, given that of the latents that are any numbers."""
        return prior

    def continuous(self, codes: np.ndarray) -> np.ndarray | None:
        """Those latents of codes ``(..., n_latents)``, or None if there are none."""
        return codes

    def calibrate_prior(self, found: list, codes: np.ndarray) -> None:
        """Refit what ``over`` adds to the prior.

        Parameters
        ----------
        found : list of Distribution
            Posteriors of rows, part by part.
        codes : ndarray (members, rows, n_latents)
            A draw from each.
        """

    def start_at(self, parameters: Tensor) -> None:
        """Begin training given what the encoder says of rows, ``(members, 1, rows, width)``."""

    def categories(self, parameters: Tensor) -> Tensor:
        """Numbers of the categories of rows, ``(members, rows, categories)``."""
        raise NotImplementedError

    def n_parameters(self, shapes: Shapes) -> int:
        """How many numbers per row the encoder must give."""
        raise NotImplementedError

    def forward(self, parameters: Tensor) -> Distribution:
        """Turn ``(members, 1, rows, n_parameters)`` into a distribution over codes."""
        raise NotImplementedError

    def as_trained(self, parameters: Tensor) -> Distribution:
        """The distribution without calibration."""
        return self(parameters)

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Weights and biases of a linear encoder with this posterior, or None if it has none.

        Parameters
        ----------
        matrix : Tensor (members, n_inputs, n_components)
        offset, log_scale : Tensor (members, n_components)
        """
        return None

    def nats(self, found) -> Tensor:
        """KL from N(0, 1) of each latent of a posterior, ``(members, 1, rows, n_latents)``."""
        loc, scale = found.mean.cpu().double(), found.stddev.cpu().double()
        return 0.5 * (loc.square() + scale.square() - 1.0) - scale.log()

    def calibrate(self, log_factor: Tensor) -> None:
        """Widen or narrow the posterior by ``exp(log_factor)``, used after training only."""

    def uncalibrate(self) -> None:
        """Forget the calibration."""
