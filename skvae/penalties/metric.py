"""The metric: the numbers of rows that distances between them are taken of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from .._component import Component
from ..noise import Noise
from ..products import affine
from .graph import column_factors

# Of rows wider than this distances are those of their first principal components, as is usual
# before a map: neighbours are found many times faster, and are no worse ones.  A multiple of 16
# fills vectors.
WIDE, N_AXES = 100, 48


class Metric(Component):
    """Rows as the encoder sees them, in the units in which their distances mean something."""

    def __init__(self):
        super().__init__()

    def fit(self, inputs: Tensor, log_unit: Tensor | None, n_columns: int, noise: Noise) -> Metric:
        """Choose units, and principal components where there are many columns.

        Parameters
        ----------
        inputs : Tensor (n, width)
        log_unit : Tensor (n_numbers,) or None
            Logarithm of what the first columns were divided by, where these are numbers.
        n_columns : int
            What comes after says which cells are missing, and is no property of what they hold.
        noise : Noise
            Says how many members there are.
        """
        factors = np.ones(inputs.shape[1], dtype=np.float32)
        factors[n_columns:] = 0.0
        if log_unit is not None:
            n = len(log_unit)
            numbers, unit = inputs[:, :n].cpu().numpy(), log_unit.cpu().double().numpy()
            factors[:n] = column_factors(numbers, unit)
        axes = torch.as_tensor(factors, device=inputs.device)
        if min(inputs.shape) > WIDE:
            rows = (inputs * axes).cpu().numpy()
            found = PCA(N_AXES, random_state=0).fit(rows).components_
            axes = axes[:, None] * torch.as_tensor(found, device=axes.device).to(axes).T
        self.register_buffer("axes", axes.expand(noise.n_members, *axes.shape).contiguous())
        return self

    def forward(self, inputs: Tensor) -> np.ndarray:
        """What distances are taken of, ``(n, numbers)``, for ``inputs (n, width)``."""
        axes = self.axes[0]
        if axes.ndim == 1:
            return (inputs * axes).cpu().numpy()
        return _turned(axes.new_zeros(1, 1, axes.shape[1]), axes[None], inputs)

    def reading(self, units) -> Callable[[Tensor], np.ndarray] | None:
        """The same of cells from which ``units`` would make inputs; None without components."""
        if self.axes.ndim == 2:
            return None
        axes, offset = units.taken_in(self.axes[:1].numpy())
        return partial(_turned, torch.from_numpy(offset), torch.from_numpy(axes))


def _turned(offset: Tensor, axes: Tensor, rows: Tensor) -> np.ndarray:
    return affine(offset, rows[None], axes)[0].cpu().numpy()
