"""Pictures of fitted estimators, in scikit-learn's Display form; matplotlib is optional."""

from ._latent import LatentDisplay
from ._training import TrainingDisplay

__all__ = ["LatentDisplay", "TrainingDisplay"]
