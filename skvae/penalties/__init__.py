"""Penalties: what is asked of the codes beside the bound."""

from ._base import Penalty
from .decoder import DecoderDecay, DecoderGradient, DecoderSpectrum
from .decoder_critic import DecoderCritic
from .dip import DIP
from .factor_critic import FactorCritic
from .latent_critic import LatentCritic
from .mmd import MMD
from .neighbors import NeighborGraph
from .radon_sobolev import RadonSobolev
from .sliced_wasserstein import SlicedWasserstein
from .spectral import SpectralNorm
from .total_correlation import TotalCorrelation

PENALTIES: dict[str, type[Penalty]] = {
    "neighbors": NeighborGraph,
    "mmd": MMD,
    "sliced_wasserstein": SlicedWasserstein,
    "radon_sobolev": RadonSobolev,
    "total_correlation": TotalCorrelation,
    "dip": DIP,
    "factor_critic": FactorCritic,
    "latent_critic": LatentCritic,
    "decoder_critic": DecoderCritic,
    "decoder_gradient": DecoderGradient,
    "decoder_decay": DecoderDecay,
    "decoder_spectrum": DecoderSpectrum,
    "spectral_norm": SpectralNorm,
}

__all__ = [
    "DIP",
    "MMD",
    "PENALTIES",
    "DecoderCritic",
    "DecoderDecay",
    "DecoderGradient",
    "DecoderSpectrum",
    "FactorCritic",
    "LatentCritic",
    "NeighborGraph",
    "Penalty",
    "RadonSobolev",
    "SlicedWasserstein",
    "SpectralNorm",
    "TotalCorrelation",
]
