"""Priors in a graph: log densities of codes.

After training a prior is a distribution that no longer depends on the rows, so that all priors of
one family of distributions are written alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..distributions import AutoregressiveCodes, NormalMixture, StandardNormal
from ..distributions.autoregressive import SMALLEST_LOG_SCALE
from ..distributions.joint import JointPrior
from .arrays import HALF_LOG_2PI, array_of, per_column, softplus, weight
from .graph import Value
from .registry import Exporters

PRIORS = Exporters("prior")


@PRIORS.of(StandardNormal, NormalMixture)
def log_prob(prior: Any, z: Value) -> Value:
    """Log p(z) of codes ``(members, draws, rows, n_components)``, summed over latents."""
    matrix, offset, constant = prior.squares
    n_normals, n = constant.shape[-1], matrix.shape[1]
    white = z @ weight(z.graph, matrix) - per_column(z.graph, offset)
    squares = (white * white).shaped(0, 0, 0, n_normals, n).sum(-1)
    return (squares * -0.5 + per_column(z.graph, constant)).log_sum_exp(-1)


@PRIORS.of(JointPrior)
def log_prob_with_category(prior: Any, z: Value) -> Value:
    """Log p(z) of numbers beside the one-hot of a category."""
    log_share = array_of(prior.log_share)
    n_categories = log_share.shape[-1]
    n = prior.continuous.squares[0].shape[1]
    numbers, chosen = z.parts([n, n_categories])
    of_category = (chosen * log_share[:, None, None]).sum(-1)
    return PRIORS(prior.continuous)(prior.continuous, numbers) + of_category


@PRIORS.of(AutoregressiveCodes)
def log_prob_of_flow(prior: Any, z: Value) -> Value:
    """Log p(z) of a masked autoregressive flow beside a mixture of normals."""
    net, graph = prior.network, z.graph
    n = net.centre.shape[1]
    n_normals = net.weight_out.shape[-1] // (3 * n)
    x = (z - per_column(graph, net.centre)) / per_column(graph, net.spread)
    h = (x @ weight(graph, net.weight_in[:, :n]) + per_column(graph, net.bias_in)).apply("Tanh")
    out = h @ weight(graph, net.weight_out) + per_column(graph, net.bias_out)
    parts = out.shaped(0, 0, 0, n, 3, n_normals).parts([1, 1, 1], -2)
    logits, loc, raw = (part.squeezed(-2) for part in parts)
    log_scale = softplus(raw - SMALLEST_LOG_SCALE) + SMALLEST_LOG_SCALE
    standard = (x.expanded(-1) - loc) * (-log_scale).exp()
    log_share = logits.apply("LogSoftmax", axis=-1)
    terms = log_share - standard * standard * 0.5 - log_scale - HALF_LOG_2PI
    unit = np.log(array_of(net.spread)).sum(-1)[:, None, None]
    ours = terms.log_sum_exp(-1).sum(-1) - unit
    theirs = PRIORS(prior.base)(prior.base, z)
    share = array_of(prior.share)[:, None, None]
    with np.errstate(divide="ignore"):
        both = ours + np.log(share), theirs + np.log1p(-share)
    return graph.joined([part.expanded(0) for part in both], 0).log_sum_exp(0)
