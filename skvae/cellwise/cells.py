"""The conditional model of a table in the units of its columns."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from torch import Tensor

from ..inference import chunk_rows, in_chunks
from ..table import Encoded
from .fitting import fit_cellwise
from .leave_one_out import LeaveOneOut
from .model import CellwiseVAE
from .scaling import RobustScale

MIN_SCALE = 0.05
N_DRAWS = 4
# As what the columns of each kind are modelled.
MODELLED_AS = {
    "continuous": "continuous",
    "count": "continuous",
    "binary": "binary",
    "categorical": "categorical",
    "ordinal": "categorical",
}


class CellModel:
    """Log-probability of each cell of an encoded table given the other cells of its row.

    Parameters
    ----------
    vae : CellwiseVAE
        Trained.
    scale : RobustScale
        Of the numeric columns.
    log_unit : ndarray (columns,)
        What the codec's units add.
    """

    def __init__(self, vae: CellwiseVAE, scale: RobustScale, log_unit: np.ndarray):
        self.vae, self.scale, self.log_unit = vae, scale, log_unit

    @classmethod
    def fit(cls, codec, encoded, held_out, trim: float, rng, device) -> CellModel:
        """Train on the rows of an encoded table that are not held out."""
        blocks = _blocks(codec.blocks_)
        mask = _mask(encoded)
        n_numeric = len(blocks[0][1]) if blocks[0][0] == "continuous" else 0
        scale = RobustScale(encoded.values[:, :n_numeric], mask[:, :n_numeric], MIN_SCALE)
        cells, _ = _scaled(encoded, scale, codec.log_scale_)
        vae = fit_cellwise(cells, mask, held_out, blocks, scale.floor, trim, rng, device)
        return cls(vae, scale, codec.log_scale_)

    def log_prob(self, encoded, device) -> np.ndarray:
        """In nats and the units of the columns ``(rows, columns)``; 0 where cells are missing."""
        values, log_slope = _scaled(encoded, self.scale, self.log_unit)
        leave_one_out = LeaveOneOut(self.vae, N_DRAWS, device)

        def of_chunk(cells: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
            return (leave_one_out.log_prob(cells, visible),)

        mask = _mask(encoded)
        size = chunk_rows(N_DRAWS * self.vae.n_members, leave_one_out.n_parameters)
        (found,) = in_chunks(of_chunk, [values, mask.astype(np.float32)], device, size)
        return np.where(mask, found.astype(np.float64) - log_slope, 0.0)


def _scaled(encoded, scale: RobustScale, log_unit) -> tuple[np.ndarray, np.ndarray]:
    """Cells as the model has them, and the logarithm of the slope of cells by these."""
    n = len(scale.loc)
    values = encoded.values.copy()
    log_slope = np.tile(log_unit, (len(values), 1))
    values[:, :n], slope = scale.forward(encoded.values[:, :n])
    log_slope[:, :n] += slope
    if encoded.log_jacobian is not None:
        log_slope += encoded.log_jacobian
    return np.where(_mask(encoded), values, np.float32(0.0)), log_slope


def joined(parts: list[Encoded]) -> Encoded:
    """One table of its parts."""
    if len(parts) == 1:
        return parts[0]
    values, inputs = (
        np.concatenate(arrays) for arrays in zip(*((p.values, p.inputs) for p in parts))
    )
    mask = None
    if any(part.mask is not None for part in parts):
        mask = np.concatenate([_mask(part) for part in parts])
    jacobian = None
    if parts[0].log_jacobian is not None:
        jacobian = np.concatenate([part.log_jacobian for part in parts])
    return Encoded(values, mask, inputs, jacobian)


def _blocks(blocks) -> tuple[tuple[str, tuple[int, ...]], ...]:
    named = [(MODELLED_AS[kind], sizes) for kind, sizes in blocks]
    return tuple(
        (kind, tuple(size for _, sizes in group for size in sizes))
        for kind, group in groupby(named, key=lambda block: block[0])
    )


def _mask(encoded) -> np.ndarray:
    if encoded.mask is None:
        return np.ones(encoded.values.shape, dtype=bool)
    return encoded.mask
