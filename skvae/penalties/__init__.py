"""Penalties: what is asked of the codes beside the bound."""

from ._base import Penalty
from .dip import DIP
from .mmd import MMD
from .neighbors import NeighborGraph
from .radon_sobolev import RadonSobolev
from .sliced_wasserstein import SlicedWasserstein
from .total_correlation import TotalCorrelation

PENALTIES: dict[str, type[Penalty]] = {
    "neighbors": NeighborGraph,
    "mmd": MMD,
    "sliced_wasserstein": SlicedWasserstein,
    "radon_sobolev": RadonSobolev,
    "total_correlation": TotalCorrelation,
    "dip": DIP,
}

__all__ = [
    "DIP",
    "MMD",
    "PENALTIES",
    "NeighborGraph",
    "Penalty",
    "RadonSobolev",
    "SlicedWasserstein",
    "TotalCorrelation",
]
