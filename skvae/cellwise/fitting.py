"""Fitting the conditional model of an encoded table."""

from __future__ import annotations

import math

import numpy as np
import torch

from .._component import Shapes
from ..imputation.encoding import CellEncoding
from ..imputation.ensemble import WarmSettings
from ..likelihoods import Columnwise
from ..noise import Noise
from ..synthesis.model import SequentialBound
from ..synthesis.network import GenerativeNetwork
from ..training import Rows, train
from ..training.group import as_group, current_group
from .density import FlooredMixture
from .evidence import Cells
from .masks import LeaveOutMask
from .model import CellwiseVAE
from .start import start_at_regressions

N_COMPONENTS = 8
HIDDEN_LAYER_SIZES = (96, 96)
N_MIXTURE_COMPONENTS = 3
N_MEMBERS = 1
N_DRAWS = 1
LEARNING_RATE, WEIGHT_DECAY = 7e-3, 0.1
# An epoch has so many steps, whatever the table.
N_EPOCHS, STEPS_PER_EPOCH = 10, 20
SMALLEST_BATCH, LARGEST_BATCH = 128, 256
# Fewer held-out rows decide nothing, and more no more.
FEWEST_HELD_OUT, MOST_HELD_OUT = 10, 1000


def fit_cellwise(
    cells: Cells, held_out: np.ndarray, blocks: tuple, floor: np.ndarray, trim: float,
    max_iter: int, rng: np.random.RandomState, device,
) -> CellwiseVAE:  # fmt: skip
    """Train a stack on rows of which some are held out, to stop in time.

    Parameters
    ----------
    cells : Cells
        Of all rows, on the scale of the model.
    held_out : ndarray of int
        Places of rows not to train on; all rows where none are held out.
    blocks : tuple of (str, tuple of int)
        Kinds and sizes of the columns.
    floor : ndarray
        Smallest noise of each continuous column.
    trim : float
        Share of the rows of a batch that are left out of it.
    max_iter : int
        Epochs at most; more than ten are not of use.
    rng : RandomState
    device : torch.device
    """
    seeds = rng.randint(np.iinfo(np.int32).max, size=N_MEMBERS)
    noise = Noise(seeds.tolist(), device)
    mixture = FlooredMixture(floor, N_MIXTURE_COMPONENTS)
    network = GenerativeNetwork(HIDDEN_LAYER_SIZES, "silu")
    vae = CellwiseVAE(network, Columnwise(mixture), CellEncoding(), LeaveOutMask(), trim)
    n_given = 0 if cells.given is None else cells.given.shape[1]
    vae.build(Shapes(0, N_COMPONENTS, blocks, n_conditions=n_given), noise)
    seen = torch.as_tensor(cells.mask, device=device)
    values = torch.as_tensor(cells.values, device=device)
    vae.encoding.learn(values, seen, N_MEMBERS)
    start_at_regressions(vae, values, seen)
    vae.to(device)
    inputs = seen.float()
    if cells.given is not None:
        inputs = torch.cat([inputs, torch.as_tensor(cells.given, device=device)], 1)
    rows = Rows(inputs, values, seen, None)
    index, judged = _split(cells.mask, held_out, rng)
    batch_size = int(
        np.clip(2 ** round(np.log2(max(len(index) / 16, 1))), SMALLEST_BATCH, LARGEST_BATCH)
    )
    index = _one_epoch(index, batch_size, rng)
    n_epochs = min(N_EPOCHS, max_iter)
    settings = WarmSettings(
        max_iter=n_epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        clip_norm=5.0 * float(np.sqrt(values.shape[1])),
        n_iter_no_change=n_epochs,
        n_threads=None,
    )
    # A small model beside others: where it cannot be shared, the first process trains it alone.
    with as_group(current_group() if vae.rows_apart else None):
        train(
            vae, SequentialBound(N_DRAWS), rows, _for_members(index, device),
            None if judged is None else _for_members(judged, device), noise, settings,
        )  # fmt: skip
    return vae


def _split(mask, held_out, rng) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows to train on and to judge by, those without an observed cell left out."""
    filled = np.flatnonzero(mask.any(1))
    judged = np.intersect1d(filled, held_out)
    trained = np.setdiff1d(filled, held_out)
    if not len(trained):
        trained = filled
    if len(judged) < FEWEST_HELD_OUT or len(judged) == len(filled):
        return trained, None
    return trained, rng.permutation(judged)[:MOST_HELD_OUT]


def _one_epoch(index, batch_size: int, rng) -> np.ndarray:
    """As many rows as an epoch takes, each as often as any other."""
    n_rows = STEPS_PER_EPOCH * batch_size
    repeated = [rng.permutation(index) for _ in range(math.ceil(n_rows / len(index)))]
    return np.concatenate(repeated)[:n_rows]


def _for_members(index: np.ndarray, device) -> torch.Tensor:
    return torch.as_tensor(np.tile(index, (N_MEMBERS, 1)), device=device)
