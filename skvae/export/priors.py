"""Priors in a graph: log densities of codes.

After training a prior is a distribution that no longer depends on the rows, so that all priors of
one family of distributions are written alike.
"""

from __future__ import annotations

from typing import Any

from ..distributions import NormalMixture, StandardNormal
from .arrays import per_column, weight
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
