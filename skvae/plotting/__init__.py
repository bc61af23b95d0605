"""Pictures of fitted estimators, in scikit-learn's Display form; matplotlib is optional."""

from ._explanation import ExplanationDisplay
from ._imputation import ImputationDisplay
from ._latent import LatentDisplay
from ._missingness import MissingnessDisplay
from ._reconstruction import ReconstructionDisplay
from ._sample import SampleDisplay
from ._scores import ScoreDisplay
from ._sensitivity import SensitivityDisplay
from ._training import TrainingDisplay
from ._traversal import TraversalDisplay

__all__ = [
    "ExplanationDisplay",
    "ImputationDisplay",
    "LatentDisplay",
    "MissingnessDisplay",
    "ReconstructionDisplay",
    "SampleDisplay",
    "ScoreDisplay",
    "SensitivityDisplay",
    "TrainingDisplay",
    "TraversalDisplay",
]
