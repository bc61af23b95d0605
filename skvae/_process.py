"""Settings of the process that arithmetic needs, put back on the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def arithmetic(n_threads: int | None) -> Iterator[None]:
    """Run with this many threads and without denormal numbers.

    Small matrix products wait for each other's threads longer than they compute, and
    denormal moments of dead units slow Adam down sevenfold.
    """
    before = torch.get_num_threads()
    # torch tells whether denormals are flushed by nothing but arithmetic.
    flushed = bool((torch.tensor(1e-40) * 1.0 == 0).item())
    torch.set_flush_denormal(True)
    if n_threads is not None and n_threads != before:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
        torch.set_flush_denormal(flushed)
