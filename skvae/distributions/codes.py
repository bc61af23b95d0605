"""Distributions of codes, and the divergences between them that have a closed form."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import register_kl

from ..alignment import aligned, padded
from ..noise import FixedDraws, Noise
from ._base import Distribution
from .normal import LOG_2PI, EncodedNormal, Normal, _EncodedKL

# Rows drawn at once, as each has the parameters of its normals.
DRAWN_ROWS = 8192


class Delta(Distribution):
    """All mass at ``loc``: a deterministic code, which has no density."""

    def __init__(self, loc: Tensor):
        self.loc = loc

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        # The density that a point mass has relative to itself: the terms of a bound that
        # would compare it with a prior are then those of an autoencoder.
        return torch.zeros_like(value)

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        return self.loc.expand(-1, n_draws, -1, -1)


class NormalMixture(Distribution):
    """A mixture of full-covariance normals over the last axis; ``log_prob`` is per row.

    Parameters
    ----------
    log_weights : Tensor (members, n_mixture_components)
    loc : Tensor (members, n_mixture_components, columns)
    whitening : Tensor (members, n_mixture_components, columns, columns)
        ``(x - loc) @ whitening`` has unit covariance.
    """

    def __init__(self, log_weights: Tensor, loc: Tensor, whitening: Tensor):
        self.log_weights = log_weights
        self.loc = loc
        self.whitening = whitening

    @property
    def squares(self) -> tuple[Tensor, Tensor, Tensor]:
        """Matrix ``(members, columns, k * columns)``, offset and constant of the log-density.

        That is the log of the sum of ``exp(constant - 0.5 * squares)`` over the ``k`` normals,
        with the squares of the normal's part of ``x @ matrix - offset``.
        """
        members, n_mixture, n = self.loc.shape
        matrix = self.whitening.permute(0, 2, 1, 3).reshape(members, n, n_mixture * n)
        offset = (self.loc.unsqueeze(-1) * self.whitening).sum(-2)
        log_det = self.whitening.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        return matrix, offset.flatten(1), self.log_weights + log_det - 0.5 * n * LOG_2PI

    def log_prob(self, value: Tensor) -> Tensor:
        n_mixture, n = self.loc.shape[1:]
        matrix, offset, constant = (part.unsqueeze(1) for part in self.squares)
        matrix = padded(padded(matrix, aligned(n_mixture * n)).mT, aligned(n)).mT
        product = (padded(value, aligned(n)) @ matrix)[..., : n_mixture * n]
        white = (product - offset.unsqueeze(1)).unflatten(-1, (n_mixture, n))
        distance = torch.linalg.vecdot(white, white)
        return torch.logsumexp(constant.unsqueeze(1) - 0.5 * distance, -1)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, columns)``."""
        uniform = noise.uniform(n_rows, 1)
        edges = self.log_weights.softmax(-1).cumsum(-1)[:, None, :]
        chosen = (uniform > edges).sum(-1).clamp_(max=self.log_weights.shape[-1] - 1)
        member = torch.arange(len(chosen), device=chosen.device)[:, None]
        standard = noise.normal(n_rows, self.loc.shape[-1])
        # cov = (W W')^-1, so a row e of standard normals becomes e W^-1.
        inverse, spread = torch.linalg.inv(self.whitening), []
        for kinds, rows in zip(chosen.split(DRAWN_ROWS, 1), standard.split(DRAWN_ROWS, 1)):
            spread.append((rows.unsqueeze(-2) @ inverse[member, kinds]).squeeze(-2))
        return (self.loc[member, chosen] + torch.cat(spread, 1)).unsqueeze(1)


class StandardNormal(Normal):
    """Independent normals of mean 0 and standard deviation 1."""

    def __init__(self, zero: Tensor, n_components: int):
        self.loc = self.log_scale = zero
        self.n_components = n_components

    @cached_property
    def scale(self) -> Tensor:
        return torch.ones_like(self.loc)

    @property
    def squares(self) -> tuple[Tensor, Tensor, Tensor]:
        """As those of a mixture of one normal."""
        zero, n = self.loc[:, 0, 0], self.n_components
        matrix = torch.eye(n).to(zero).expand(len(zero), -1, -1)
        return matrix, zero.expand(-1, n), zero - 0.5 * n * LOG_2PI

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value * value) - 0.5 * LOG_2PI

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, n_components)``."""
        return noise.normal(1, n_rows, self.n_components)


@register_kl(Normal, StandardNormal)
def _kl_normal_standard(q: Normal, p: StandardNormal) -> Tensor:
    entropy_part = torch.rsub(q.log_scale, -0.5)
    return entropy_part.addcmul(q.loc, q.loc, value=0.5).addcmul(q.scale, q.scale, value=0.5)


@register_kl(EncodedNormal, StandardNormal)
def _kl_encoded_standard(q: EncodedNormal, p: StandardNormal) -> Tensor:
    return _EncodedKL.apply(q.parameters, q._scale, q._squashed, q.bound)


@register_kl(Normal, Normal)
def _kl_normal_normal(q: Normal, p: Normal) -> Tensor:
    z = (q.loc - p.loc) / p.scale
    ratio = q.scale / p.scale
    return 0.5 * (z * z + ratio * ratio - 1.0) + p.log_scale - q.log_scale
