"""Training: resident rows, flat parameters, one loop for a single model and for a stack."""

from .conditional_start import note_conditions
from .history import History
from .loop import train
from .rows import Rows
from .settings import SCHEDULES, Settings, StackSettings
from .sparse_rows import SparseRows
from .start import start_at_linear_model

__all__ = [
    "SCHEDULES",
    "History",
    "Rows",
    "Settings",
    "SparseRows",
    "StackSettings",
    "note_conditions",
    "start_at_linear_model",
    "train",
]
