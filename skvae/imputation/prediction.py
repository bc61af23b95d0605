"""What the members of an ensemble say about the cells of a table."""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import distributions as D
from ..inference import chunk_rows, in_chunks
from ..noise import FixedDraws
from .model import ConditionalVAE


class Prediction(NamedTuple):
    """Cells as one number per parameter: a numeric cell, or each category of a column.

    Parameters
    ----------
    mean : ndarray (members, rows, parameters)
        Means of numeric cells, probabilities of categories.
    variance : ndarray (members, rows, parameters)
        Variances of numeric cells, noise included; 0 for categories.
    """

    mean: np.ndarray
    variance: np.ndarray

    def mixture(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the mixture of the members."""
        mean = self.mean.mean(0)
        return mean, self.variance.mean(0) + self.mean.var(0)


@singledispatch
def moments(distribution) -> tuple[Tensor, Tensor]:
    """Mean and variance of each parameter of a distribution over cells."""
    raise NotImplementedError(f"No moments are known of {type(distribution).__name__}.")


@moments.register
def _(distribution: D.Normal):
    return distribution.mean, distribution.scale.square().expand_as(distribution.mean)


@moments.register
def _(distribution: D.StudentT):
    df = distribution.df
    # Below two degrees of freedom there is no variance: the scale stands in for it.
    factor = torch.where(df > 2, df / (df - 2).clamp_min(1e-6), 1.0)
    square = (2 * distribution.log_scale).exp() * factor
    return distribution.mean, square.expand_as(distribution.mean)


@moments.register
def _(distribution: D.CellMixture):
    return distribution.mean, distribution.variance


@moments.register
def _(distribution: D.Bernoulli):
    mean = distribution.mean
    return mean, mean * (1.0 - mean)


@moments.register
def _(distribution: D.Poisson):
    return distribution.mean, distribution.mean


@moments.register
def _(distribution: D.NegativeBinomial):
    mean = distribution.mean
    return mean, mean + mean.square() * (-distribution.log_total_count).exp()


@moments.register
def _(distribution: D.ZeroInflated):
    mean, variance = moments(distribution.base)
    zero = distribution.logits.sigmoid()
    return distribution.mean, (1.0 - zero) * (variance + zero * mean.square())


@moments.register
def _(distribution: D.Categorical):
    shares = distribution.shares
    return shares, torch.zeros_like(shares)


@moments.register
def _(distribution: D.Ordinal):
    # As for categories, so that levels can be filled in and drawn in the same way.
    probs = distribution.probs
    sizes = torch.isfinite(distribution.thresholds[0, 0, 0]).sum(-1) + 1
    flat = torch.cat([p[..., :size] for p, size in zip(probs.unbind(-2), sizes)], -1)
    return flat, torch.zeros_like(flat)


@moments.register
def _(distribution: D.Blocks):
    means, variances = zip(*map(moments, distribution.parts))
    return torch.cat(means, -1), torch.cat(variances, -1)


def predict(
    vae: ConditionalVAE, values: np.ndarray, visible: np.ndarray, n_draws: int, device
) -> Prediction:
    """Moments of every cell given the visible ones, for each member.

    The draws of the code are the same for every row, so that a row's imputation depends on
    that row alone.
    """
    draws = FixedDraws(n_draws, vae.n_latents, device)

    def of_chunk(values: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
        # Encoded once for all members.
        inputs = vae.encoding(values, visible).expand(vae.n_members, -1, -1, -1)
        prior, context = vae.context(inputs)
        mean, variance = moments(vae.decode(prior.rsample(draws, n_draws), context))
        centre = mean.mean(1, keepdim=True)
        # Tensor.var along this axis takes ten times as long.
        total = variance.mean(1) + (mean - centre).square_().mean(1)
        # in_chunks joins along the first axis.
        return centre.squeeze(1).transpose(0, 1), total.transpose(0, 1)

    rows_at_once = chunk_rows(n_draws * vae.n_members) * 4
    arrays = [values, visible.astype(np.float32)]
    mean, variance = in_chunks(of_chunk, arrays, device, rows_at_once)
    return Prediction(mean.swapaxes(0, 1), variance.swapaxes(0, 1))
