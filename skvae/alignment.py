"""Widths at which a stack of models computes the same bits as its members alone."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# Matrix products of one member and of many take the same kernels when every width is a
# multiple of this.
ALIGNMENT = 16
# An activation works through a tensor in vectors; a layer whose width is a multiple of this
# leaves no rest, which would fall on other numbers in a stack than alone.
HIDDEN_ALIGNMENT = 32


def aligned(width: int, multiple: int = ALIGNMENT) -> int:
    """Smallest multiple that holds ``width``."""
    return -(-width // multiple) * multiple


def padded(x: Tensor, width: int) -> Tensor:
    """``x`` with zeros appended to its last axis up to ``width``."""
    missing = width - x.shape[-1]
    return F.pad(x, (0, missing)) if missing else x
