"""Which device the arithmetic runs on."""

from __future__ import annotations

import os

import torch


def resolve_device(name: str) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"`` into a device.

    Raises
    ------
    ValueError
        If the name is none of these or the device is not there.
    RuntimeError
        If it is a CUDA device and the process a fork of one that had used CUDA.
    """
    device = _named(name)
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        # On the CPU instead, and in silence, a search would take hours for no visible reason.
        raise RuntimeError(
            f"An estimator with device={name!r} cannot use CUDA in process {os.getpid()}, which "
            f"was forked from one that had used CUDA. Start the workers with joblib's 'loky' "
            f"backend or the 'spawn' start method of multiprocessing, or set device='cpu'."
        )
    return device


def _named(name: str) -> torch.device:
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
