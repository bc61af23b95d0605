"""Measures of models, of synthetic tables, and of codes where the factors behind are known."""

from .disentanglement import (
    DCI,
    dci,
    factor_vae_score,
    mutual_information_gap,
    separated_predictability,
)
from .fidelity import ColumnShapes, PairTrends, column_shapes, pair_trends, quality
from .likelihood import (
    AnnealedLikelihood,
    LikelihoodBounds,
    annealed_log_likelihood,
    bidirectional_log_likelihood,
)
from .prediction import TrainOnSynthetic, train_on_synthetic, two_sample_auc
from .privacy import ClosestRecord, closest_record
from .report import synthesis_report

__all__ = [
    "DCI",
    "AnnealedLikelihood",
    "ClosestRecord",
    "ColumnShapes",
    "LikelihoodBounds",
    "PairTrends",
    "TrainOnSynthetic",
    "annealed_log_likelihood",
    "bidirectional_log_likelihood",
    "closest_record",
    "column_shapes",
    "dci",
    "factor_vae_score",
    "mutual_information_gap",
    "pair_trends",
    "quality",
    "separated_predictability",
    "synthesis_report",
    "train_on_synthetic",
    "two_sample_auc",
]
