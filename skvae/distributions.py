"""Distributions over rows: what torch.distributions lacks for stacks of models.

Shapes are ``(members, draws, rows, columns)`` and broadcast.  ``log_prob`` is per column, so
that a mask can pick the observed cells.  ``rsample`` and ``sample`` take their randomness as
an argument.  Arguments are not validated: the networks guarantee them.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution as _TorchDistribution
from torch.distributions import register_kl
from torch.nn import functional as F

from .noise import FixedDraws, Noise

LOG_2PI = math.log(2 * math.pi)


class Distribution(_TorchDistribution):
    """A distribution per cell: ``log_prob`` per column, a ``point`` and seeded draws."""

    def __init__(self):
        # The base class validates and copies shapes on every call, which a training step
        # pays for and never uses.
        pass

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def point(self) -> Tensor:
        """The single best value: the mean, or the mode of a discrete distribution."""
        return self.mean

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Sum of ``log_prob`` over the observed cells of each row."""
        log_prob = self.log_prob(value)
        return (log_prob if mask is None else torch.where(mask, log_prob, 0.0)).sum(-1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        """Draw one value per cell."""
        raise NotImplementedError


class Normal(Distribution):
    """Independent normals of mean ``loc`` and standard deviation ``exp(log_scale)``."""

    def __init__(self, loc: Tensor, log_scale: Tensor):
        self.loc = loc
        self.log_scale = log_scale

    @cached_property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale.expand_as(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value - self.loc) / self.scale
        return -0.5 * (z * z) - (self.log_scale + 0.5 * LOG_2PI)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return NormalRows.apply(self.loc, self.log_scale, value, mask)

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, columns)`` from ``(members, 1, rows, columns)``."""
        return torch.addcmul(self.loc, self.scale, noise.normal(n_draws, *self.loc.shape[-2:]))

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return self.loc + self.scale * noise.normal(*self.loc.shape[1:])


class EncodedNormal(Normal):
    """A normal from the output of an encoder, ``(..., 2 * columns)``: locations, raw log-scales.

    ``log_scale = bound * tanh(raw / bound)``, which is smooth where a clamp would lose the
    gradient.  Draws and the KL to N(0, 1) are one node of the graph each.
    """

    def __init__(self, parameters: Tensor, bound: float):
        self.parameters, self.bound = parameters, bound
        with torch.no_grad():
            raw = parameters[..., parameters.shape[-1] // 2 :]
            self._squashed = torch.tanh(raw / bound)
            self._scale = torch.exp(self._squashed * bound)

    @property
    def loc(self) -> Tensor:  # type: ignore[override]
        return self.parameters[..., : self.parameters.shape[-1] // 2]

    @property
    def log_scale(self) -> Tensor:  # type: ignore[override]
        raw = self.parameters[..., self.parameters.shape[-1] // 2 :]
        return self.bound * torch.tanh(raw / self.bound)

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        rows, width = self.parameters.shape[-2:]
        eps = noise.normal(n_draws, rows, width // 2)
        return _EncodedDraw.apply(self.parameters, eps, self._scale, self._squashed)


class _EncodedDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parameters, eps, scale, squashed):
        ctx.save_for_backward(eps, scale, squashed)
        return torch.addcmul(parameters[..., : scale.shape[-1]], scale, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        eps, scale, squashed = ctx.saved_tensors
        slope = torch.addcmul(scale, scale * squashed, squashed, value=-1.0)
        for_raw = gradient * eps * slope
        both = torch.cat([gradient, for_raw], -1)
        return both if both.shape[1] == 1 else both.sum(1, keepdim=True), None, None, None


class _EncodedKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parameters, scale, squashed, bound):
        loc = parameters[..., : scale.shape[-1]]
        ctx.save_for_backward(loc, scale, squashed)
        kl = torch.mul(squashed, -bound).sub_(0.5)
        return kl.addcmul_(loc, loc, value=0.5).addcmul_(scale, scale, value=0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        loc, scale, squashed = ctx.saved_tensors
        for_log_scale = (scale * scale).sub_(1.0)
        for_raw = for_log_scale.addcmul_(for_log_scale * squashed, squashed, value=-1.0)
        return torch.cat([gradient * loc, for_raw.mul_(gradient)], -1), None, None, None


class NormalRows(torch.autograd.Function):
    """Log-density of rows of independent normals as one node of the graph.

    The columns of a table are many and the sum over them is one number: kept apart, each of
    the dozen operations would pass over all cells again.
    """

    @staticmethod
    def forward(ctx, loc: Tensor, log_scale: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Sum over the observed cells of each row, ``(members, draws, rows)``."""
        inverse = torch.exp(-log_scale)
        z = (value - loc).mul_(inverse)
        if mask is None:
            scales = log_scale.sum(-1) * (z.shape[-1] // log_scale.shape[-1])
            constant = scales + 0.5 * LOG_2PI * z.shape[-1]
        else:
            z.mul_(mask)
            constant = (mask * (log_scale + 0.5 * LOG_2PI)).sum(-1)
        ctx.save_for_backward(z, inverse, mask)
        return torch.linalg.vecdot(z, z).mul_(-0.5).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        """Gradients with respect to ``loc`` and ``log_scale``."""
        z, inverse, mask = ctx.saved_tensors
        weighted = z * gradient.unsqueeze(-1)
        for_scale = None
        if ctx.needs_input_grad[1]:
            seen = gradient.unsqueeze(-1) if mask is None else gradient.unsqueeze(-1) * mask
            if mask is None and inverse.shape[-1] == 1:
                for_scale = (weighted * z).sum((1, 2, 3)) - z.shape[-1] * seen.sum((1, 2, 3))
                for_scale = for_scale.view(inverse.shape)
            else:
                for_scale = (weighted * z - seen).sum_to_size(inverse.shape)
        return weighted.mul_(inverse), for_scale, None, None


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

    def log_prob(self, value: Tensor) -> Tensor:
        members, n_mixture, n = self.loc.shape
        matrix = self.whitening.permute(0, 2, 1, 3).reshape(members, 1, n, n_mixture * n)
        offset = (self.loc.unsqueeze(-2) @ self.whitening).reshape(members, 1, 1, n_mixture * n)
        white = (value @ matrix - offset).unflatten(-1, (n_mixture, n))
        log_det = self.whitening.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        constant = (self.log_weights + log_det - 0.5 * n * LOG_2PI)[:, None, None, :]
        return torch.logsumexp(constant - 0.5 * white.square().sum(-1), -1)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, columns)``."""
        uniform = noise.uniform(n_rows, 1)
        edges = self.log_weights.softmax(-1).cumsum(-1)[:, None, :]
        chosen = (uniform > edges).sum(-1).clamp_(max=self.log_weights.shape[-1] - 1)
        member = torch.arange(len(chosen), device=chosen.device)[:, None]
        standard = noise.normal(n_rows, self.loc.shape[-1])
        # cov = (W W')^-1, so a row e of standard normals becomes e W^-1.
        inverse = torch.linalg.inv(self.whitening)[member, chosen]
        spread = (standard.unsqueeze(-2) @ inverse).squeeze(-2)
        return (self.loc[member, chosen] + spread).unsqueeze(1)


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
        return value * self.logits - F.softplus(self.logits)

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
        log_sum = torch.logaddexp(self.log_mean, self.log_total_count)
        return (
            torch.lgamma(value + total)
            - torch.lgamma(total)
            - torch.lgamma(value + 1)
            + total * (self.log_total_count - log_sum)
            + value * (self.log_mean - log_sum)
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


class StandardNormal(Normal):
    """Independent normals of mean 0 and standard deviation 1."""

    def __init__(self, zero: Tensor, n_components: int):
        self.loc = self.log_scale = zero
        self.n_components = n_components

    @cached_property
    def scale(self) -> Tensor:
        return torch.ones_like(self.loc)

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
