"""Distributions over rows: what torch.distributions lacks for stacks of models.

Shapes are ``(members, draws, rows, columns)`` and broadcast.  ``log_prob`` is per column, so
that a mask can pick the observed cells.  ``rsample`` and ``sample`` take their randomness as
an argument.  Arguments are not validated: the networks guarantee them.
"""

from ._base import Distribution
from .autoregressive import AutoregressiveCodes
from .cell_mixture import CellMixture
from .cells import Bernoulli, Blocks, Categorical, Ordinal, StudentT
from .codes import Delta, NormalMixture, StandardNormal
from .counts import NegativeBinomial, Poisson, ZeroInflated
from .epanechnikov import Epanechnikov
from .normal import EncodedNormal, Normal
from .sized_counts import SizedCounts
from .token_sequence import TokenSequence

__all__ = [
    "AutoregressiveCodes",
    "Bernoulli",
    "Blocks",
    "Categorical",
    "CellMixture",
    "Delta",
    "Distribution",
    "EncodedNormal",
    "Epanechnikov",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "Ordinal",
    "Poisson",
    "SizedCounts",
    "StandardNormal",
    "StudentT",
    "TokenSequence",
    "ZeroInflated",
]
