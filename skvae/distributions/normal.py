"""Independent normals, and those that an encoder gives."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..noise import FixedDraws, Noise
from ._base import Distribution

LOG_2PI = math.log(2 * math.pi)


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
        if value.requires_grad:
            return super().log_prob_rows(value, mask)
        return NormalRows.apply(self.loc, self.log_scale, value, mask)

    def with_noise_held(self) -> Normal:
        return Normal(self.loc, self.log_scale.detach())

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, columns)``."""
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
        constants = log_scale + 0.5 * LOG_2PI
        if mask is None:
            # Summed like that of rows with a mask, to have the same bits.
            constant = constants.expand(*log_scale.shape[:-1], z.shape[-1]).contiguous().sum(-1)
        else:
            z.mul_(mask)
            constant = (mask * constants).sum(-1)
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
