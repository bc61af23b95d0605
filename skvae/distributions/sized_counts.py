"""Counts of rows that differ in size: a total that the cells of a row share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..noise import Noise
from ._base import Distribution
from .count_rows import observed_sum
from .counts import ZeroInflated

# Nodes at which the size of a row is integrated over, around what its cells say of it.
NODES = 8
# Over what is known beforehand, which is wider: the density of a single cell.
WIDE_NODES = 32
NEWTON_STEPS = 2
LARGEST_STEP = 1.0


class SizedCounts(Distribution):
    """Counts whose means are shares times the size of their row, which is log-normal.

    The size is integrated out: ``log_prob_rows`` is the density of the row, by Gauss-Hermite
    quadrature around the size that its observed cells make likeliest.

    Parameters
    ----------
    shares : Poisson, NegativeBinomial or ZeroInflated
        The counts of rows of size 1; means of the first two add up to 1.
    loc, scale : Tensor (members, 1 or draws, 1 or rows, 1)
        Mean and standard deviation of the logarithm of the size.
    n_nodes : int, default=8
        Nodes of the quadrature.  1 is Laplace's approximation at the observed size, which is
        for training: it costs one pass over the cells.

    References
    ----------
    Liu and Pierce, A note on Gauss-Hermite quadrature, 1994.
    """

    def __init__(self, shares: Any, loc: Tensor, scale: Tensor, n_nodes: int = NODES):
        self.shares = shares
        self.loc = loc
        self.scale = scale
        self.n_nodes = n_nodes

    @property
    def mean(self) -> Tensor:
        return self.shares.scaled(self.loc + 0.5 * self.scale.square()).mean

    @property
    def point(self) -> Tensor:
        """The means in a row of the median size."""
        return self.shares.scaled(self.loc).mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each cell alone; cells of a row depend through its size."""
        points, log_weights = nodes_of(WIDE_NODES)
        total: Any = None
        for point, log_weight in zip(points, log_weights):
            cells = self.shares.scaled(self.loc + self.scale * point).log_prob(value) + log_weight
            total = cells if total is None else torch.logaddexp(total, cells)
        return total - 0.5 * math.log(2.0 * math.pi)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        log_size = self._observed_size(value, mask)
        if self.n_nodes == 1:
            return self._by_laplace(log_size, value, mask)
        with torch.no_grad():
            centre, width = self._mode(log_size, value, mask)
        points, log_weights = nodes_of(self.n_nodes)
        terms = []
        for point, log_weight in zip(points, log_weights):
            log_size = centre + width * point
            rows = self.shares.scaled(log_size).log_prob_rows(value, mask)
            # The weights are of a standard normal, which the nodes around a mode divide out.
            weighed = log_weight + 0.5 * point**2
            terms.append(rows + self._log_prior(log_size) + weighed)
        return torch.logsumexp(torch.stack(terms), 0) + width.squeeze(-1).log()

    def given(self, value: Tensor, mask: Tensor | None) -> SizedCounts:
        """The same with what the observed cells of each row say about its size."""
        with torch.no_grad():
            log_size = self._observed_size(value, mask)
            return SizedCounts(self.shares, *self._mode(log_size, value, mask), self.n_nodes)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        draws, rows = self.shares.mean.shape[1:3]
        size = self.loc + self.scale * noise.normal(draws, rows, 1)
        return self.shares.scaled(size).sample(noise)

    def _observed_size(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Log of the ratio of what a row has to what it would have at size 1, as its prior has it.

        That of a gamma prior with Poisson counts: never infinite, and the prior's where no
        cell is observed.
        """
        rate = self.scale.square().reciprocal()
        seen = observed_sum(value, mask).unsqueeze(-1)
        expected: Any = 1.0
        if mask is not None or isinstance(self.shares, ZeroInflated):
            expected = observed_sum(self.shares.mean, mask).unsqueeze(-1)
        return (seen + rate).log() - (expected + rate * (-self.loc).exp()).log()

    def _by_laplace(self, log_size: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        terms = self.shares.scaled(log_size).size_terms(value, mask)
        slope = terms.slope + ((self.loc - log_size) / self.scale.square()).squeeze(-1)
        curvature = terms.curvature + self.scale.square().reciprocal().squeeze(-1)
        correction = 0.5 * slope.square() / curvature - 0.5 * curvature.log()
        constant = 0.5 * math.log(2.0 * math.pi)
        with torch.no_grad():
            correction = correction + self._log_prior(log_size)
        return terms.log_prob + correction.detach() + constant

    def _log_prior(self, log_size: Tensor) -> Tensor:
        standard = (log_size - self.loc) / self.scale
        log_density = -0.5 * standard.square() - self.scale.log()
        return log_density.squeeze(-1) - 0.5 * math.log(2.0 * math.pi)

    def _mode(self, log_size: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        precision = self.scale.square().reciprocal()
        for _ in range(NEWTON_STEPS):
            terms = self.shares.scaled(log_size).size_terms(value, mask)
            slope = terms.slope.unsqueeze(-1) + (self.loc - log_size) * precision
            curvature = terms.curvature.unsqueeze(-1) + precision
            step = (slope / curvature).clamp(-LARGEST_STEP, LARGEST_STEP)
            log_size = log_size + step
        return log_size, curvature.rsqrt()


def nodes_of(n: int) -> tuple[list[float], list[float]]:
    """Nodes and logarithms of weights for integrals over exp(-x**2 / 2)."""
    points, weights = np.polynomial.hermite_e.hermegauss(n)
    return points.tolist(), np.log(weights).tolist()
