"""Likelihoods p(x|z): what the decoder says about the cells of a row.

A likelihood models the columns of one kind; ``Columnwise`` puts one per kind side by side.
``log_prob`` is per column, so that the mask of observed cells can pick.
"""

from ._base import Likelihood
from .columnwise import LIKELIHOODS, Columnwise
from .continuous import Normal, StudentT
from .counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from .discrete import Bernoulli, Categorical, Ordinal
from .mixture import NormalMixture
from .token_sequence import TokenSequence

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Columnwise",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "Ordinal",
    "Poisson",
    "StudentT",
    "TokenSequence",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
]
