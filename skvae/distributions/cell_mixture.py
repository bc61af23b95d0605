"""A mixture of normals in each cell."""

from __future__ import annotations

import torch
from torch import Tensor

from ..noise import Noise
from ._base import Distribution
from .normal import LOG_2PI


class CellMixture(Distribution):
    """A mixture of normals in each cell: ``(members, draws, rows, columns, normals)``.

    Parameters
    ----------
    logits : Tensor
        Of the weights, up to a constant.
    loc, log_scale : Tensor
        Of the normals.
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor):
        self.log_weights = logits.log_softmax(-1)
        self.loc = loc
        self.log_scale = log_scale

    @property
    def mean(self) -> Tensor:
        return (self.log_weights.exp() * self.loc).sum(-1)

    @property
    def variance(self) -> Tensor:
        squares = (2.0 * self.log_scale).exp() + self.loc.square()
        return ((self.log_weights.exp() * squares).sum(-1) - self.mean.square()).clamp_min(0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value.unsqueeze(-1) - self.loc) * (-self.log_scale).exp()
        parts = self.log_weights - self.log_scale - 0.5 * z * z
        return torch.logsumexp(parts, -1) - 0.5 * LOG_2PI

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        uniform = noise.uniform(*self.loc.shape[1:-1], 1)
        edges = self.log_weights.exp().cumsum(-1)
        chosen = (uniform > edges).sum(-1, keepdim=True).clamp_(max=edges.shape[-1] - 1)
        loc, log_scale = (t.gather(-1, chosen).squeeze(-1) for t in (self.loc, self.log_scale))
        return loc + log_scale.exp() * noise.normal(*loc.shape[1:])
