"""An ensemble of conditional models: built, trained as one stack, judged by held-out cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._component import Shapes
from ..likelihoods import Columnwise
from ..noise import Noise
from ..training import History, Settings, train
from .encoding import CellEncoding
from .folds import KEPT, CellRows
from .masks import RandomMask
from .model import ConditionalBound, ConditionalVAE
from .network import ConditionalNetwork

# An epoch has at least so many steps: judging held-out cells takes as long as some of them.
STEPS_PER_EPOCH = 40
# So many rows with held-out cells tell one epoch from another.
JUDGED_ROWS = 512
# Fewer held-out cells per member say nothing.
FEWEST_CELLS = 10


@dataclass(frozen=True)
class WarmSettings(Settings):
    """Settings whose step size first rises: the first gradients of a fresh stack are wild."""

    warm_up: float = 0.08

    def rate(self, epoch: float) -> float:
        """Step size at a moment of the run, in epochs from its start."""
        share = epoch / max(self.warm_up * self.max_iter, 1e-9)
        return super().rate(epoch) * min(share + 0.02, 1.0)


def fit_ensemble(
    values: np.ndarray,
    mask: np.ndarray,
    folds: np.ndarray,
    shapes: Shapes,
    likelihood: Columnwise,
    network: ConditionalNetwork,
    noise: Noise,
    settings: Settings,
    on_epoch: Callable[[dict], bool],
    early_stopping: bool = True,
) -> tuple[ConditionalVAE, History]:
    """Build and train one member per generator of ``noise``.

    Parameters
    ----------
    values : ndarray of float32 (rows, columns)
    mask, folds : ndarray (rows, columns)
        Observed cells, and which member holds each out.
    shapes : Shapes
    likelihood, network : Component
        Unbuilt.
    noise : Noise
    settings : Settings
    on_epoch : callable
        As in ``train``.
    early_stopping : bool, default=True
        Whether the cells held out stop members; they are held out in any case.

    Returns
    -------
    vae : ConditionalVAE
    history : History
    """
    vae = ConditionalVAE(network, likelihood, CellEncoding(), RandomMask()).build(shapes, noise)
    rows = CellRows.of(values, mask, folds, noise.n_members, noise.device)
    seen = torch.as_tensor(mask, device=noise.device)
    vae.encoding.learn(rows.values, seen, noise.n_members)
    vae.network.start_offset(marginal_start(vae.likelihood, rows.values, seen))
    index, held_out = _indices(mask, folds, noise, settings.batch_size)
    held_out = held_out if early_stopping else None
    vae.to(noise.device)
    history = train(
        vae, ConditionalBound(), rows, index, held_out, noise, settings, on_epoch=on_epoch
    )
    return vae, history


def marginal_start(likelihood: Columnwise, values: Tensor, seen: Tensor) -> Tensor:
    """Decoder output that gives every row the mean of the observed cells."""
    weight = likelihood.repeat(seen.to(values.dtype))
    total = (likelihood.expand(values) * weight).sum(0)
    return likelihood.start(total / weight.sum(0).clamp_min(1.0))


def _indices(mask, folds, noise: Noise, batch_size: int) -> tuple[Tensor, Tensor | None]:
    """Rows to train on and rows to be judged by, per member, in the order of ``CellRows``."""
    n, members = len(mask), range(noise.n_members)
    rows = np.flatnonzero(mask.any(1))
    repeats = max(STEPS_PER_EPOCH // max(len(rows) // batch_size, 1), 1)
    index = np.stack([np.tile(rows, repeats) + e * n for e in members])
    held_out = None
    if all((folds == e).sum() >= FEWEST_CELLS for e in members):
        judged = [np.flatnonzero((folds == e).any(1)) for e in members]
        size = min(min(map(len, judged)), JUDGED_ROWS)
        start = noise.n_members * n
        # Rows are in the order of the table, which may mean something: take them evenly.
        judged = [part[np.linspace(0, len(part) - 1, size).astype(int)] for part in judged]
        places = np.stack([part + start + e * n for e, part in enumerate(judged)])
        held_out = torch.as_tensor(places, device=noise.device)
    return torch.as_tensor(index, device=noise.device), held_out


__all__ = ["KEPT", "WarmSettings", "fit_ensemble"]
