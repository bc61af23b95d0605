"""The training loop: one for a single model, an ensemble and a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch, Pass
from .._process import arithmetic
from ..exceptions import DivergedError
from ..noise import Noise
from .closed_form import GaussianStep
from .flat import FlatAdam
from .history import History
from .rows import Rows, split

# Rows are gathered for as many batches at once as fit in this many numbers.
GATHERED_NUMBERS = 1 << 19
VALIDATION_ROWS = 2048


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    max_iter : int
        Epochs at most.
    batch_size : int
        Rows per step; the batches of an epoch differ by one row at most.
    learning_rate : float
        Step size at the start.
    schedule : {"cosine", "constant"}
        How the step size changes over ``max_iter`` epochs.
    weight_decay : float
        Decoupled decay of the weight matrices.
    clip_norm : float or None
        Largest norm of a gradient.
    n_iter_no_change : int
        Epochs without improvement of the held-out bound before training stops.
    tol : float
        Smallest improvement that counts, nats per row.
    n_threads : int or None
        Threads for the arithmetic; None leaves torch's setting alone.
    """

    max_iter: int
    batch_size: int
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip_norm: float | None = None
    n_iter_no_change: int = 10
    tol: float = 1e-4
    n_threads: int | None = 1

    def rate(self, progress: float) -> float:
        """Step size when this share of ``max_iter`` epochs is done."""
        return self.learning_rate * SCHEDULES[self.schedule](progress)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))),
    "constant": lambda progress: 1.0,
}


def train(
    vae,
    objective,
    rows: Rows,
    train_index: Tensor,
    validation_index: Tensor | None,
    noise: Noise,
    settings: Settings,
    on_epoch: Callable[[dict], bool] = lambda record: False,
    optimizer_state: tuple | None = None,
) -> History:
    """Train every member of ``vae`` in place and leave each at its best weights.

    Parameters
    ----------
    vae : VAE
        Built, one member per generator of ``noise``.
    objective : Objective
        What is maximised.
    rows : Rows
        The resident table.
    train_index, validation_index : Tensor (members, rows)
        Which rows each member trains on and is judged by.  Without the latter there is no
        early stopping and the last weights are kept.
    noise : Noise
        One generator per member.
    settings : Settings
        How to train.
    on_epoch : callable
        Called with the record of each epoch; training stops when it gives True.
    optimizer_state : tuple, default=None
        That of an earlier history, to go on where it ended.

    Returns
    -------
    History
        Every term of each epoch and member, in nats per row.

    Raises
    ------
    DivergedError
        If the loss of a member is not a finite number.
    """
    with arithmetic(settings.n_threads):
        run = _Run(vae, objective, rows, train_index, validation_index, noise, settings)
        run.optimizer.load_state(optimizer_state)
        return run.fit(on_epoch)


class _Run:
    def __init__(self, vae, objective, rows, train_index, validation_index, noise, settings):
        self.vae, self.objective, self.rows = vae, objective, rows
        self.train_index, self.noise, self.settings = train_index, noise, settings
        self.optimizer = FlatAdam(vae, settings.weight_decay, settings.clip_norm)
        self.gaussian = GaussianStep.of(vae, objective, self.optimizer)
        n_members, n = train_index.shape
        n_steps = max(round(n / settings.batch_size), 1)
        self.batch_sizes = [len(part) for part in np.array_split(np.empty(n), n_steps)]
        self.validation: list[tuple[Batch, _Replay]] = []
        if validation_index is not None:
            self.validation = self._validation_batches(validation_index)
        self.log_unit = rows.mean_log_unit(train_index)
        if validation_index is not None:
            self.validation_log_unit = rows.mean_log_unit(validation_index)
        self.history = History(n_members, settings.n_iter_no_change, settings.tol)
        self.best = self.optimizer.flat.clone()

    def fit(self, on_epoch: Callable[[dict], bool]) -> History:
        self.vae.train()
        try:
            for epoch in range(self.settings.max_iter):
                terms = self._train_epoch(epoch)
                held_out = self._validate() if self.validation else None
                record = self.history.append(epoch, terms, held_out)
                self._check_finite(epoch, terms["loss"] + (held_out or {}).get("bound", 0.0))
                self._keep_best()
                if on_epoch(record) or self.history.all_stopped:
                    break
            if not self.validation:
                self._check_finite(epoch, self._last_bound())
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            if self.validation and self.history.n_epochs:
                self.optimizer.flat.copy_(self.best)
            self.history.optimizer_state = self.optimizer.state()
            self.optimizer.release()
            self.vae.eval()
        return self.history

    def _train_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        terms: list[Tensor] = []
        n = self.train_index.shape[1]
        done = 0
        for batch, size in zip(self._batches(), self.batch_sizes):
            progress = epoch + done / n
            terms += self._step(batch, progress)
            self.optimizer.step(self.settings.rate(progress / self.settings.max_iter))
            done += size
        return _summed(terms, self.batch_sizes, self.log_unit)

    def _step(self, batch: Batch, progress: float) -> list[Tensor]:
        """Write the gradients of a batch; give its terms."""
        max_iter = self.settings.max_iter
        if self.gaussian is not None:
            weight = self.objective.weight_at(progress, max_iter)
            return self.gaussian(batch, self.noise, weight)
        step = self.vae(batch, self.noise, self.objective.n_draws, self.optimizer.by_hand)
        loss = self.objective(step, progress, max_iter)
        self.optimizer.differentiate(loss.sum())
        return self._terms(step, loss)

    def _batches(self) -> Iterator[Batch]:
        n_members, n = self.train_index.shape
        order = self.train_index.gather(1, self.noise.permutation(n))
        per_row = n_members * (self.rows.inputs.shape[1] + self.rows.values.shape[1])
        at_once = max(GATHERED_NUMBERS // (per_row * self.batch_sizes[0]), 1)
        start = 0
        for first in range(0, len(self.batch_sizes), at_once):
            sizes = self.batch_sizes[first : first + at_once]
            stop = start + sum(sizes)
            yield from split(self.rows.take(order[:, start:stop]), sizes)
            start = stop

    def _validation_batches(self, index: Tensor) -> list[tuple[Batch, _Replay]]:
        shape = (self.objective.n_draws, VALIDATION_ROWS, self.vae.n_latents)
        draws = self.noise.normal(*shape).clone()
        return [(self.rows.take(part), _Replay(draws)) for part in index.split(VALIDATION_ROWS, 1)]

    @torch.no_grad()
    def _validate(self) -> dict[str, np.ndarray]:
        self.vae.view, view = None, self.vae.view
        terms: list[Tensor] = []
        try:
            for batch, draws in self.validation:
                step = self.vae(batch, draws, self.objective.n_draws)
                terms += self._terms(step, -self.objective.mean_bound(step))
        finally:
            self.vae.view = view
        sizes = [batch.values.shape[2] for batch, _ in self.validation]
        means = _summed(terms, sizes, self.validation_log_unit)
        del means["loss"]
        return means

    @torch.no_grad()
    def _terms(self, step: Pass, loss: Tensor) -> list[Tensor]:
        bound = self.objective.reported(step, loss)
        return [bound, step.mean_log_likelihood.detach(), step.mean_kl.detach(), loss.detach()]

    def _check_finite(self, epoch: int, bounds: np.ndarray) -> None:
        if np.isfinite(bounds).all():
            return
        raise DivergedError(
            f"Training diverged in epoch {epoch + 1}: the bound is {bounds.tolist()} nats per "
            f"row. Lower learning_rate_init (now {self.settings.learning_rate}), set clip_norm "
            f"(now {self.settings.clip_norm}), or look for extreme values in X."
        )

    @torch.no_grad()
    def _last_bound(self) -> np.ndarray:
        """The bound after the last step, which no epoch has seen."""
        batch = self.rows.take(self.train_index[:, :VALIDATION_ROWS])
        step = self.vae(batch, self.noise, self.objective.n_draws)
        return self.objective.mean_bound(step).cpu().numpy()

    def _keep_best(self) -> None:
        improved = self.history.improved
        if improved.all():
            self.best.copy_(self.optimizer.flat)
        elif improved.any():
            members = torch.as_tensor(np.flatnonzero(improved), device=self.best.device)
            self.best[members] = self.optimizer.flat[members]


# What the change from standardised to original units adds to each term.
TERMS = {"bound": -1.0, "log_likelihood": -1.0, "kl": 0.0, "loss": 1.0}


def _summed(terms: list[Tensor], sizes: list[int], log_unit: np.ndarray) -> dict[str, np.ndarray]:
    """Means over all rows of the terms of each batch; the one time an epoch waits for them."""
    shares = torch.tensor(sizes, dtype=torch.float32, device=terms[0].device) / sum(sizes)
    means = {}
    for i, (name, sign) in enumerate(TERMS.items()):
        stacked = torch.stack(terms[i :: len(TERMS)])
        stacked = stacked.sum(-1) if stacked.ndim == 3 else stacked
        means[name] = (shares[:, None] * stacked).sum(0).cpu().numpy() + sign * log_unit
    return means


class _Replay:
    """Gives the same normal numbers every time it is asked, so that epochs compare."""

    def __init__(self, draws: Tensor):
        self.draws = draws

    def normal(self, n_draws: int, n_rows: int, n_components: int) -> Tensor:
        return self.draws[:, :n_draws, :n_rows, :n_components]
