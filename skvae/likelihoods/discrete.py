"""Likelihoods of binary, categorical and ordinal columns."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ._base import Likelihood

# A share below this is no guide to how far logits should move with a code.
SMALLEST_SHARE = 0.1


class Bernoulli(Likelihood):
    """Binary cells; numeric columns between 0 and 1 are taken as probabilities of a 1.

    Examples
    --------
    >>> from skvae.likelihoods import Bernoulli
    >>> Bernoulli()
    Bernoulli()
    """

    kind = "binary"
    has_slopes = True

    @property
    def closed_form(self) -> bool:
        """That the cells are those of a logit each."""
        return type(self) is Bernoulli

    def slopes(self, mean: Tensor) -> Tensor:
        """Those of the log-odds, bounded for the sake of rare ones."""
        return 1.0 / (mean * (1.0 - mean)).clamp_min(SMALLEST_SHARE)

    def start(self, mean: Tensor) -> Tensor:
        """Log-odds of the mean."""
        return mean.clamp(1e-3, 1 - 1e-3).logit()

    def forward(self, parameters: Tensor) -> distributions.Bernoulli:
        """Give a Bernoulli per cell."""
        return distributions.Bernoulli(parameters)


class Categorical(Likelihood):
    """Categorical cells, one softmax per column.

    Examples
    --------
    >>> from skvae.likelihoods import Categorical
    >>> Categorical()
    Categorical()
    """

    kind = "categorical"

    @property
    def closed_form(self) -> bool:
        """That the cells are those of a softmax per column."""
        return type(self) is Categorical

    @property
    def n_parameters(self) -> int:
        """One logit per category of each column."""
        return sum(self.sizes)

    def expand(self, values: Tensor) -> Tensor:
        """One-hot cells, the categories of all columns side by side."""
        columns = zip(values.long().unbind(-1), self.sizes)
        return torch.cat([F.one_hot(codes, size) for codes, size in columns], -1).to(values.dtype)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column once per category."""
        return columns.repeat_interleave(torch.tensor(self.sizes, device=columns.device), -1)

    has_slopes = True

    def slopes(self, mean: Tensor) -> Tensor:
        """Those of the logarithms, bounded for the sake of rare ones."""
        return 1.0 / mean.clamp_min(SMALLEST_SHARE)

    def start(self, mean: Tensor) -> Tensor:
        """Logarithm of the shares of the categories."""
        return mean.clamp_min(1e-4).log()

    def forward(self, parameters: Tensor) -> distributions.Categorical:
        """Give a categorical per cell."""
        return distributions.Categorical(parameters, self.sizes)


# Thresholds nearer than this round to one another, and farther ones tell no more.
SMALLEST_STEP, LARGEST_LOG_STEP = 1e-3, 10.0


class Ordinal(Likelihood):
    """Levels in an order: where in a row of thresholds does the decoder's number fall.

    The cumulative logit model with one location per cell and the thresholds of each column
    learned.  Beside a softmax it has one output per column instead of one per level, and
    levels next to one another share what they teach.

    Examples
    --------
    >>> from skvae.likelihoods import Ordinal
    >>> Ordinal()
    Ordinal()

    References
    ----------
    McCullagh, Regression Models for Ordinal Data, 1980.
    """

    kind = "ordinal"

    @property
    def closed_form(self) -> tuple | None:
        """Limits of the steps between thresholds, the larger one of their logarithms."""
        return (SMALLEST_STEP, LARGEST_LOG_STEP) if type(self) is Ordinal else None

    def build(self, shapes: Shapes, noise: Noise) -> Ordinal:
        """Create the thresholds: the first of each column, and the logarithms of the steps."""
        super().build(shapes, noise)
        width = max(*self.sizes, 2) - 1
        place = torch.arange(width, device=noise.device)
        sizes = torch.tensor(self.sizes, device=noise.device)[:, None]
        padding = place >= sizes - 1
        self.register_buffer("padding", padding.expand(noise.n_members, 1, -1, -1))
        blank = torch.zeros(1, len(self.sizes), width, device=noise.device)
        self.first_and_log_steps = self.weight(noise, lambda g: blank)
        exceedance = torch.cat([1.0 - torch.arange(1, n) / n for n in self.sizes])
        self.start(exceedance.to(noise.device))
        return self

    @property
    def n_expanded(self) -> int:
        """One number for each level of a column but the last."""
        return sum(self.sizes) - len(self.sizes)

    def expand(self, values: Tensor) -> Tensor:
        """Whether a cell exceeds each level but the last, for all columns side by side."""
        columns = zip(values.unbind(-1), self.sizes)
        exceeds = [
            codes.unsqueeze(-1) > torch.arange(size - 1, device=values.device)
            for codes, size in columns
        ]
        return torch.cat(exceeds, -1).to(values.dtype)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column once per level but the last."""
        times = torch.tensor(self.sizes, device=columns.device) - 1
        return columns.repeat_interleave(times, -1)

    @torch.no_grad()
    def start(self, mean: Tensor) -> Tensor:
        """Put the thresholds where the levels have their shares at a location of 0."""
        at = torch.full((*mean.shape[:-1], *self.padding.shape[2:]), 0.5).to(mean)
        parts = mean.split([size - 1 for size in self.sizes], -1)
        for column, part in enumerate(parts):
            at[..., column, : part.shape[-1]] = part
        thresholds = -at.clamp(1e-3, 1 - 1e-3).logit()
        steps = (thresholds.diff(dim=-1) - SMALLEST_STEP).clamp_min(SMALLEST_STEP)
        start = torch.cat([thresholds[..., :1], steps.log()], -1).unsqueeze(-3)
        self.first_and_log_steps.copy_(start)
        return torch.zeros_like(at[..., 0])

    def forward(self, parameters: Tensor) -> distributions.Ordinal:
        """Give ordered levels per cell."""
        first, log_steps = self.first_and_log_steps.tensor_split([1], -1)
        steps = log_steps.clamp_max(LARGEST_LOG_STEP).exp() + SMALLEST_STEP
        thresholds = torch.cat([first, steps], -1).cumsum(-1)
        thresholds = thresholds.masked_fill(self.padding, math.inf)
        return distributions.Ordinal(parameters, thresholds.unsqueeze(1))
