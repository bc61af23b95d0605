"""Variational autoencoders behind scikit-learn's interface."""

from importlib import import_module

from ._version import __version__

_MODULES = {
    "TokenEncoder": "._token_encoder",
    "VAEImputer": "._imputer",
    "VAETransformer": "._transformer",
    "VAEOutlierDetector": "._outlier_detector",
    "VAESynthesizer": "._synthesizer",
    "pool": ".imputation.pooling",
}

__all__ = [
    "TokenEncoder",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAESynthesizer",
    "VAETransformer",
    "__version__",
    "pool",
]


def __getattr__(name: str):
    # Estimators need torch, which takes seconds to import: nobody pays before using one.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
