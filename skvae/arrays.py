"""One memory, two libraries: tensors on the CPU are NumPy arrays as well."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def twin(tensor: Tensor) -> Any:
    """The same memory as a NumPy array where the tensor is on the CPU, else the tensor."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor
