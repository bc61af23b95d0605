"""One training step of the Gaussian model, every derivative written out.

With a diagonal normal posterior, a standard normal prior, normal cells and the evidence lower
bound, nothing between encoder and decoder needs automatic differentiation, whose bookkeeping
costs more than the arithmetic.  Any other choice on any axis takes the general road.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._pass import Batch

LOG_2PI = math.log(2 * math.pi)


class GaussianStep:
    """Loss, terms and gradients of one batch, the gradients written into the optimiser.

    Parameters
    ----------
    vae : VAE
        Its parts say by ``closed_form`` whether they are of the Gaussian family.
    objective : Objective
        Likewise; gives the weight of the KL term.
    optimizer : FlatAdam
        Holds the layers by hand and the gradient buffers.
    """

    def __init__(self, vae, objective, optimizer):
        self.vae, self.objective, self.optimizer = vae, objective, optimizer
        self.noise_model, self.bound = vae.likelihood.closed_form, vae.posterior.closed_form
        self.learned = self.noise_model.log_excess.requires_grad
        if self.learned:
            self.noise_gradient = optimizer.gradient_of(self.noise_model.log_excess)

    @classmethod
    def of(cls, vae, objective, optimizer) -> GaussianStep | None:
        """The step for this model, or None if a part of it is of another family."""
        parts = (vae.posterior, vae.prior, vae.likelihood, objective)
        if optimizer.by_hand is None or not all(part.closed_form for part in parts):
            return None
        return cls(vae, objective, optimizer)

    @torch.no_grad()
    def __call__(self, batch: Batch, noise, weight: float) -> list[Tensor]:
        """Run the step for a KL term of this weight; give the terms of the loop's record."""
        by_hand, bound = self.optimizer.by_hand, self.bound
        inputs = batch.inputs
        if self.vae.view is not None:
            inputs = self.vae.view(inputs, noise, self.vae.n_inputs)
        members, _, n_rows, n_columns = batch.values.shape
        encoded = by_hand.run_encoder(inputs)
        n = encoded.shape[-1] // 2
        loc, raw = encoded[..., :n], encoded[..., n:]
        squashed = torch.tanh(raw / bound)
        log_scale = squashed * bound
        scale = torch.exp(log_scale)
        eps = noise.normal(1, n_rows, n)[:, 0]
        z = torch.addcmul(loc, scale, eps)
        residual = batch.values[:, 0] - by_hand.run_decoder(z.unsqueeze(1))
        # Each row counts by its weight over the number of rows.
        share = None if batch.weights is None else (batch.weights / n_rows).unsqueeze(-1)

        log_noise = self.noise_model.log_scale()[:, 0]
        inverse = torch.exp(-log_noise)
        residual *= inverse
        if batch.mask is not None:
            residual *= batch.mask[:, 0]
        by_column = inverse.shape[-1] == n_columns
        squares = self._mean(residual * residual, share, by_column)
        seen = self._seen(batch, share, by_column, residual)
        log_likelihood = (-0.5 * squares - seen * (log_noise[:, 0] + 0.5 * LOG_2PI)).sum(-1)
        excess = scale * scale
        excess -= 1.0
        kl = self._mean(torch.addcmul(excess - 2.0 * log_scale, loc, loc), share, True)
        kl *= 0.5

        for_decoded = residual.mul_(inverse)
        for_decoded = for_decoded.mul_(-1.0 / n_rows if share is None else -share)
        for_z = by_hand.decoder.backward(for_decoded, for_input=True)[..., :n]
        factor = weight / n_rows if share is None else weight * share
        gradient = torch.empty_like(encoded)
        torch.add(for_z, loc * factor, out=gradient[..., :n])
        slope = torch.addcmul(excess * factor, for_z * eps, scale)
        torch.addcmul(slope, slope * squashed, squashed, value=-1.0, out=gradient[..., n:])
        by_hand.encoder.backward(gradient, for_input=False)
        if self.learned:
            # d log_scale / d log_excess of log(exp(log_excess) + min_scale).
            share_of_excess = 1.0 - self.noise_model.min_scale * inverse[:, 0]
            self.noise_gradient.copy_(((seen - squares) * share_of_excess)[:, None, None])
        loss = weight * kl.sum(-1) - log_likelihood
        return [log_likelihood - kl.sum(-1), log_likelihood, kl, loss]

    @staticmethod
    def _mean(cells: Tensor, share: Tensor | None, by_column: bool) -> Tensor:
        """Weighted mean over rows, summed over columns unless they are kept apart."""
        if share is not None:
            total = (cells * share).sum(1)
        else:
            total = cells.sum(1) / cells.shape[1]
        return total if by_column else total.sum(-1, keepdim=True)

    def _seen(self, batch: Batch, share: Tensor | None, by_column: bool, like: Tensor):
        """Mean number of observed cells per row, in all or per column."""
        if batch.mask is not None:
            return self._mean(batch.mask[:, 0].to(like.dtype), share, by_column)
        total = 1.0 if share is None else share.sum(1)
        return total if by_column else total * like.shape[-1]
