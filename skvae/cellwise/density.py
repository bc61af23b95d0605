"""The likelihood of numeric cells given others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from .._component import Shapes
from ..distributions.normal import LOG_2PI
from ..likelihoods import Columnwise, NormalMixture
from ..noise import Noise


class ComponentsFirst(distributions.CellMixture):
    """A mixture of normals in each cell, laid out so that sums over its normals are fast.

    Parameters
    ----------
    loc, raw, logits : Tensor (normals, members, draws, rows, columns)
        Location, spread beyond the floor before ``softplus``, and unscaled weight.
    floor : Tensor (columns,)
    """

    def __init__(self, loc: Tensor, raw: Tensor, logits: Tensor, floor: Tensor):
        self._loc, self._logits = loc, logits
        self._scale = F.softplus(raw) + floor

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value - self._loc) / self._scale
        parts = self._logits - self._scale.log() - 0.5 * z * z
        total = torch.logsumexp(parts, 0) - torch.logsumexp(self._logits, 0)
        return total - 0.5 * LOG_2PI

    @property
    def loc(self) -> Tensor:  # type: ignore[override]
        return self._loc.movedim(0, -1)

    @property
    def log_scale(self) -> Tensor:  # type: ignore[override]
        return self._scale.log().movedim(0, -1)

    @property
    def log_weights(self) -> Tensor:  # type: ignore[override]
        return self._logits.log_softmax(0).movedim(0, -1)


class FlooredMixture(NormalMixture):
    """A mixture of normals in each cell, with a smallest noise for each column.

    Parameters
    ----------
    floor : array-like of shape (n_columns,)
        In the units of the values.
    n_mixture_components : int, default=3
        Normals per cell.
    """

    _parameter_constraints = {
        "floor": ["array-like"],
        "n_mixture_components": NormalMixture._parameter_constraints["n_mixture_components"],
    }

    def __init__(self, floor, n_mixture_components=3):
        super().__init__(n_mixture_components)
        del self.min_scale
        self.floor = floor

    def build(self, shapes: Shapes, noise: Noise) -> FlooredMixture:
        """Keep the floors beside the weights."""
        super().build(shapes, noise)
        floor = torch.as_tensor(np.asarray(self.floor, dtype=np.float32), device=noise.device)
        self.register_buffer("floors", floor[:, None].repeat(noise.n_members, 1, 1, 1, 1))
        return self

    def forward(self, parameters: Tensor) -> distributions.CellMixture:
        """Give a mixture per cell."""
        shape = len(self.sizes), 3, self.n_mixture_components
        apart = parameters.unflatten(-1, shape).movedim((-2, -1), (0, 1)).contiguous()
        loc, raw, logits = apart.unbind(0)
        return ComponentsFirst(loc, raw, logits, self.floors[0, 0, 0, :, 0])


def parameters_of_columns(likelihood: Columnwise) -> list[range]:
    """Which of the decoder's outputs each column has."""
    places, start = [], 0
    for part in likelihood.parts:
        n_columns = len(part.sizes)
        each = part.n_parameters // n_columns
        widths = part.sizes if part.kind == "categorical" else [each] * n_columns
        for width in widths:
            places.append(range(start, start + width))
            start += width
    return places
