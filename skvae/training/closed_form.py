"""One training step with normal codes, every derivative written out.

With a diagonal normal posterior, a standard normal prior and the evidence lower bound, nothing
between encoder and decoder needs automatic differentiation, whose bookkeeping costs more than
the arithmetic.  Any other choice on these axes takes the general road.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch
from ..alignment import aligned
from ..arrays import twin
from .cells import cells_of


class GaussianStep:
    """Loss, terms and gradients of one batch, the gradients written into the optimiser.

    On the CPU it works on NumPy arrays, which share the memory of the tensors and cost a
    third as much to call.

    Parameters
    ----------
    vae : VAE
        Its parts say by ``closed_form`` whether they are of this family.
    objective : Objective
        Likewise; gives the weight of the KL term.
    optimizer : FlatAdam
        Holds the layers by hand and the gradient buffers.
    """

    def __init__(self, vae, objective, optimizer):
        self.view, self.n_latents, self.conditions = vae.view, vae.n_latents, vae.given
        self.n_conditions, self.n_noisy = vae.n_conditions, vae.n_noisy
        self.drawn_anew = vae.drawn_anew
        by_hand = optimizer.by_hand
        self.encoder, self.decoder = by_hand.encoder, by_hand.decoder
        self.flat_rows = by_hand.halves[0].flat_rows
        self.bound = vae.posterior.closed_form
        self.width = None
        if getattr(vae, "penalty", None) is not None:
            width = vae.penalty.closed_form
            self.width = twin(width.detach())[:, 0]
            self.width_gradient = twin(optimizer.gradient_of(width))[:, 0, 0]
        on_host = isinstance(twin(optimizer.flat), np.ndarray)
        parts = vae.likelihood.parts
        self.cells = [cells_of(part, optimizer.gradient_of, on_host) for part in parts]
        # Where the parameters of each block lie, and where its columns.
        self.blocks = list(
            zip(_slices([part.n_parameters for part in parts]), _slices(vae.likelihood.widths))
        )
        self.xp: Any = np if on_host else torch
        self.contiguous: Any = np.ascontiguousarray if on_host else Tensor.contiguous
        self.places: dict[tuple[int, bool], _Places] = {}

    @classmethod
    def of(cls, vae, objective, optimizer) -> GaussianStep | None:
        """The step for this model, or None if a part of it is of another family."""
        parts = (vae.posterior, vae.prior, vae.likelihood, objective)
        apart = (getattr(vae, name, None) for name in ("missingness", "supervision"))
        if optimizer.by_hand is None or any(part is not None for part in apart):
            return None
        if not all(part.closed_form for part in parts):
            return None
        penalty = getattr(vae, "penalty", None)
        if penalty is not None and penalty.closed_form is None:
            return None
        return cls(vae, objective, optimizer)

    @torch.no_grad()
    def __call__(self, batch: Batch, noise, weight) -> tuple:
        """Run the step; give bound, log-likelihood, KL and loss, ``(members,)`` each.

        Parameters
        ----------
        batch : Batch
        noise : Noise
        weight : float or ndarray (members,)
            Weight of the KL term.
        """
        xp, n = self.xp, self.n_latents
        batch = self.drawn_anew(batch, noise)
        values = twin(batch.values)[:, 0]
        n_rows = values.shape[1]
        # Each row counts by its weight over the number of rows.
        share = None if batch.weights is None else twin(batch.weights)[..., None] / n_rows

        codes, encodes = batch.codes, batch.codes is None
        if encodes:
            inputs = batch.inputs
            if self.view is not None:
                inputs = self.view(inputs, noise, self.n_noisy)
            self.encoder.forward(self.flat_rows(inputs))
        places = self._places(batch, encodes)
        # Rows of a few numbers with gaps in between would cost a loop per row in every pass.
        if codes is None:
            loc, raw = self.contiguous(places.loc), self.contiguous(places.raw)
        else:
            loc = twin(codes)[:, 0]
            raw = self.contiguous(xp.broadcast_to(self.width, loc.shape))
        squashed = xp.tanh(raw / self.bound)
        log_scale = squashed * self.bound
        scale = xp.exp(log_scale)
        eps = twin(noise.normal(n_rows, n))
        z = scale * eps
        z += loc
        places.z[...] = z
        if self.n_conditions:
            places.conditions[...] = twin(self.conditions(batch.inputs))[:, 0]
        self.decoder.forward(places.codes)
        mask = None if batch.mask is None else twin(batch.mask)[:, 0]
        log_likelihood = self._of_cells(places.decoded, values, mask, share, noise)
        excess = scale * scale
        excess -= 1.0
        log_scale *= -2.0
        log_scale += excess
        log_scale += loc * loc
        kl = 0.5 * self._total(log_scale, share, places.ones)

        factor = self._column(weight / n_rows, loc)
        if share is not None:
            factor = factor * share * n_rows
        self.decoder.backward(for_input=True)
        for_z = self.contiguous(places.for_z)
        if encodes:
            loc *= factor
            loc += for_z
            places.loc[...] = loc
        excess *= factor
        for_z *= eps
        for_z *= scale
        for_z += excess
        squashed *= squashed
        squashed *= for_z
        for_z -= squashed
        if encodes:
            places.raw[...] = for_z
            self.encoder.backward(for_input=False)
        else:
            self.width_gradient[...] = for_z.sum(1)
        loss = self._row(weight, kl) * kl - log_likelihood
        return log_likelihood - kl, log_likelihood, kl, loss

    def _of_cells(self, decoded, values, mask, share, noise) -> Any:
        """Log-likelihood of all blocks; what was decoded becomes the gradient of the loss."""
        total = 0.0
        for cells, (of_block, columns) in zip(self.cells, self.blocks):
            seen = None if mask is None else mask[..., columns]
            total += cells(decoded[..., of_block], values[..., columns], seen, share, noise)
        return total

    def _places(self, batch: Batch, encodes: bool) -> _Places:
        """Views of the buffers of the layers for batches of this many rows."""
        key = batch.values.shape[2], encodes
        if key not in self.places:
            self.places[key] = _Places(self, batch.values[:, 0], encodes)
        return self.places[key]

    def _column(self, weight, like) -> Any:
        """Weights of the members as a column beside their rows; one number as it is."""
        if not isinstance(weight, np.ndarray):
            return weight
        weight = weight[:, None, None]
        return weight.astype(like.dtype) if self.xp is np else self._on_device(weight, like)

    def _row(self, weight, like) -> Any:
        # A stack and a single model record the same digits.
        if self.xp is np:
            return np.float64(weight)
        return self._on_device(weight, like) if isinstance(weight, np.ndarray) else weight

    @staticmethod
    def _on_device(weight: np.ndarray, like: Tensor) -> Tensor:
        # Sent without waiting for what the device is at.
        return torch.as_tensor(weight).to(like, non_blocking=True)

    def _total(self, cells, share, ones):
        """Weighted mean over rows, summed over columns: ``(members,)``."""
        if share is not None:
            return (cells * share).sum((1, 2))
        # A product with ones costs a third of a sum.
        return self.xp.matmul(cells.reshape(len(cells), 1, -1), ones)[:, 0, 0] / cells.shape[1]


class _Places:
    """Where encoder and decoder keep what the step reads and writes."""

    def __init__(self, step: GaussianStep, values: Tensor, encodes: bool):
        n = step.n_latents
        if encodes:
            encoded = twin(step.encoder.work.output_of_members)
            self.loc, self.raw = encoded[..., :n], encoded[..., n : 2 * n]
        # The padding of the decoder's input stays 0.
        n_codes = n + step.n_conditions
        self.codes = values.new_zeros(*values.shape[:2], aligned(n_codes))
        codes = twin(self.codes)
        self.z, self.conditions = codes[..., :n], codes[..., n:n_codes]
        self.ones = twin(values.new_ones(values.shape[1] * n, 1))
        step.decoder.forward(self.codes)
        self.decoded = twin(step.decoder.work.output_of_members)
        self.for_z = twin(step.decoder.work.for_input_of_members)[..., :n]


def _slices(widths: list[int]) -> list[slice]:
    """Where blocks of these widths lie side by side."""
    stops = np.cumsum([0, *widths]).tolist()
    return [slice(start, stop) for start, stop in zip(stops, stops[1:])]
