"""Fitting an imputer: from an encoded table to a trained ensemble with its refinement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from .._component import Shapes
from .._device import resolve_device
from .._process import arithmetic, n_threads_of
from .._progress import EpochProgress
from ..likelihoods import LIKELIHOODS, Columnwise, Likelihood, Normal
from ..noise import Noise
from .completion import Completion
from .ensemble import WarmSettings, fit_ensemble
from .folds import cell_folds
from .layout import Layout
from .network import ACTIVATIONS, ConditionalNetwork

NUMERIC_LIKELIHOODS = set(LIKELIHOODS) - {"categorical", "ordinal", "token_sequence"}
# A noise that starts small draws the first steps to the few columns that others determine.
INITIAL_SCALE = 0.7
# From so many rows on a batch grows with them, lest an epoch take ever more steps.
LARGE = 16_000
# A third round costs half as much again and gained half a percent.
N_ROUNDS = 2


def resolve_likelihood(value) -> Columnwise:
    """The likelihood that a parameter stands for, the caller's own."""
    if value == "auto":
        return Columnwise(continuous=Normal(scale="column", initial_scale=INITIAL_SCALE))
    likelihood = LIKELIHOODS[value]() if isinstance(value, str) else clone(value)
    if getattr(likelihood, "kind", None) == "token":
        raise ValueError(
            f"likelihood={likelihood!r} spells cells one after another, and an imputer expects "
            "one that gives each cell a mean. Use likelihood='auto', or VAETransformer.impute."
        )
    likelihood._validate_params()
    return Columnwise.of(likelihood)


def numeric_kind(value) -> str:
    """How numeric columns are coded for this likelihood."""
    likelihood = LIKELIHOODS[value]() if value in LIKELIHOODS else value
    return getattr(likelihood, "kind", "continuous")


@contextmanager
def on_device(estimator) -> Iterator[torch.device]:
    """Run arithmetic as the estimator asks for."""
    device = resolve_device(estimator.device)
    with arithmetic(n_threads_of(estimator.n_jobs)):
        if estimator.vae_ is not None:
            estimator.vae_.to(device)
        yield device


def fit_completion(estimator, values: np.ndarray, mask: np.ndarray) -> Completion | None:
    """Train the ensemble and its refinement; None where there is nothing to model.

    Sets ``vae_``, ``history_`` and ``n_iter_`` of the estimator.
    """
    estimator.vae_, estimator.history_, estimator.n_iter_ = None, {}, 0
    if not estimator.codec_.blocks_:
        return None
    codec, n_members = estimator.codec_, estimator.n_members
    rng = check_random_state(estimator.random_state)
    # Fewer folds than members would leave some without: they share the cells then.
    share = min(estimator.validation_fraction, 1.0 / n_members)
    folds = cell_folds(mask, n_members, share, rng)
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_members)
    shapes = Shapes(codec.n_inputs_, estimator.n_components, codec.blocks_)
    network = ConditionalNetwork(widths_of(estimator), estimator.activation)
    progress = EpochProgress(estimator, estimator.max_iter, None)

    with on_device(estimator) as device:
        vae, history = fit_ensemble(
            values, mask, folds, shapes, resolve_likelihood(estimator.likelihood), network,
            Noise(seeds, device), _settings(estimator, mask), progress, estimator.early_stopping,
        )  # fmt: skip
        progress.end(history)
        estimator.vae_, estimator.n_iter_ = vae, history.n_epochs
        estimator.history_ = mean_history(history.records)
        completion = Completion(vae, Layout(codec.blocks_, codec.in_order()), estimator.n_draws)
        rounds = 0 if estimator.refine is None else N_ROUNDS
        completion.refine(values, mask, folds, rng, rounds, estimator.n_jobs, device)
    return completion


def widths_of(estimator) -> tuple[int, ...]:
    """The widths of the hidden layers that an estimator asks for, checked."""
    widths = tuple(estimator.hidden_layer_sizes)
    if not widths or not all(isinstance(w, (int, np.integer)) and w > 0 for w in widths):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter of {type(estimator).__name__} must hold at "
            f"least one positive integer, and nothing else. Got {widths!r} instead."
        )
    return widths


def _settings(estimator, mask: np.ndarray) -> WarmSettings:
    n_rows, batch_size = len(mask), estimator.batch_size
    if batch_size == "auto":
        largest = 128 if n_rows < LARGE else 512
        batch_size = int(np.clip(2 ** round(np.log2(max(n_rows / 8, 1))), 32, largest))
    return WarmSettings(
        max_iter=estimator.max_iter,
        batch_size=batch_size,
        learning_rate=estimator.learning_rate_init,
        weight_decay=estimator.weight_decay,
        # Losses are sums over columns, and so are their gradients.
        clip_norm=5.0 * float(np.sqrt(mask.shape[1])),
        n_iter_no_change=estimator.n_iter_no_change,
        tol=estimator.tol,
        n_threads=None,
    )


def mean_history(records: list[dict]) -> dict[str, list[float]]:
    """Means over the members, per epoch."""
    names = records[0] if records else ()
    return {
        name: [float(np.mean(np.ma.masked_invalid(record[name]))) for record in records]
        for name in names
    }


__all__ = [
    "ACTIVATIONS",
    "NUMERIC_LIKELIHOODS",
    "Columnwise",
    "Likelihood",
    "fit_completion",
    "mean_history",
    "numeric_kind",
    "on_device",
    "widths_of",
]
