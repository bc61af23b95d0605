"""Scores: how normal a fitted model finds a row."""

from ._base import Score
from .blend import BlendedScore, LocalScore, ModelScore
from .conditional import ConditionalScore
from .likelihood import BoundScore, LikelihoodScore

SCORES = {
    "auto": BlendedScore,
    "conditional": ConditionalScore,
    "elbo": BoundScore,
    "likelihood": LikelihoodScore,
    "local": LocalScore,
    "model": ModelScore,
}

__all__ = [
    "SCORES",
    "BlendedScore",
    "BoundScore",
    "ConditionalScore",
    "LikelihoodScore",
    "LocalScore",
    "ModelScore",
    "Score",
]
