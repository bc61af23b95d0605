"""Fitted estimators without Python: graphs of ONNX, and weights of safetensors."""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "to_onnx": ("._onnx", "onnx"),
    "feeds": ("._feeds", "onnx"),
    "register_onnx_converters": ("._skl2onnx", "onnx"),
    "save_weights": ("._weights", "safetensors"),
    "load_weights": ("._weights", "safetensors"),
}

__all__ = ["feeds", "load_weights", "register_onnx_converters", "save_weights", "to_onnx"]


def __getattr__(name: str):
    # Each needs packages of its own.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _MODULES[name]
    try:
        return getattr(import_module(module, __name__), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"skvae.export.{name} needs {error.name}, which is not installed. Install it by "
            f"pip install 'skvae[{extra}]'."
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
