"""Penalties: what is asked of the codes beside the bound."""

from ._base import Penalty
from .neighbors import NeighborGraph

PENALTIES: dict[str, type[Penalty]] = {"neighbors": NeighborGraph}

__all__ = ["PENALTIES", "NeighborGraph", "Penalty"]
