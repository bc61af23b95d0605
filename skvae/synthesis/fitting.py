"""Fitting a synthesizer: from an encoded table to a trained generator with its critic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._component import Shapes
from .._process import arithmetic, n_threads_of
from .._progress import EpochProgress
from ..imputation.encoding import CellEncoding
from ..imputation.ensemble import WarmSettings, marginal_start
from ..imputation.fitting import ACTIVATIONS, mean_history, on_device, widths_of
from ..likelihoods import Columnwise, NormalMixture
from ..noise import Noise
from ..table import TableCodec
from ..training import Rows, Settings, train
from .balance import Balance
from .critic import Critic
from .drawing import draw
from .features import Features
from .masks import UniformMask
from .model import GenerativeVAE, SequentialBound
from .network import GenerativeNetwork

# The critic meets so many real rows at most, and so many drawn ones for each.
CRITIC_ROWS = 20_000
DRAWN_PER_ROW = 3
# Fewer rows teach no critic.
FEWEST_ROWS = 60
# An epoch has at least so many steps.
STEPS_PER_EPOCH = 14
# The step size falls to 0 about every so many epochs, and begins again at a share of where it
# began before.
CYCLE = 40
NEXT_RATE = 0.7
# Fewer rows than this decide nothing when a member is judged.
FEWEST_HELD_OUT = 10


@dataclass(frozen=True)
class CyclicSettings(WarmSettings):
    """Settings whose step size falls along a cosine again and again.

    How many steps a table bears before it is learned by heart differs by a factor of ten, and
    weights are at their best where the step size has come to nothing: each end of a cycle
    offers such weights to early stopping.

    References
    ----------
    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """

    def rate(self, epoch: float) -> float:
        """Step size at a moment of the run, in epochs from its start."""
        cycle = self._cycle
        place, at = divmod(epoch, self._length)
        if not place:
            return cycle.rate(at)
        return NEXT_RATE**place * Settings.rate(cycle, at)

    @property
    def _length(self) -> float:
        """Epochs of a cycle."""
        return self.max_iter / max(round(self.max_iter / CYCLE), 1)

    @cached_property
    def _cycle(self) -> WarmSettings:
        """The first fall."""
        return WarmSettings(int(self._length), self.batch_size, self.learning_rate)


class SynthesisCodec(TableCodec):
    """A codec of normal scores and bins, whose ordered categories are plain ones."""

    _ordered = False


def fit_generator(estimator, encoded) -> GenerativeVAE:
    """Train the ensemble; sets ``history_`` and ``n_iter_`` of the estimator."""
    codec, n_members = estimator.codec_, estimator.n_members
    rng = check_random_state(estimator.random_state)
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_members)
    values = encoded.values
    mask = np.ones(values.shape, dtype=bool) if encoded.mask is None else encoded.mask
    estimator.vae_ = None
    with on_device(estimator) as device:
        noise = Noise(seeds, device)
        network = GenerativeNetwork(widths_of(estimator), estimator.activation)
        likelihood = Columnwise(continuous=NormalMixture(estimator.n_mixture_components))
        vae = GenerativeVAE(network, likelihood, CellEncoding(), UniformMask())
        vae.build(Shapes(codec.n_inputs_, estimator.n_components, codec.blocks_), noise)
        seen = torch.as_tensor(mask, device=device)
        cells = torch.as_tensor(values, device=device)
        vae.encoding.learn(cells, seen, n_members)
        vae.network.start_offset(marginal_start(vae.likelihood, cells, seen))
        vae.to(device)
        unit = torch.as_tensor(codec.log_scale_, dtype=torch.float32, device=device)
        rows = Rows(seen.float(), cells, seen, None, unit, encoded.log_jacobian)
        settings = _settings(estimator, len(values))
        index, held_out = _split(estimator, mask, rng, settings.batch_size)
        progress = EpochProgress(estimator, estimator.max_iter, None)
        history = train(
            vae, SequentialBound(estimator.n_draws), rows, index.to(device),
            None if held_out is None else held_out.to(device), noise, settings, progress,
        )  # fmt: skip
        progress.end(history)
    estimator.n_iter_ = history.n_epochs
    estimator.history_ = mean_history(history.records)
    return vae


def fit_critic(estimator, features: Features, real: np.ndarray) -> Critic | None:
    """Teach the critic on rows of the table and rows of the generator; None for few rows."""
    rng = check_random_state(estimator.random_state)
    seed = rng.randint(np.iinfo(np.int32).max - 10)
    critic = Critic(features, seed, n_threads_of(estimator.n_jobs))
    if len(real) < FEWEST_ROWS:
        return None
    if len(real) > CRITIC_ROWS:
        real = real[rng.permutation(len(real))[:CRITIC_ROWS]]
    n = DRAWN_PER_ROW * len(real)
    drawn = _drawn(estimator, features, np.zeros((n + n // 2, real.shape[1])), False, rng)
    # Its trees limit the threads of BLAS for all threads at once, as does what fits beside it.
    with arithmetic(n_threads_of(estimator.n_jobs)):
        return critic.fit(real, drawn[:n], drawn[n:], rng)


def fit_balance(estimator, features: Features, real: np.ndarray, encoded) -> Balance | None:
    """Count what drawn rows are to agree with; None for few rows."""
    rng = check_random_state(estimator.random_state)
    if len(real) < FEWEST_ROWS:
        return None
    if encoded.mask is not None:
        # Counts of what happens to be seen would be off where gaps depend on values.
        filled = _drawn(estimator, features, encoded.values, encoded.mask, rng)
        real = np.where(np.isnan(real), filled, real)
    seed = rng.randint(np.iinfo(np.int32).max)
    return Balance(real, features.categorical, seed)


def _drawn(estimator, features: Features, values: np.ndarray, given, rng) -> np.ndarray:
    """Features of rows of the generator."""
    given = np.broadcast_to(given, values.shape)
    with on_device(estimator) as device:
        drawn = draw(estimator.vae_, values, given, rng, device)
    return features.of_draws(drawn, rng.uniform(size=values.shape))


def _split(estimator, mask: np.ndarray, rng, batch_size: int):
    """Rows that each member trains on and is judged by; members are judged by other rows."""
    rows = rng.permutation(np.flatnonzero(mask.any(1)))
    n_members = estimator.n_members
    n_held_out = round(estimator.validation_fraction * len(rows))
    if not estimator.early_stopping or n_held_out < FEWEST_HELD_OUT:
        n_held_out = 0
    shifted = [np.roll(rows, -e * n_held_out) for e in range(n_members)]
    trained = np.stack([order[n_held_out:] for order in shifted])
    repeats = max(math.ceil(STEPS_PER_EPOCH * batch_size / trained.shape[1]), 1)
    index = torch.as_tensor(np.tile(trained, repeats))
    if not n_held_out:
        return index, None
    return index, torch.as_tensor(np.stack([order[:n_held_out] for order in shifted]))


def _settings(estimator, n_rows: int) -> CyclicSettings:
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = int(np.clip(2 ** round(np.log2(max(n_rows / 16, 1))), 32, 512))
    return CyclicSettings(
        max_iter=estimator.max_iter,
        batch_size=batch_size,
        learning_rate=estimator.learning_rate_init,
        weight_decay=estimator.weight_decay,
        clip_norm=5.0 * float(np.sqrt(estimator.codec_.n_modelled_)),
        n_iter_no_change=estimator.n_iter_no_change,
        tol=estimator.tol,
        n_threads=None,
    )


__all__ = [
    "ACTIVATIONS",
    "SynthesisCodec",
    "fit_balance",
    "fit_critic",
    "fit_generator",
    "on_device",
]
