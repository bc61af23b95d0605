"""Which device the arithmetic runs on."""

from __future__ import annotations

import torch


def resolve_device(name: str) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"`` into a device.

    Raises
    ------
    ValueError
        If the name is none of these or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    there = {
        "cpu": lambda: 1,
        "cuda": torch.cuda.device_count,
        "mps": lambda: int(torch.backends.mps.is_available()),
    }
    if name.split(":")[0] not in there:
        raise ValueError(
            f"device should be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {name!r}."
        )
    device = torch.device(name)
    count = there[device.type]()
    if (device.index or 0) >= count:
        raise ValueError(
            f"device={name!r} is not available: torch {torch.__version__} sees {count} device(s) "
            f"of type {device.type!r}. Use device='auto' to take what there is."
        )
    return device
