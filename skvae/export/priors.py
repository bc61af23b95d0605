"""Priors in a graph: log densities of codes.

After training a prior is a distribution that no longer depends on the rows, so that all priors of
one family of distributions are written alike.
"""

from __future__ import annotations

from typing import Any

from ..distributions import NormalMixture, StandardNormal
from ..distributions.joint import JointPrior
from .arrays import array_of, per_column, weight
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
