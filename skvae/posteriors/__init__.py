"""Posteriors q(z|x): what the encoder says about the code of a row."""

from ._base import LOG_SCALE_BOUND, Posterior
from .epanechnikov import Epanechnikov
from .fixed_normal import FixedNormal
from .joint import Joint
from .ladder import Ladder, ResidualLadder
from .normal import Deterministic, DiagonalNormal
from .quantized import VectorQuantized

POSTERIORS: dict[str, type[Posterior]] = {
    "normal": DiagonalNormal,
    "deterministic": Deterministic,
    "epanechnikov": Epanechnikov,
    "fixed_normal": FixedNormal,
    "vector_quantized": VectorQuantized,
    "joint": Joint,
    "ladder": Ladder,
    "residual_ladder": ResidualLadder,
}

__all__ = [
    "LOG_SCALE_BOUND",
    "POSTERIORS",
    "Deterministic",
    "DiagonalNormal",
    "Epanechnikov",
    "FixedNormal",
    "Joint",
    "Ladder",
    "Posterior",
    "ResidualLadder",
    "VectorQuantized",
]
