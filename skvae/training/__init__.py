"""Training: resident rows, flat parameters, one loop for a single model and for a stack."""

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
    "start_at_linear_model",
    "train",
]
