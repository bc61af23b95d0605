"""What a training loop records of each batch of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..arrays import twin

# What the change from standardised to original units adds to each term.
TERMS = {"bound": -1.0, "log_likelihood": -1.0, "kl": 0.0, "loss": 1.0}


class Terms:
    """The terms of each batch in one array.

    Small tensors that stay among large ones that come and go would leave the memory of the
    latter in pieces that nothing fits in.
    """

    def __init__(self, sizes: list[int], n_rows: int):
        self.shares = np.array(sizes, dtype=np.float64) / n_rows
        self.n_steps = 0
        self.kept: Any = None

    def append(self, terms: Sequence) -> None:
        """Keep the terms of the next batch, ``(members,)`` each."""
        if self.kept is None:
            shape = (len(self.shares), len(terms), *terms[0].shape)
            on_host = isinstance(terms[0], np.ndarray)
            self.kept = np.empty(shape) if on_host else terms[0].new_empty(shape)
        for place, term in enumerate(terms):
            self.kept[self.n_steps, place] = term
        self.n_steps += 1

    def state(self) -> dict[str, np.ndarray]:
        """The terms so far."""
        return {} if self.kept is None else {"kept": self._array()[: self.n_steps]}

    def load_state(self, state: dict[str, np.ndarray], device: torch.device) -> None:
        """Go on from the terms of the first batches."""
        kept = state["kept"]
        self.n_steps = len(kept)
        whole = np.empty((len(self.shares), *kept.shape[1:]), kept.dtype)
        whole[: self.n_steps] = kept
        self.kept = twin(torch.as_tensor(whole, device=device))

    def sums(self, n_members: int) -> np.ndarray:
        """What these rows add to the mean of each term; the one time an epoch waits for them."""
        if self.kept is None:
            return np.zeros((len(TERMS), n_members))
        kept = self._array()
        return (self.shares[:, None, None] * kept).sum(0)

    def _array(self) -> np.ndarray:
        return self.kept if isinstance(self.kept, np.ndarray) else self.kept.cpu().numpy()
