"""Training: resident rows, flat parameters, one loop for a single model and for a stack."""

from .loop import Settings, train
from .rows import Rows
from .start import start_at_linear_model

__all__ = ["Rows", "Settings", "start_at_linear_model", "train"]
