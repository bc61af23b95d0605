"""What devices differ in: tensors on the CPU are NumPy arrays as well, and MPS has no float64."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether a tensor is on the CPU, where to ask for a number is not to wait for a device."""
    return tensor.device.type == "cpu"


def twin(tensor: Tensor) -> Any:
    """The same memory as a NumPy array where the tensor is on the CPU, else the tensor."""
    return tensor.numpy() if on_host(tensor) else tensor


def wide(tensor: Tensor) -> Tensor:
    """The same numbers in float64, where the device has it."""
    return tensor if tensor.device.type == "mps" else tensor.double()
