"""Posteriors q(z|x): what the encoder says about the code of a row."""

from ._base import Posterior
from .epanechnikov import Epanechnikov
from .normal import Deterministic, DiagonalNormal
from .quantized import VectorQuantized

POSTERIORS: dict[str, type[Posterior]] = {
    "normal": DiagonalNormal,
    "deterministic": Deterministic,
    "epanechnikov": Epanechnikov,
    "vector_quantized": VectorQuantized,
}

__all__ = [
    "POSTERIORS",
    "Deterministic",
    "DiagonalNormal",
    "Epanechnikov",
    "Posterior",
    "VectorQuantized",
]
