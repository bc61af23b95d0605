"""A model whose latents come in groups, each drawn given those before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from ._component import Shapes
from .distributions import Distribution
from .noise import Noise
from .vae import VAE


class LadderVAE(VAE):
    """A VAE whose posterior and prior take the network's path from group to group.

    q(z_l|x, z_1, ...) and p(z_l|z_1, ...) differ by what the encoder says of the row and share
    the rest, which therefore is a part of neither; the ``prior`` is that of the first group.
    """

    def build(self, shapes: Shapes, noise: Noise) -> LadderVAE:
        """Create the weights, with the latents shared out among the groups."""
        penalty = self.penalty
        if penalty is not None and (penalty.needs_whole_table or penalty.needs_density):
            raise ValueError(
                f"penalty={penalty!r} is of codes that are normal given their row alone, and the "
                f"groups of posterior={self.posterior!r} depend on one another. Use "
                "posterior='normal', or a penalty on the decoder."
            )
        sizes = self.network.group_sizes(shapes, self.posterior.n_groups)
        super().build(replace(shapes, groups=sizes), noise)
        return self

    def found(self, encoded: Tensor) -> Distribution:
        """Posterior of all groups."""
        return self.posterior.along(self.network.top_down, encoded)

    def over(self, prior: Distribution) -> Distribution:
        """Prior of all groups, given that of the first."""
        return self.posterior.prior_along(self.network.top_down, prior)

    def calibrate_prior(self, found: list, codes: np.ndarray, seeds) -> None:
        """Refit the prior to the first group, which it is of."""
        super().calibrate_prior(found, codes[..., : self.posterior.sizes[0]], seeds)

    def explained(
        self, posterior: Any, z: Tensor, conditions: Tensor | None, network=None
    ) -> Distribution:
        """Distribution of the cells, from where the draw has left the path."""
        parameters = self.network.read(posterior.walked.state, conditions)
        if parameters is None:
            return super().explained(posterior, z, conditions, network)
        return self.likelihood(parameters)
