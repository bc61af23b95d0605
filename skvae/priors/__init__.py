"""Priors p(z): what a code looks like before its row is seen."""

from ._base import Prior
from .chain import AutoregressiveNormal
from .flow import Flow
from .normal import Aggregate, GaussianMixture, StandardNormal
from .vamp import VampPrior

PRIORS: dict[str, type[Prior]] = {
    "aggregate": Aggregate,
    "normal": StandardNormal,
    "mixture": GaussianMixture,
    "vamp": VampPrior,
    "flow": Flow,
    "autoregressive": AutoregressiveNormal,
}

__all__ = [
    "PRIORS",
    "Aggregate",
    "AutoregressiveNormal",
    "Flow",
    "GaussianMixture",
    "Prior",
    "StandardNormal",
    "VampPrior",
]
