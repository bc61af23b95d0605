"""A table of counts of which only the rows at hand are dense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch
from .rows import Rows, normalised


@dataclass
class SparseRows(Rows):
    """Rows of a sparse matrix in main memory; ``take`` makes a batch of them dense.

    ``inputs`` and ``values`` have the shapes of the dense tables and none of their memory.

    Parameters
    ----------
    matrix : scipy.sparse CSR matrix or array (n, columns), float32
        What the likelihood explains.
    features : callable
        What the encoder sees of dense rows of it.
    """

    matrix: Any = None
    features: Callable[[np.ndarray, None], np.ndarray] = np.asarray

    @classmethod
    def of(cls, matrix, features, n_inputs: int, sample_weight, device) -> SparseRows:
        """Keep the matrix; batches go to ``device``, weights are divided by their mean."""
        n, n_columns = matrix.shape
        nothing = torch.zeros(1, 1, device=device)
        return cls(
            inputs=nothing.expand(n, n_inputs),
            values=nothing.expand(n, n_columns),
            mask=None,
            weights=normalised(sample_weight, device),
            matrix=matrix.astype(np.float32),
            features=features,
        )

    def take(self, index: Tensor) -> Batch:
        """Gather rows ``index (members, rows)``."""
        shape = (index.shape[0], 1, index.shape[1], -1)
        dense = self.matrix[index.reshape(-1).cpu().numpy()].toarray()
        values, inputs = (
            torch.as_tensor(rows, device=index.device).view(shape)
            for rows in (dense, self.features(dense, None))
        )
        weights = None if self.weights is None else self.weights[index]
        return Batch(inputs, values, None, weights, self.codes_of(index))

    @property
    def stack_key(self) -> int | None:
        """The table itself."""
        return id(self)
