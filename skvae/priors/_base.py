"""What a prior must offer."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .. import distributions
from .._component import Component


class Prior(Component):
    """Base of the priors: a distribution over codes, with or without weights."""

    @property
    def pseudo_inputs(self) -> Tensor | None:
        """Rows ``(members, 1, rows, n_inputs)`` whose posteriors the prior is made of."""
        return None

    def forward(
        self, encoded: distributions.Distribution | None = None
    ) -> distributions.Distribution:
        """Give the distribution over codes ``(members, draws, rows, n_components)``.

        Parameters
        ----------
        encoded : Distribution or None
            Posterior of the pseudo-inputs, where there are any.
        """
        raise NotImplementedError

    def start(self, inputs: Tensor) -> None:
        """Begin training with pseudo-inputs at these rows, one for each."""

    def calibrate(self, codes: np.ndarray, seeds, n_draws: int = 1) -> None:
        """Refit to the codes ``(members, n_draws * n_samples, n_components)`` after training.

        Parameters
        ----------
        codes : ndarray
            ``n_draws`` of all rows, one set of draws after the other.
        seeds : sequence of int
            One per member.
        n_draws : int, default=1
        """

    def uncalibrate(self) -> None:
        """Forget the calibration."""
