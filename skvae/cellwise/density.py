"""The likelihood of numeric cells given others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from .._component import Shapes
from ..likelihoods import Columnwise, NormalMixture
from ..noise import Noise


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
        loc, raw, logits = parameters.unflatten(-1, shape).unbind(-2)
        log_scale = (F.softplus(raw) + self.floors[:1]).log()
        return distributions.CellMixture(logits, loc, log_scale)


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
