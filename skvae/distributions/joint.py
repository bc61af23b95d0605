"""Codes of numbers and one category: normals beside a relaxed one-hot."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence, register_kl
from torch.nn import functional as F

from ..noise import FixedDraws, Noise
from ._base import Distribution
from .normal import Normal


class JointCodes(Distribution):
    """Normals for the first latents; the others are the one-hot of a category.

    Parameters
    ----------
    normal : Normal
        Of the continuous latents.
    logits : Tensor (members, 1, rows, n_categories)
    temperature : float or None
        How far draws of the category are from one-hot, so that a gradient passes; None draws
        them one-hot.
    """

    def __init__(self, normal: Normal, logits: Tensor, temperature: float | None):
        self.normal, self.logits, self.temperature = normal, logits, temperature

    @property
    def n_categories(self) -> int:
        """How many categories there are."""
        return self.logits.shape[-1]

    @cached_property
    def log_share(self) -> Tensor:
        """Log probability of each category."""
        return self.logits.log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        return torch.cat([self.normal.mean, self.log_share.exp()], -1)

    @property
    def stddev(self) -> Tensor:
        share = self.log_share.exp()
        # A share of 0 or 1 has no slope of its root.
        spread = (share * (1.0 - share)).clamp_min(1e-12).sqrt()
        return torch.cat([self.normal.stddev, spread], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        # Exact at one-hot values; in between, what the relaxation puts in their place.
        n = self.normal.loc.shape[-1]
        return torch.cat(
            [self.normal.log_prob(value[..., :n]), value[..., n:] * self.log_share], -1
        )

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, columns)``; Gumbel noise chooses the category."""
        n, n_categories = self.normal.loc.shape[-1], self.logits.shape[-1]
        eps = noise.normal(n_draws, self.logits.shape[2], n + n_categories)
        numbers = torch.addcmul(self.normal.loc, self.normal.scale, eps[..., :n])
        score = self.logits - (-torch.special.log_ndtr(eps[..., n:])).log()
        if self.temperature is None:
            chosen = F.one_hot(score.argmax(-1), n_categories).to(score.dtype)
        else:
            chosen = torch.softmax(score / self.temperature, -1)
        return torch.cat([numbers, chosen], -1)


class JointPrior(Distribution):
    """A distribution of the continuous latents beside one of the category, independent of it.

    Parameters
    ----------
    continuous : Distribution
    log_share : Tensor (members, n_categories)
        Log probability of each category.
    """

    def __init__(self, continuous: Any, log_share: Tensor):
        self.continuous, self.log_share = continuous, log_share

    def log_prob(self, value: Tensor) -> Tensor:
        n = value.shape[-1] - self.log_share.shape[-1]
        log_p = self.continuous.log_prob(value[..., :n])
        log_p = log_p.sum(-1) if log_p.ndim == value.ndim else log_p
        return log_p + (value[..., n:] * self.log_share[:, None, None]).sum(-1)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, columns)``."""
        numbers = self.continuous.sample(noise, n_rows)
        n_categories = self.log_share.shape[-1]
        edges = self.log_share.exp().cumsum(-1)[:, None]
        chosen = (noise.uniform(n_rows, 1) > edges).sum(-1).clamp_(max=n_categories - 1)
        one_hot = F.one_hot(chosen, n_categories).to(numbers.dtype)
        return torch.cat([numbers, one_hot.unsqueeze(1)], -1)


@register_kl(JointCodes, JointPrior)
def _kl_joint(q: JointCodes, p: JointPrior) -> Tensor:
    """Nats of each continuous latent, and those of the category in the last column."""
    numbers = kl_divergence(q.normal, p.continuous)
    ratio = q.log_share - p.log_share[:, None, None]
    return torch.cat([numbers, (q.log_share.exp() * ratio).sum(-1, keepdim=True)], -1)
