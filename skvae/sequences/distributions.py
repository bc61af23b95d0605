"""Codes given rows, and rows given codes, where both go step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..distributions import Distribution, Normal
from ..noise import FixedDraws, Noise

if TYPE_CHECKING:
    from .model import SequentialVAE, Steps


class CodesOfSequence(Distribution):
    """Codes of the steps of rows given the rows, each given those before it.

    Means and standard deviations are those along the way of the means.

    Parameters
    ----------
    vae : SequentialVAE
    steps : Steps
    """

    def __init__(self, vae: SequentialVAE, steps: Steps):
        self.vae, self.steps = vae, steps
        self._along: Normal | None = None

    @property
    def along(self) -> Normal:
        """Along the way of the means."""
        if self._along is None:
            self._along = self.vae.mean_codes(self.steps).posterior
        return self._along

    @property
    def mean(self) -> Tensor:
        return self.along.loc

    @property
    def stddev(self) -> Tensor:
        return self.along.stddev

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        return self.vae.drawn_codes(self.steps, noise, n_draws).codes

    def log_prob(self, value: Tensor) -> Tensor:
        shared = self.vae.shared_noise(value)
        walk = self.vae.given_codes(value, self.steps, shared, judged=True)
        return walk.posterior.log_prob(value)


class CellsOfSequence(Distribution):
    """Cells of rows given their codes, each step given those before it.

    The best values, and what else is of single cells, go on from the best values of earlier
    steps; draws go on from draws.

    Parameters
    ----------
    vae : SequentialVAE
    codes : Tensor (members, draws, rows, steps * latents)
    steps : Steps
        Cells that are known.
    """

    def __init__(self, vae: SequentialVAE, codes: Tensor, steps: Steps):
        self.vae, self.codes, self.steps = vae, codes, steps
        self._along: Distribution | None = None
        # What is asked later is found as if it were found now.
        self._differentiates = torch.is_grad_enabled()

    @property
    def along(self) -> Distribution:
        """Along the way of the best values."""
        if self._along is None:
            with torch.set_grad_enabled(self._differentiates):
                walk = self.vae.given_codes(self.codes, self.steps)
                self._along = self.vae.likelihood(walk.parameters)
        return self._along

    @property
    def mean(self) -> Tensor:
        return self.along.mean

    @property
    def stddev(self) -> Tensor:
        return self.along.stddev

    @property
    def point(self) -> Tensor:
        return self.along.point

    @property
    def parts(self) -> list[Distribution]:
        """The distribution of single cells."""
        return self.along.parts

    def log_prob(self, value: Tensor) -> Tensor:
        return self._given_before(value, None).log_prob(value)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return self._given_before(value, mask).log_prob_rows(value, mask)

    def given(self, value: Tensor, mask: Tensor | None) -> CellsOfSequence:
        return CellsOfSequence(self.vae, self.codes, self.vae.steps_of(value, mask))

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        cells = self.vae.given_codes(self.codes, self.steps, noise).cells
        return self.vae.network.columns(cells)

    def _given_before(self, value: Tensor, mask: Tensor | None) -> Distribution:
        steps = self.vae.steps_of(value, mask)
        walk = self.vae.given_codes(self.codes, steps, self.vae.shared_noise(value))
        return self.vae.likelihood(walk.parameters)
