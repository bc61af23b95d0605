"""What a model may learn from targets: classes of rows, or properties of their codes."""

from ._base import Supervision
from .classes import ClassHead
from .properties import PropertyHead

SUPERVISION = {"classes": ClassHead, "properties": PropertyHead}

__all__ = ["SUPERVISION", "ClassHead", "PropertyHead", "Supervision"]
