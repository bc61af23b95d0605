"""The conditional model of one cell given the others."""

from __future__ import annotations

from dataclasses import replace

from .._component import Shapes
from .._pass import Batch, Pass
from ..noise import FixedDraws, Noise
from ..synthesis.model import GenerativeVAE
from .masks import LeaveOutMask


class CellwiseVAE(GenerativeVAE):
    """A generative model that is shown most of a row.

    Parameters
    ----------
    network : GenerativeNetwork
    likelihood : Columnwise
    encoding : CellEncoding
    view : LeaveOutMask
    trim : float, default=0.0
        Share of the rows of a batch that are left out of it, those of the largest loss.
    """

    def __init__(self, network, likelihood, encoding, view=None, trim=0.0):
        super().__init__(network, likelihood, encoding, view)
        self.trim = trim

    @property
    def rows_apart(self) -> bool:  # type: ignore[override]
        """That no row of a batch is left out for the others."""
        return not self.trim

    def build(self, shapes: Shapes, noise: Noise) -> CellwiseVAE:
        """Create the weights of all parts."""
        super().build(shapes, noise)
        self.masks = LeaveOutMask()
        return self

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> Pass:
        """Say how likely the hidden cells of each row are, given the visible ones."""
        step = super().forward(batch, noise, n_draws, network)
        if not self.trim or self.view is None:
            return step
        per_row = step.log_likelihood.detach().mean(1)
        n_left_out = int(self.trim * per_row.shape[1])
        if not n_left_out:
            return step
        highest = per_row.kthvalue(n_left_out, dim=1, keepdim=True).values
        kept = (per_row > highest).to(per_row.dtype)
        return replace(step, weights=kept / kept.mean(1, keepdim=True))
