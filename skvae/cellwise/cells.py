"""The conditional model of a table in the units of its columns."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from torch import Tensor

from ..inference import chunk_rows, in_chunks
from .evidence import Cells, Evidence, conditions_of, most_plausible, observed
from .fitting import fit_cellwise
from .leave_one_out import LeaveOneOut
from .model import CellwiseVAE
from .scaling import RobustScale

MIN_SCALE = 0.05
# As what the columns of each kind are modelled.
MODELLED_AS = {
    "continuous": "continuous",
    "count": "continuous",
    "binary": "binary",
    "categorical": "categorical",
    "ordinal": "categorical",
    "token": "categorical",
}


class CellModel(Evidence):
    """Log-probability of each cell of an encoded table given the other cells of its row.

    Columns that are conditions are always among the others, and have no probability.

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
    def fit(cls, codec, encoded, held_out, trim: float, max_iter: int, rng, device) -> CellModel:
        """Train on the rows of an encoded table that are not held out."""
        blocks = _blocks(codec.blocks_)
        mask = observed(encoded)
        n_numeric = len(blocks[0][1]) if blocks[0][0] == "continuous" else 0
        scale = RobustScale(encoded.values[:, :n_numeric], mask[:, :n_numeric], MIN_SCALE)
        cells = _scaled(encoded, scale, codec.log_scale_, codec.n_conditions_)
        vae = fit_cellwise(cells, held_out, blocks, scale.floor, trim, max_iter, rng, device)
        return cls(vae, scale, codec.log_scale_)

    def log_prob(self, encoded, device) -> np.ndarray:
        """In nats and the units of the columns ``(rows, columns)``; 0 where cells are missing."""
        cells = self.prepare(encoded)
        found, _ = self.terms(cells, cells.mask, device)
        return found - cells.log_slope

    def prepare(self, encoded) -> Cells:
        """Cells on the scale of the model."""
        return _scaled(encoded, self.scale, self.log_unit, self.vae.n_given)

    def terms(self, cells, visible, device):
        """Log-probability of each visible cell given the other visible ones; there is no rest."""
        leave_one_out = LeaveOneOut(self.vae)

        def of_chunk(values: Tensor, shown: Tensor, given: Tensor | None) -> tuple[Tensor, ...]:
            return (leave_one_out.log_prob(values, shown, given),)

        found = self._in_chunks(of_chunk, cells, visible, device)
        return np.where(visible, found.astype(np.float64), 0.0), np.zeros(len(found))

    def guess(self, cells, visible, device):
        """Mean of numbers on the scale of the model, most likely category of others."""
        leave_one_out = LeaveOneOut(self.vae)

        def of_chunk(values: Tensor, shown: Tensor, given: Tensor | None) -> tuple[Tensor, ...]:
            return (most_plausible(leave_one_out(values, shown, given)),)

        return self._in_chunks(of_chunk, cells, visible, device)

    def restored(self, values):
        """Values as the codec decodes them."""
        out, n = values.astype(np.float64), len(self.scale.loc)
        out[:, :n] = self.scale.backward(values[:, :n])
        return out

    def scaled(self, values, column):
        """Values of a column as the model has them."""
        numeric = column < len(self.scale.loc)
        return self.scale.forward(values, column)[0] if numeric else values

    def _in_chunks(self, function, cells: Cells, visible, device) -> np.ndarray:
        n_parameters = self.vae.likelihood.n_parameters
        size = chunk_rows(self.vae.n_members, n_parameters)
        arrays = [cells.values, visible.astype(np.float32), cells.given]
        (found,) = in_chunks(function, arrays, device, size)
        return found


def _scaled(encoded, scale: RobustScale, log_unit, n_conditions: int) -> Cells:
    mask, n = observed(encoded), len(scale.loc)
    values = encoded.values.copy()
    log_slope = np.tile(log_unit, (len(values), 1))
    values[:, :n], slope = scale.forward(encoded.values[:, :n])
    log_slope[:, :n] += slope
    if encoded.log_jacobian is not None:
        log_slope += encoded.log_jacobian
    values, log_slope = np.where(mask, values, np.float32(0.0)), np.where(mask, log_slope, 0.0)
    return Cells(values, mask, log_slope, conditions_of(encoded, n_conditions))


def _blocks(blocks) -> tuple[tuple[str, tuple[int, ...]], ...]:
    named = [(MODELLED_AS[kind], sizes) for kind, sizes in blocks]
    return tuple(
        (kind, tuple(size for _, sizes in group for size in sizes))
        for kind, group in groupby(named, key=lambda block: block[0])
    )
