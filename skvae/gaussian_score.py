"""Scores of the Gaussian model, written out on kept buffers.

With a diagonal normal posterior, normal cells and a normal or a mixture of normals as prior,
log weights are sums of squares: of residuals in units of the noise, and of whitened codes.  Any
other family takes the general road.

A row of the table is a column here: sums over cells, latents, normals and draws then run along
whole vectors.  In a matrix product whose width is a multiple of ``UNIT`` a row gets the same
bits wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import distributions
from .products import affine_columns

LOG_2PI = math.log(2 * math.pi)
# Whole tiles of the matrix products, and no power of two, at which the lines of a buffer would
# fall on the same places of the cache.
UNIT = 48
# Decoded rows at once: enough to forget the cost of the calls, few enough for the cache.
MAX_DECODED = 1920
# What the calls of a block cost, in decoded rows.
CALL = 200


class GaussianScore:
    """Importance-weighted log p(x) of rows by the members of a model on the CPU.

    Parameters
    ----------
    by_hand : ByHand
        Gives the layers of encoder and decoder.
    bound : float
        That of the posterior's log-scale.
    prior : StandardNormal or NormalMixture
    cells : Normal
        Distribution of the cells of any row.
    eps : Tensor (n_components, n_draws, rows)
        Draws, the same for every member; of one row, they are those of every row.
    """

    def __init__(self, by_hand, bound: float, prior, cells, eps: Tensor):
        self.bound = bound
        self.eps = eps.numpy()
        members = range(len(prior.loc))
        self.members = [_Member(self, by_hand, prior, cells, m) for m in members]
        self.spaces: dict[tuple[int, int], _Workspace] = {}

    @classmethod
    @torch.no_grad()
    def of(cls, vae, draws, n_draws: int) -> GaussianScore | None:
        """The score of a model in evaluation, or None if a part of it is of another family."""
        if vae.n_conditions:
            return None
        eps = draws.normal(n_draws, 1, vae.n_latents)[0].permute(2, 0, 1)
        by_hand, bound = vae.network.by_hand(Tensor.detach), vae.posterior.closed_form
        if eps.device.type != "cpu" or by_hand is None or bound is None or not vae.encodes:
            return None
        eps = eps.to(next(vae.network.parameters()).dtype)
        # After training, what the other parts give tells their family.
        loc = eps.new_zeros(vae.n_members, 1, 2, vae.likelihood.n_parameters)
        prior, cells = vae.codes(), vae.likelihood(loc)
        if type(prior) not in (distributions.NormalMixture, distributions.StandardNormal):
            return None
        if type(cells) is not distributions.Normal or cells.loc is not loc:
            return None
        return cls(by_hand, bound, prior, cells, eps)

    def __call__(
        self, member: int, values, mask, inputs, log_factors: Sequence[float]
    ) -> np.ndarray:
        """Log p(x) over the observed cells for each width of the posterior.

        Parameters
        ----------
        member : int
        values : ndarray (rows, columns)
        mask : ndarray (rows, columns) or None
        inputs : ndarray (rows, n_inputs)
        log_factors : sequence of float
            Logarithms of what the posterior's scale is multiplied by.

        Returns
        -------
        scores : ndarray (factors, rows)
            In nats; units are those of the values.
        """
        return self.bounds(member, values, mask, inputs, log_factors, n_bounds=1)[0]

    @torch.no_grad()
    def bounds(
        self, member: int, values, mask, inputs, log_factors: Sequence[float], n_bounds: int = 2
    ) -> np.ndarray:
        """Log p(x) likewise and, of two, the bound of one draw, ``(n_bounds, factors, rows)``."""
        model, n = self.members[member], len(values)
        scores = np.empty((n_bounds, len(log_factors), n), dtype=self.eps.dtype)
        n_encoded, _ = self._sizes(n)
        # A row may be so far out that its score is -inf.
        with np.errstate(all="ignore"):
            for start in range(0, n, n_encoded):
                rows = slice(start, min(start + n_encoded, n))
                space = self._space(self._sizes(rows.stop - start))
                observed = None if mask is None else mask[rows]
                space.read(model, values[rows], observed, inputs[rows])
                if self.eps.shape[2] > 1:
                    space.draw(self.eps[..., rows])
                for i, log_factor in enumerate(log_factors):
                    space.score(model, log_factor, scores[:, i, rows])
        return scores

    def _sizes(self, n_rows: int) -> tuple[int, int]:
        """How many of so many rows to encode and to decode at once."""
        n_draws, most = self.eps.shape[1], MAX_DECODED // UNIT
        units = min(-(-n_rows // UNIT), most)
        sizes = range(1, max(most // n_draws, 1) + 1)
        decoded = min(sizes, key=lambda n: -(-units // n) * (n * UNIT * n_draws + CALL))
        return -(-units // decoded) * decoded * UNIT, decoded * UNIT

    def _space(self, sizes: tuple[int, int]) -> _Workspace:
        if sizes not in self.spaces:
            self.spaces[sizes] = _Workspace(self, *sizes)
        return self.spaces[sizes]


class _Layers:
    """The layers of one half of one member; ``unit`` multiplies the output."""

    def __init__(self, half, layers, member: int, unit: Tensor):
        widths = [half.n_inputs, *half.hidden_layer_sizes, half.n_outputs]
        self.activate = half.in_place
        own = () if layers.single else member
        self.weights = [
            torch.as_tensor(weight[own])[:before, :after].T
            for weight, before, after in zip(layers.weights, widths, widths[1:])
        ]
        self.biases = [
            torch.as_tensor(bias[own])[:, :width].T
            for bias, width in zip(layers.biases, widths[1:])
        ]
        self.weights[-1], self.biases[-1] = self.weights[-1] * unit, self.biases[-1] * unit
        self.skip = None
        if layers.skip is not None:
            skip = torch.as_tensor(layers.skip[own])
            self.skip = skip[: widths[0], : widths[-1]].T * unit

    def run(self, x: Tensor, buffers: list[Tensor], start: Tensor, out: Tensor) -> None:
        """Add what the layers give, without the last bias, to ``start``."""
        h = x
        for buffer, weight, bias in zip(buffers, self.weights, self.biases):
            h = self.activate(affine_columns(bias, weight, h, buffer))
        affine_columns(start, self.weights[-1], h, out)
        if self.skip is not None:
            torch.addmm(out, self.skip, x, out=out)


class _Member:
    """What one member multiplies columns by."""

    def __init__(self, score: GaussianScore, by_hand, prior, cells, member: int):
        n_latents, n_draws = score.eps.shape[:2]
        log_scale = cells.log_scale[member, 0, 0].expand(cells.loc.shape[-1])[:, None]
        self.inverse = torch.exp(-log_scale)
        unit = log_scale.new_ones(2 * n_latents, 1)
        unit[n_latents:] /= score.bound
        halves = zip(by_hand.halves, (by_hand.encoder, by_hand.decoder), (unit, -self.inverse))
        self.encoder, self.decoder = (_Layers(h, rows, member, u) for h, rows, u in halves)
        matrix, offset, constant = (part[member] for part in prior.squares)
        self.whitening, self.offset = matrix.T, -offset[:, None]
        # The constant of log q but for its scale, and that of the mean over draws.
        constant = constant + (0.5 * LOG_2PI * n_latents - math.log(n_draws))
        self.constant = constant.numpy()[:, None, None]
        self.cell_constant = -(log_scale + 0.5 * LOG_2PI).numpy()
        # Summed like that of rows with a mask, to have the same bits.
        self.row_constant = np.repeat(self.cell_constant, UNIT, axis=1).sum(0)[:1]


class _Workspace:
    """Buffers for so many encoded and decoded rows."""

    def __init__(self, score: GaussianScore, n_encoded: int, n_decoded: int):
        model = score.members[0]
        n_latents, n_draws, _ = score.eps.shape
        n_white, n_cells = len(model.whitening), len(model.inverse)
        n_columns, new = n_draws * n_decoded, model.inverse.new_empty
        self.bound, self.size = score.bound, n_encoded
        self.draw(score.eps[..., :1])
        self.hidden = [
            [new(len(weight), width) for weight in layers.weights[:-1]]
            for layers, width in ((model.encoder, n_encoded), (model.decoder, n_columns))
        ]
        self.blocks = [slice(s, s + n_decoded) for s in range(0, n_encoded, n_decoded)]
        self.encoded, self.target = new(2 * n_latents, n_encoded), new(n_cells, n_encoded)
        self.seen = np.zeros((n_cells, n_encoded), score.eps.dtype)
        self.z, self.squares = new(n_latents, n_columns), new(n_white + n_cells, n_columns)
        self.white, self.residual = self.squares[:n_white], self.squares[n_white:]
        # The same memory as arrays, draws apart.
        by_draw = -1, n_draws, n_decoded
        self.loc, self.squashed = np.split(self.encoded.numpy()[:, None], 2)
        self.z_by_draw = self.z.numpy().reshape(by_draw)
        self.residual_by_draw = self.residual.numpy().reshape(by_draw)
        self.white_by_normal = self.white.numpy().reshape(-1, n_latents, *by_draw[1:])

    def read(self, model: _Member, values, mask, inputs) -> None:
        """Encode rows, and keep what their draws are compared with."""
        model.encoder.run(
            self._columns(inputs), self.hidden[0], model.encoder.biases[-1], self.encoded
        )
        np.tanh(self.squashed, out=self.squashed)
        last_bias = model.decoder.biases[-1]
        torch.addcmul(last_bias, self._columns(values), model.inverse, out=self.target)
        self.masked, self.constant = mask is not None, model.row_constant
        if mask is not None:
            self.seen[:, : len(mask)] = mask.T
            self.constant = (self.seen * model.cell_constant).sum(0)

    def draw(self, eps: np.ndarray) -> None:
        """Take the draws of all rows, or of each, ``(n_components, n_draws, 1 or rows)``."""
        if eps.shape[2] > 1:
            eps = np.pad(eps, [(0, 0), (0, 0), (0, self.size - eps.shape[2])])
        self.eps: np.ndarray = np.broadcast_to(eps, (*eps.shape[:2], self.size))
        # log q(z|x) needs them: (z - loc) / scale is the draw again.
        self.norms = np.broadcast_to(np.square(eps).sum(0), self.eps.shape[1:])

    def score(self, model: _Member, log_factor: float, out: np.ndarray) -> None:
        """Write the bounds of the rows that were read, one or both."""
        log_scale = self.squashed * self.bound
        log_scale += log_factor
        scale = np.exp(log_scale)
        constant = self.constant + log_scale.sum((0, 1))
        squares, residual = self.squares.numpy(), self.residual_by_draw
        for block in self.blocks:
            np.multiply(scale[..., block], self.eps[..., block], out=self.z_by_draw)
            self.z_by_draw += self.loc[..., block]
            residual[...] = self.target.numpy()[:, None, block]
            model.decoder.run(self.z, self.hidden[1], self.residual, self.residual)
            if self.masked:
                residual *= self.seen[:, None, block]
            torch.addmm(model.offset, model.whitening, self.z, out=self.white)
            np.multiply(squares, squares, out=squares)
            terms = self.white_by_normal.sum(1)
            terms += residual.sum(0) - self.norms[:, block]
            terms *= -0.5
            terms += model.constant
            part = out[:, block]
            bounds = np.stack(_both_bounds(terms) if len(out) > 1 else [_log_sum_exp(terms)])
            part[...] = (bounds + constant[block])[:, : part.shape[1]]

    def _columns(self, rows: np.ndarray) -> Tensor:
        """Rows as columns, with zeros up to the width of the buffers."""
        x = torch.as_tensor(rows, dtype=self.encoded.dtype)
        n_encoded = self.encoded.shape[1]
        if len(x) < n_encoded:
            x = torch.cat([x, x.new_zeros(n_encoded - len(x), x.shape[1])])
        return x.T


def _both_bounds(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all draws together and of one, for terms that share 1 among the draws."""
    each = _log_sum_exp(terms.reshape(len(terms), -1)).reshape(terms.shape[1:])
    one = each.mean(0) + math.log(len(each))
    return _log_sum_exp(each), one


def _log_sum_exp(terms: np.ndarray) -> np.ndarray:
    """Of ``(normals, draws, rows)`` over normals and draws; the terms are overwritten."""
    terms = terms.reshape(-1, terms.shape[-1])
    top = terms.max(0)
    # Where every term is -inf, so is the sum.
    np.maximum(top, np.finfo(top.dtype).min, out=top)
    terms -= top
    np.exp(terms, out=terms)
    top += np.log(terms.sum(0))
    return top
