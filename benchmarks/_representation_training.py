"""How the plain autoencoder and pythae's VAE are trained: as long, and in such batches, as ours.

Imported in the peers' environment, too, so it needs torch and NumPy alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch

N_EPOCHS, PATIENCE, HELD_OUT = 200, 20, 0.15


def train(
    model: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor],
    X: np.ndarray,
    generator: torch.Generator,
) -> None:
    """Adam; the weights of the best held-out epoch are kept."""
    rows = torch.as_tensor(X, dtype=torch.float32)[torch.randperm(len(X), generator=generator)]
    held_out, rows = rows.tensor_split([round(HELD_OUT * len(rows))])
    batch = min(max(len(rows) // 16, 32), 512)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best, kept, waited = np.inf, model.state_dict(), 0
    for _ in range(N_EPOCHS):
        model.train()
        for chosen in torch.randperm(len(rows), generator=generator).split(batch):
            loss = loss_of(model, rows[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            now = float(loss_of(model, held_out))
        waited += 1
        if now < best:
            best, kept, waited = now, copy.deepcopy(model.state_dict()), 0
        if waited >= PATIENCE:
            break
    model.load_state_dict(kept)
