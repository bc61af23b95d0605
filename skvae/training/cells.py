"""What blocks of cells say in a training step: their log-likelihood and its derivatives.

The most usual kinds are written out; any other is left to automatic differentiation, which then
works on the parameters of its own block alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import special

from ..arrays import twin

LOG_2PI = math.log(2 * math.pi)
# Of more columns of counts the calls of torch cost less than what is done in float64.
FEW_COUNTS = 64


class DifferentiatedCells:
    """Cells of any likelihood, by automatic differentiation.

    Parameters
    ----------
    likelihood : Likelihood
        Of one block of columns.
    gradient_of : callable
        Where to write the gradient of a parameter.
    """

    def __init__(self, likelihood, gradient_of):
        self.likelihood = likelihood
        self.weights = [p for p in likelihood.parameters() if p.requires_grad]
        self.gradients = [gradient_of(p) for p in self.weights]

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """Log-likelihood, ``(members,)``; its negative gradient takes the place of ``parameters``.

        Parameters
        ----------
        parameters : array (members, rows, n_parameters)
            Output of the decoder, which is written over.
        values : array (members, rows, columns)
        mask : array (members, rows, columns) or None
        share : array (members, rows, 1) or None
            What each row counts by; None where it is one over their number.
        noise : Noise
        """
        given, values = torch.as_tensor(parameters)[:, None], torch.as_tensor(values)[:, None]
        mask = None if mask is None else torch.as_tensor(mask)[:, None]
        with torch.enable_grad():
            leaf = given.clone().requires_grad_()
            cells = self.likelihood(leaf).in_training(noise)
            rows = cells.log_prob_rows(values, mask)[:, 0]
            if share is None:
                total = rows.mean(-1)
            else:
                total = (rows * torch.as_tensor(share)[..., 0]).sum(-1)
            found = torch.autograd.grad(
                -total.sum(), [leaf, *self.weights], allow_unused=True, materialize_grads=True
            )
        given.copy_(found[0])
        for place, gradient in zip(self.gradients, found[1:]):
            place.copy_(gradient)
        return twin(total.detach())


class NormalCells:
    """Normal cells with a noise that is learned or given."""

    def __init__(self, likelihood, gradient_of):
        excess = likelihood.log_excess
        self.learned = excess.requires_grad
        self.min_scale = likelihood.min_scale if self.learned else 0.0
        self.log_excess = twin(excess.detach())[:, 0]
        if self.learned:
            self.noise_gradient = twin(gradient_of(excess))[:, 0]
        self.xp: Any = np if isinstance(self.log_excess, np.ndarray) else torch
        self.fixed_noise = self._noise()

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """See ``DifferentiatedCells``."""
        residual = self.xp.subtract(values, parameters, out=parameters)
        spread, inverse, log_constant = self._noise() if self.learned else self.fixed_noise
        residual *= inverse
        if mask is not None:
            residual *= mask
        shared = spread.shape[-1] == 1
        squares = self._squares(residual, share, shared)
        seen = self._seen(mask, share, shared, residual)
        log_likelihood = -0.5 * squares - seen * log_constant
        if share is None:
            residual *= inverse * (-1.0 / residual.shape[1])
        else:
            residual *= inverse
            residual *= -share
        if self.learned:
            # d log_scale / d log_excess of log(exp(log_excess) + min_scale).
            share_of_excess = 1.0 - self.min_scale * inverse[:, 0]
            self.noise_gradient[:, 0] = (seen - squares) * share_of_excess
        return log_likelihood[:, 0] if shared else log_likelihood.sum(-1)

    def _noise(self) -> tuple:
        """The noise, its inverse, and minus the log-density of a cell without residual."""
        spread = self.xp.exp(self.log_excess) + self.min_scale
        return spread, 1.0 / spread, self.xp.log(spread[:, 0]) + 0.5 * LOG_2PI

    def _squares(self, residual, share, shared: bool):
        """Weighted mean square over rows, per column or in all: ``(members, columns or 1)``."""
        n_rows = residual.shape[1]
        if shared and share is None:
            flat = residual.reshape(len(residual), 1, -1)
            return self.xp.matmul(flat, flat.swapaxes(1, 2))[:, 0] / n_rows
        squares = residual * residual
        squares = squares.sum(1) / n_rows if share is None else (squares * share).sum(1)
        return squares.sum(1)[:, None] if shared else squares

    @staticmethod
    def _seen(mask, share, shared: bool, like):
        """Weighted mean number of observed cells, per column or in all."""
        n_columns = like.shape[-1] if shared else 1
        if mask is None:
            return float(n_columns) if share is None else share.sum(1) * n_columns
        weight = mask * (share if share is not None else 1.0 / mask.shape[1])
        return weight.sum((1, 2))[:, None] if shared else weight.sum(1)


class BernoulliCells:
    """Binary cells, given by their log-odds."""

    def __init__(self, likelihood, gradient_of):
        pass

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """See ``DifferentiatedCells``."""
        small = np.exp(-np.abs(parameters))
        log_prob = values * parameters
        log_prob -= np.maximum(parameters, 0.0)
        log_prob -= np.log1p(small)
        shares = np.where(parameters >= 0.0, 1.0, small) / (1.0 + small)
        weight = _weight(mask, share, values)
        np.multiply(shares - values, weight, out=parameters)
        return (log_prob * weight).sum((1, 2))


class CategoricalCells:
    """Categories of several columns, their logits side by side."""

    def __init__(self, likelihood, gradient_of):
        sizes = likelihood.sizes
        self.first = np.cumsum([0, *sizes[:-1]])
        # Which logits are of which column: a product with it adds them up, or spreads.
        self.belongs = np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """See ``DifferentiatedCells``."""
        logits = np.array(parameters, order="C")
        belongs = self.belongs.astype(logits.dtype, copy=False)
        place = values.astype(np.int64) + self.first
        place += np.arange(0, logits.size, logits.shape[-1]).reshape(*logits.shape[:2], 1)
        flat, place = logits.reshape(-1), place.reshape(-1)
        logits -= np.matmul(np.maximum.reduceat(logits, self.first, axis=-1), belongs.T)
        log_prob = flat[place].reshape(values.shape)
        np.exp(logits, out=logits)
        total = np.matmul(logits, belongs)
        log_prob -= np.log(total)
        logits *= np.matmul(1.0 / total, belongs.T)
        flat[place] -= 1.0
        weight = _weight(mask, share, values)
        of_logits = weight if mask is None else np.matmul(weight, belongs.T)
        np.multiply(logits, of_logits, out=parameters)
        return (log_prob * weight).sum((1, 2))


class OrdinalCells:
    """Levels in an order, each between two thresholds of its column."""

    def __init__(self, likelihood, gradient_of):
        self.smallest, self.largest = likelihood.closed_form
        self.raw = twin(likelihood.first_and_log_steps.detach())[:, 0]
        self.raw_gradient = twin(gradient_of(likelihood.first_and_log_steps))[:, 0]
        self.padding = twin(likelihood.padding)[:, 0]
        self.n_edges = self.raw.shape[-1] + 2
        # Where the edges of each column of each member begin.
        n_columns = len(likelihood.sizes)
        self.start = self.n_edges * np.arange(len(self.raw) * n_columns).reshape(-1, 1, n_columns)

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """See ``DifferentiatedCells``."""
        growth, edges = self._edges()
        place = values.astype(np.int64) + self.start
        lower, upper = edges[place], edges[place + 1]
        within = np.exp(lower - upper)
        above, log_above = _sigmoid(parameters - upper)
        below, log_below = _sigmoid(lower - parameters)
        log_prob = np.log1p(-within) - log_above - log_below
        within /= 1.0 - within
        weight = _weight(mask, share, values)
        np.multiply(above - below, weight, out=parameters)
        above += within
        above *= weight
        below += within
        below *= weight
        for_edges = np.bincount((place + 1).ravel(), -above.ravel(), len(edges))
        for_edges += np.bincount(place.ravel(), below.ravel(), len(edges))
        for_raw = for_edges.reshape(*self.raw.shape[:2], -1)[..., 1:-1]
        # A step moves all thresholds behind it.
        for_raw = np.where(self.padding, 0.0, for_raw)[..., ::-1].cumsum(-1)[..., ::-1]
        for_raw[..., 1:] *= growth * (self.raw[..., 1:] <= self.largest)
        self.raw_gradient[...] = for_raw
        return (log_prob * weight).sum((1, 2))

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """How steps grow with their logarithms, and what all levels lie between, side by side."""
        first = self.raw[..., :1]
        growth = np.exp(np.minimum(self.raw[..., 1:], self.largest))
        edges = np.full((*self.raw.shape[:2], self.n_edges), np.inf, self.raw.dtype)
        edges[..., 0] = -np.inf
        edges[..., 1:-1] = np.concatenate([first, growth + self.smallest], -1).cumsum(-1)
        edges[..., 1:-1][self.padding] = np.inf
        return growth, edges.reshape(-1)


class NegativeBinomialCells:
    """Counts of columns with a dispersion each, in float64: what is large cancels."""

    def __init__(self, likelihood, gradient_of):
        self.largest, self.limits = likelihood.closed_form
        self.log_total_count = twin(likelihood.log_total_count.detach())[:, 0]
        self.total_gradient = twin(gradient_of(likelihood.log_total_count))[:, 0]

    def __call__(self, parameters, values, mask, share, noise) -> Any:
        """See ``DifferentiatedCells``."""
        count, log_total = values.astype(np.float64), self.log_total_count.astype(np.float64)
        kept = np.clip(log_total, *self.limits)
        total = np.exp(kept)
        ratio = np.minimum(parameters, self.largest) - kept
        soft = np.logaddexp(0.0, ratio)
        slope = count - (count + total) * special.expit(ratio)
        log_prob = count * ratio - (count + total) * soft
        # The gamma functions are 0 where nothing is counted.
        member, row, column = np.nonzero(count)
        some, its = count[member, row, column], total[member, 0, column]
        log_prob[member, row, column] += (
            special.gammaln(some + its) - special.gammaln(its) - special.gammaln(some + 1.0)
        )
        for_total = -total * soft - slope
        for_total[member, row, column] += its * (
            special.digamma(some + its) - special.digamma(its)
        )
        weight = _weight(mask, share, values)
        self.total_gradient[...] = -(for_total * weight).sum(1, keepdims=True) * (
            kept == log_total
        )
        slope *= parameters <= self.largest
        np.multiply(slope, -weight, out=parameters, casting="same_kind")
        return (log_prob * weight).sum((1, 2))


# What is written out of the components that have a closed form.
WRITTEN_OUT: dict[str, type] = {
    "continuous": NormalCells,
    "binary": BernoulliCells,
    "categorical": CategoricalCells,
    "ordinal": OrdinalCells,
    "count": NegativeBinomialCells,
}


def cells_of(likelihood, gradient_of, on_host: bool):
    """What the cells of one block say, written out where that is known and pays."""
    kind = WRITTEN_OUT.get(likelihood.kind, DifferentiatedCells)
    many = kind is NegativeBinomialCells and len(likelihood.sizes) > FEW_COUNTS
    pays = kind is NormalCells or (on_host and not many)
    known = likelihood.closed_form and pays
    return (kind if known else DifferentiatedCells)(likelihood, gradient_of)


def _weight(mask, share, values):
    """What each cell counts by: an array, or a number where all count alike."""
    weight = 1.0 / values.shape[1] if share is None else share
    return weight if mask is None else mask.astype(values.dtype) * weight


def _sigmoid(x) -> tuple:
    """It, and the logarithm of one plus the exponential, whose slope it is."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, small) / (1.0 + small), np.maximum(x, 0.0) + np.log1p(small)
