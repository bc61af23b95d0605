"""Random numbers that are the same for every row, for results that depend on the row alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import gammaincinv
from scipy.stats import poisson
from torch import Tensor

from ..noise import Noise


class SharedNoise(Noise):
    """A source whose numbers are drawn once and serve all rows, whatever a row asks for.

    Shapes are ``(draws, rows, ...)``.  Gamma and Poisson numbers come from the inverse of their
    distribution function, so that each takes one uniform number.

    Parameters
    ----------
    seeds : sequence of int
        One seed per member.
    device : str or torch.device
        Where the numbers are drawn.

    Attributes
    ----------
    apart : Noise
        A source whose numbers differ along all axes.

    Examples
    --------
    >>> from skvae.conditioning import SharedNoise
    >>> numbers = SharedNoise([0]).normal(2, 3, 4)
    >>> numbers.shape, bool((numbers[:, :, 0] == numbers[:, :, 2]).all())
    (torch.Size([1, 2, 3, 4]), True)
    """

    def __init__(self, seeds: Sequence[int], device: str | torch.device = "cpu"):
        super().__init__(seeds, device)
        self.apart = Noise([int(seed) + 1 for seed in seeds], device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, ``(members, *shape)``."""
        return super().normal(*_one_row(shape)).expand(-1, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), ``(members, *shape)``."""
        return super().uniform(*_one_row(shape)).expand(-1, *shape)

    def gamma(self, concentration: Tensor) -> Tensor:
        """Gamma numbers of rate 1."""
        return self._inverse(gammaincinv, concentration)

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts."""
        return self._inverse(lambda rate, uniform: poisson.ppf(uniform, rate), rate)

    def _inverse(self, quantile, parameter: Tensor) -> Tensor:
        uniform = self.uniform(*parameter.shape[1:]).cpu().numpy().clip(1e-7, 1 - 1e-7)
        numbers = quantile(parameter.cpu().numpy().astype(np.float64), uniform)
        return torch.as_tensor(numbers).to(parameter)


def _one_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, *shape[2:]) if len(shape) > 1 else shape
