"""Pictures of fitted estimators, in scikit-learn's Display form; matplotlib is optional."""

from ._imputation import ImputationDisplay
from ._latent import LatentDisplay
from ._missingness import MissingnessDisplay
from ._sample import SampleDisplay
from ._training import TrainingDisplay

__all__ = [
    "ImputationDisplay",
    "LatentDisplay",
    "MissingnessDisplay",
    "SampleDisplay",
    "TrainingDisplay",
]
