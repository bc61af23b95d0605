"""Scores: how normal a fitted model finds a row."""

from ._base import Score
from .likelihood import BoundScore, LikelihoodScore

SCORES = {"elbo": BoundScore, "likelihood": LikelihoodScore}

__all__ = ["SCORES", "BoundScore", "LikelihoodScore", "Score"]
