"""Measures of synthetic tables: how faithful, how useful, and how far from copies."""

from .fidelity import ColumnShapes, PairTrends, column_shapes, pair_trends, quality
from .prediction import TrainOnSynthetic, train_on_synthetic, two_sample_auc
from .privacy import ClosestRecord, closest_record
from .report import synthesis_report

__all__ = [
    "ClosestRecord",
    "ColumnShapes",
    "PairTrends",
    "TrainOnSynthetic",
    "closest_record",
    "column_shapes",
    "pair_trends",
    "quality",
    "synthesis_report",
    "train_on_synthetic",
    "two_sample_auc",
]
