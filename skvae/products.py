"""Matrix products on the processor, by the library that is fastest at their size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# From so many multiplications on the kernels of oneDNN make up for what calling them costs.
LARGE = 6 << 20
# Where rows are many, so many weights of a layer are enough.  How many rows there are is not
# asked: a row has the same bits alone and among others.
WEIGHTS = 1 << 11


def host_product(n_multiplications: int, dtype: torch.dtype) -> Callable:
    """``product(a, b, out=)`` of arrays ``(..., rows, inner)`` and ``(..., inner, columns)``.

    NumPy's costs the least to call.  But its library, like that of torch, may have no kernels
    for AVX-512 on a processor that it does not know by name; oneDNN, which comes with torch,
    asks what the processor can do.

    Parameters
    ----------
    n_multiplications : int
        Rows times inner width times columns of one product.
    dtype : torch.dtype
        Of all three arrays.
    """
    large = n_multiplications >= LARGE and dtype == torch.float32
    return _wide if large and _has_wide_kernels() else np.matmul


def affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """``bias + x @ weight`` of each member, like ``torch.baddbmm``, without a graph."""
    if not _is_wide(weight):
        return torch.baddbmm(bias, x, weight)
    if bias.shape[1] > 1:
        return affine(torch.zeros_like(bias[:, :1]), x, weight).add_(bias)
    members = [_linear(rows, matrix.T, offset[0]) for offset, rows, matrix in zip(bias, x, weight)]
    return members[0][None] if len(members) == 1 else torch.stack(members)


def affine_columns(start: Tensor, weight: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """``start + weight @ x`` of rows that are the columns of ``x``, like ``torch.addmm``."""
    if not _is_wide(weight):
        return torch.addmm(start, weight, x, out=out)
    return torch.add(start, _linear(weight, x.T), out=out)


def _is_wide(weight: Tensor) -> bool:
    n_weights = weight.shape[-2] * weight.shape[-1]
    on_host = weight.device.type == "cpu" and weight.dtype == torch.float32
    return n_weights >= WEIGHTS and on_host and _has_wide_kernels()


def _has_wide_kernels() -> bool:
    capable = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return capable and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _wide(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    if a.ndim > 2:
        # One by one, so that a member of a stack has the bits that it has alone.
        for parts in zip(a, b, out):
            _wide(*parts)
        return out
    np.copyto(out, _linear(torch.from_numpy(a), torch.from_numpy(b).T).numpy())
    return out


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by oneDNN, whose public call wants tensors of its own format."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
