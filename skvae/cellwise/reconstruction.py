"""What a variational autoencoder says about the cells of a row by its codes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch, Pass
from ..inference import chunk_rows, in_chunks
from ..noise import FixedDraws
from ..vae import VAE
from .evidence import Cells, Evidence, conditions_of, most_plausible, observed


class BoundTerms(Evidence):
    """Terms of the evidence lower bound: E_q log p(x_j | z) of each cell, and minus the KL term.

    Parameters
    ----------
    vae : VAE
        Trained.
    codec : TableCodec
        Of its tables.
    n_draws : int
        Draws of the code per row.
    """

    has_rest = True

    def __init__(self, vae: VAE, codec, n_draws: int):
        self.vae, self.codec, self.n_draws = vae, codec, n_draws

    def weights(self, step: Pass) -> Tensor:
        """How much each draw counts, ``(members, draws, rows)``."""
        return torch.full_like(step.log_likelihood, 1.0 / self.n_draws)

    def total(self, step: Pass) -> Tensor:
        """Score of each row, ``(members, rows)``."""
        return step.bound()

    def prepare(self, encoded) -> Cells:
        """Cells as they are encoded."""
        mask = observed(encoded)
        log_slope = np.tile(self.codec.log_scale_, (len(mask), 1))
        if encoded.log_jacobian is not None:
            log_slope += encoded.log_jacobian
        given = conditions_of(encoded, self.vae.n_conditions)
        return Cells(encoded.values, mask, np.where(mask, log_slope, 0.0), given)

    def terms(self, cells, visible, device):
        """Terms of the visible cells, averaged over draws and members; what the codes cost."""

        def of_step(step: Pass, values: Tensor, shown: Tensor) -> tuple[Tensor, ...]:
            each = step.likelihood.log_prob(values) * shown
            per_cell = (each * self.weights(step).unsqueeze(-1)).sum(1)
            return per_cell.mean(0), self.total(step).mean(0)[:, None]

        found, total = self._in_chunks(of_step, cells, visible, device)
        found = found.astype(np.float64)
        return found, total[:, 0].astype(np.float64) - found.sum(1)

    def guess(self, cells, visible, device):
        """Best value of each cell by codes of the other visible ones."""
        guesses = np.empty_like(cells.values)

        def of_step(step: Pass, values: Tensor, shown: Tensor) -> tuple[Tensor, ...]:
            return (most_plausible(step.likelihood),)

        for j in range(guesses.shape[1]):
            others = visible.copy()
            others[:, j] = False
            guesses[:, j] = self._in_chunks(of_step, cells, others, device)[0][:, j]
        return guesses

    def _in_chunks(self, of_step, cells: Cells, visible, device) -> list[np.ndarray]:
        vae = self.vae.to(device)
        draws = FixedDraws(self.n_draws, vae.n_latents, device)
        values = np.where(visible, cells.values, np.float32(0.0))
        inputs = self.codec.inputs(values, None if visible.all() else visible)
        if cells.given is not None:
            inputs = np.hstack([inputs, cells.given])

        def of_chunk(*tensors: Tensor) -> tuple[Tensor, ...]:
            inputs, values, mask = tensors
            inputs = inputs.expand(vae.n_members, -1, -1, -1)
            batch = Batch(inputs, values, mask, None)
            return of_step(vae(batch, draws, self.n_draws), values, mask)

        size = chunk_rows(self.n_draws * vae.n_members, vae.likelihood.n_parameters)
        return in_chunks(of_chunk, [inputs, values, visible], device, size)


class LikelihoodTerms(BoundTerms):
    """Terms of the importance-weighted log-likelihood: those of the bound, draws weighed."""

    def weights(self, step: Pass) -> Tensor:
        """By importance."""
        return step.log_weight().softmax(1)

    def total(self, step: Pass) -> Tensor:
        """Log-likelihood of each row."""
        return torch.logsumexp(step.log_weight(), 1) - math.log(self.n_draws)
