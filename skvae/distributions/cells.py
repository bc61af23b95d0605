"""Distributions of cells: heavy tails, categories, counts, and several side by side."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..noise import Noise
from ._base import Distribution


class StudentT(Distribution):
    """Student's t with ``df`` degrees of freedom around ``loc``; heavy tails."""

    def __init__(self, loc: Tensor, log_scale: Tensor, df: Tensor):
        self.loc = loc
        self.log_scale = log_scale
        self.df = df

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        df = self.df
        z = (value - self.loc) * (-self.log_scale).exp()
        constant = (
            torch.lgamma(0.5 * (df + 1))
            - torch.lgamma(0.5 * df)
            - 0.5 * (df * math.pi).log()
            - self.log_scale
        )
        return constant - 0.5 * (df + 1) * torch.log1p(z * z / df)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        shape = self.loc.shape
        chi2 = 2 * noise.gamma((0.5 * self.df).expand(shape).contiguous())
        return self.loc + self.log_scale.exp() * noise.normal(*shape[1:]) * (self.df / chi2).sqrt()


class Bernoulli(Distribution):
    """A binary column with the given ``logits``; values between 0 and 1 are allowed."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.logits - _softplus(self.logits)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return (noise.uniform(*self.logits.shape[1:]) < self.mean).to(self.logits.dtype)


class Categorical(Distribution):
    """Categorical columns side by side: ``logits (..., columns, categories)``, padded by -inf."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    @property
    def probs(self) -> Tensor:
        """Probability of each category, ``(..., columns, categories)``."""
        return self.logits.softmax(-1)

    @property
    def point(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        log_probs = self.logits.log_softmax(-1)
        codes = value.long().unsqueeze(-1).expand(*log_probs.shape[:-1], 1)
        return log_probs.gather(-1, codes).squeeze(-1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        uniform = noise.uniform(*self.logits.shape[1:-1], 1)
        codes = (uniform > self.probs.cumsum(-1)).sum(-1)
        last = torch.isfinite(self.logits).sum(-1) - 1
        return torch.minimum(codes, last).to(self.logits.dtype)


class Poisson(Distribution):
    """Counts of mean ``exp(log_rate)``."""

    def __init__(self, log_rate: Tensor):
        self.log_rate = log_rate

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return noise.poisson(self.mean)


def _softplus(x: Tensor) -> Tensor:
    """Log of 1 + exp(x), by functions whose vectors and remainders round alike."""
    return x.clamp_min(0.0) + torch.log1p(torch.exp(-x.abs()))


def _log_rising(start: Tensor, n: Tensor) -> Tensor:
    """Log of Gamma(start + n) / Gamma(start), which cancels where ``start`` is large."""
    large = start > 32.0
    safe = torch.where(large, start, 32.0)
    total = safe + n
    by_stirling = (
        n * safe.log()
        + (total - 0.5) * torch.log1p(n / safe)
        - n
        - n / (12.0 * safe * total)
        + (1.0 / safe**3 - 1.0 / total**3) / 360.0
    )
    small = torch.where(large, 1.0, start)
    return torch.where(large, by_stirling, torch.lgamma(small + n) - torch.lgamma(small))


class NegativeBinomial(Distribution):
    """Counts of mean ``exp(log_mean)`` and variance ``mean + mean**2 / total_count``."""

    def __init__(self, log_mean: Tensor, log_total_count: Tensor):
        self.log_mean = log_mean
        self.log_total_count = log_total_count

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        total = self.log_total_count.exp()
        log_ratio = self.log_mean - self.log_total_count
        return (
            _log_rising(total, value)
            - torch.lgamma(value + 1)
            + value * log_ratio
            - (total + value) * _softplus(log_ratio)
        )

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        total = self.log_total_count.exp().expand(self.log_mean.shape).contiguous()
        return noise.poisson(noise.gamma(total) * (self.log_mean - self.log_total_count).exp())


class Blocks(Distribution):
    """Blocks of columns, each with its own distribution, behind one ``log_prob``."""

    def __init__(self, parts: list[Distribution], widths: list[int]):
        self.parts = parts
        self.widths = widths

    @property
    def point(self) -> Tensor:
        return torch.cat([part.point for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        values = value.split(self.widths, -1)
        return torch.cat([p.log_prob(v) for p, v in zip(self.parts, values)], -1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return torch.cat([part.sample(noise) for part in self.parts], -1)
