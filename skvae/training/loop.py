"""The training loop: one for a single model, an ensemble and a search."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._memory import in_training
from .._pass import Batch, Pass
from .._process import arithmetic
from ..exceptions import DivergedError
from ..noise import Noise
from .checkpoint import Orders, Part, flattened, load_untrained, next_part, parted, untrained
from .closed_form import GaussianStep
from .feeding import Resident, Streamed
from .flat import FlatAdam
from .group import current_group
from .history import History
from .rows import PART_NUMBERS, Rows, split
from .settings import Settings, StackSettings
from .terms import TERMS, Terms

# Rows are gathered for as many batches at once as fit in this many numbers.
GATHERED_NUMBERS = 1 << 19
VALIDATION_ROWS = 2048
# Members that stopped early are dropped once they are this share of the stack.
COMPACT_SHARE = 0.25


def train(
    vae,
    objective,
    rows: Rows,
    train_index: Tensor,
    validation_index: Tensor | None,
    noise: Noise,
    settings: Settings | StackSettings,
    on_epoch: Callable[[dict], bool] = lambda record: False,
    optimizer_state: tuple | None = None,
    isolate: bool = False,
    stream=None,
    group=None,
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
    settings : Settings or StackSettings
        How to train all members, or each.
    on_epoch : callable
        Called with the record of each epoch; training stops when it gives True.
    optimizer_state : tuple, default=None
        That of an earlier history, to go on where it ended.
    isolate : bool, default=False
        Whether a member that diverges stops alone, its error in ``History.errors``.
    stream : Stream, default=None
        Where the rows of the epochs come from instead of ``rows``, which are a sample of them.
    group : Lanes, default=None
        Whom the work is shared with; None for that of the context, or nobody.

    Returns
    -------
    History
        Every term of each epoch and member, in nats per row.

    Raises
    ------
    DivergedError
        If the loss of a member is not a finite number.
    """
    if isinstance(settings, Settings):
        settings = StackSettings([settings] * noise.n_members)
    # A loss that is no longer finite is reported by its own error, not by a warning per step.
    process = arithmetic(settings.n_threads, settings.precision)
    group = current_group() if group is None else group
    begin = _Run if group is None else group.run
    with process, in_training(settings.batch_size), np.errstate(all="ignore"):
        how = settings, stream, isolate, optimizer_state
        run = begin(vae, objective, rows, train_index, validation_index, noise, *how)
        run.part = next_part()
        return run.fit(on_epoch)


class _Run:
    # Where the state of the run is kept.
    part: Part | None = None

    def __init__(
        self, vae, objective, rows, train_index, validation_index, noise, settings, stream=None,
        isolate=False, optimizer_state=None,
    ):  # fmt: skip
        self.vae, self.objective, self.rows = vae, objective, rows
        self.train_index, self.noise, self.settings = train_index, noise, settings
        self.isolate = isolate
        self.optimizer = FlatAdam(vae, settings.weight_decay, settings.clip_norm)
        self.optimizer.load_state(optimizer_state)
        # The whole stack is put together again at the end, whoever stopped on the way.
        self.whole = self.optimizer
        self.best = self.optimizer.flat.clone()
        n_members = len(train_index)
        self.members = np.arange(n_members)
        self.gaussian = GaussianStep.of(vae, objective, self.optimizer)
        resident = Resident(rows, train_index)
        self.feed: Any = resident if stream is None else Streamed(stream, n_members)
        self.batch_sizes = even_sizes(self.feed.n_rows, settings.batch_size)
        self.terms: Terms | None = None
        self.epoch, self.orders = 0, Orders(noise)
        # The orders of an epoch that was not done when the run was killed.
        self.earlier: Orders | None = None
        self.validation: list[tuple[Tensor, _Replay]] = []
        self.log_unit = rows.mean_log_unit(train_index)
        self.validation_log_unit = self.log_unit
        if validation_index is not None:
            self.validation = self._validation_batches(validation_index)
            self.validation_log_unit = rows.mean_log_unit(validation_index)
        limits = settings.n_iter_no_change, settings.tol, settings.max_iter
        self.history = History(n_members, *limits)
        penalty = getattr(vae, "penalty", None)
        # Against a critic that learns along, losses of different epochs do not compare.
        self.history.n_unjudged = objective.n_unjudged
        self.history.last_is_best = penalty is not None and penalty.has_critic

    def fit(self, on_epoch: Callable[[dict], bool]) -> History:
        self.vae.train()
        try:
            if self.part is None or not self.part.resume(self):
                self._train(on_epoch)
                if self.part is not None:
                    self.part.save(self, ended=True)
        except KeyboardInterrupt:
            self.history.interrupted = True
            if self.part is not None:
                self.part.leave()
        finally:
            self._finish()
        return self.history

    def _train(self, on_epoch: Callable[[dict], bool]) -> None:
        for epoch in range(self.epoch, self.settings.longest):
            terms = self._train_epoch(epoch)
            held_out = self._validate() if self.validation else None
            record = self.history.append(epoch, self.members, terms, held_out)
            self.epoch, self.terms = epoch + 1, None
            self._check_finite(epoch, terms["loss"] + (held_out or {}).get("loss", 0.0))
            self._keep(self.history.improved[self.members])
            if on_epoch(record) or self.history.all_stopped:
                break
            self._compact()
        if not self.validation:
            self._check_finite(self.epoch - 1, self._last_bound())

    def _train_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        n = self.feed.n_rows
        terms = self.terms = self.terms or Terms(self.own_sizes, n)
        done = sum(self.batch_sizes[: terms.n_steps])
        # Closed, so that a step that fails leaves no thread that reads.
        with closing(self._batches(epoch)) as batches:
            sized = zip(batches, self.batch_sizes)
            for batch, size in islice(sized, terms.n_steps, None):
                progress = epoch + done / n
                terms.append(self._step(batch, progress))
                self.optimizer.step(self.settings.rates(progress))
                done += size
                if self.part is not None and self.part.is_due():
                    self.part.save(self)
        return self._means(terms, self.log_unit)

    def _step(self, batch: Batch, progress: float) -> Sequence:
        """Write the gradients of a batch; give its terms."""
        max_iter = self.settings.longest
        if self.gaussian is not None:
            weight = self.objective.weight_at(progress, max_iter)
            return self.gaussian(batch, self.noise, weight)
        step = self.vae(batch, self.noise, self.objective.n_draws, self.optimizer.by_hand)
        loss = self.objective(step, progress, max_iter)
        penalty = getattr(self.vae, "penalty", None)
        if penalty is None:
            self.optimizer.differentiate(loss.sum())
            return self._terms(step, loss)
        term, apart = penalty(step, self.noise), penalty.critic_loss(step, self.noise)
        # Neither the model's loss nor the critic's reaches the weights that the other trains.
        minimised = loss + term if apart is None else loss + term + apart
        self.optimizer.differentiate(minimised.sum())
        return self._terms(step, loss, term)

    @property
    def own_sizes(self) -> list[int]:
        """Rows of each batch of an epoch that this process trains on."""
        return self.batch_sizes

    def _batches(self, epoch: int) -> Generator[Batch, None, None]:
        self.orders, self.earlier = self.earlier or Orders(self.noise), None
        return self._batches_of(self.feed, self.orders, epoch, self.batch_sizes)

    @staticmethod
    def _batches_of(feed, noise, epoch: int, all_sizes: list[int]) -> Generator[Batch, None, None]:
        for rows, index, sizes in feed.chunks(epoch, all_sizes):
            n_members, n = index.shape
            order = index.gather(1, noise.permutation(n))
            per_row = n_members * (rows.inputs.shape[1] + rows.values.shape[1])
            at_once = max(GATHERED_NUMBERS // (per_row * max(sizes[0], 1)), 1)
            start = 0
            for first in range(0, len(sizes), at_once):
                together = list(sizes[first : first + at_once])
                stop = start + sum(together)
                yield from split(rows.take(order[:, start:stop]), together)
                start = stop

    @property
    def _judged_rows(self) -> int:
        """How many rows are judged at once, whoever else is in the stack."""
        decoded = self.objective.n_draws * self.rows.values.shape[1]
        return min(VALIDATION_ROWS, max(PART_NUMBERS // decoded, 1))

    def _validation_batches(self, index: Tensor) -> list[tuple[Tensor, _Replay]]:
        n_rows = self._judged_rows
        draws = self.noise.normal(self.objective.n_draws, n_rows, self.vae.n_latents).clone()
        return [(part, _Replay(draws)) for part in index.split(n_rows, 1)]

    @torch.no_grad()
    def _validate(self) -> dict[str, np.ndarray]:
        self.vae.view, view = None, self.vae.view
        penalty = getattr(self.vae, "penalty", None)
        judged = self._judged()
        n = sum(index.shape[1] for index, _ in self.validation)
        terms = Terms([index.shape[1] for index, _ in judged], n)
        try:
            for index, draws in judged:
                step = self.vae(self.rows.take(index), draws, self.objective.n_draws)
                loss, term = self.objective.judged(step), None
                if penalty is not None:
                    # The same draws in every epoch, so that epochs compare.
                    term = penalty.judged(step, Noise([0] * len(loss), loss.device))
                terms.append(self._terms(step, loss, term))
        finally:
            self.vae.view = view
        return self._means(terms, self.validation_log_unit)

    def _judged(self) -> list[tuple[Tensor, _Replay]]:
        """What of the rows held out this process judges."""
        return self.validation

    def _means(self, terms: Terms, log_unit: np.ndarray) -> dict[str, np.ndarray]:
        """Means over all rows of each term, in original units."""
        sums = self._over_all(terms.sums(len(self.members)))
        return {name: mean + sign * log_unit for mean, (name, sign) in zip(sums, TERMS.items())}

    def _over_all(self, sums: np.ndarray) -> np.ndarray:
        """Sums over all who share the training."""
        return sums

    @torch.no_grad()
    def _terms(self, step: Pass, loss: Tensor, term: Tensor | None = None) -> list[Tensor]:
        bound = self.objective.reported(step, loss)
        loss = loss if term is None else loss + term
        kl = step.mean_kl.detach().sum(-1)
        return [bound, step.mean_log_likelihood.detach(), kl, loss.detach()]

    def _check_finite(self, epoch: int, bounds: np.ndarray) -> None:
        lost = np.flatnonzero(~np.isfinite(bounds))
        if not len(lost):
            return
        settings = self.settings.members[lost[0]]
        error = DivergedError(
            f"Training diverged in epoch {epoch + 1}: the bound is {bounds[lost].tolist()} nats "
            f"per row. Lower learning_rate_init (now {settings.learning_rate}), set clip_norm "
            f"(now {settings.clip_norm}), or look for extreme values in X."
        )
        if not self.isolate:
            raise error
        self.history.give_up(self.members[lost], error)

    @torch.no_grad()
    def _last_bound(self) -> np.ndarray:
        """The bound after the last step, which no epoch has seen."""
        batch = self.rows.take(self.train_index[:, : self._judged_rows])
        step = self.vae(batch, self.noise, self.objective.n_draws)
        return self.objective.mean_bound(step).cpu().numpy()

    def _keep(self, chosen: np.ndarray) -> None:
        """Keep the present weights of these of the members that are trained still."""
        if chosen.all() and len(chosen) == len(self.best):
            self.best.copy_(self.optimizer.flat)
        elif chosen.any():
            device = self.best.device
            here, there = np.flatnonzero(chosen), self.members[chosen]
            flat = self.optimizer.flat[torch.as_tensor(here, device=device)]
            self.best[torch.as_tensor(there, device=device)] = flat

    def _compact(self) -> None:
        """Go on with the members that have not stopped."""
        going = ~self.history.stopped[self.members]
        if going.sum() > (1.0 - COMPACT_SHARE) * len(going):
            return
        self._go_on_with(np.flatnonzero(going))

    def _go_on_with(self, kept: np.ndarray) -> None:
        index = torch.as_tensor(kept, device=self.best.device)
        before = self.optimizer
        self.vae = copy.deepcopy(self.vae)
        self.vae.select(index)
        self.members, self.settings = self.members[kept], self.settings.select(kept)
        self.objective = copy.deepcopy(self.objective)
        self.objective.select(index)
        self.optimizer = before.select(self.vae, index, self.settings)
        self.gaussian = GaussianStep.of(self.vae, self.objective, self.optimizer)
        self.noise = self.noise.select(kept)
        self.train_index, self.rows = self.train_index[index], self.rows.select(index)
        self.feed = self.feed.select(index)
        self.log_unit = self.log_unit[kept]
        self.validation_log_unit = self.validation_log_unit[kept]
        self.validation = [
            (judged[index], _Replay(replay.draws[index])) for judged, replay in self.validation
        ]

    def state(self) -> dict[str, np.ndarray]:
        """All that steps change, as arrays."""
        whole = self.whole.module
        parts = {
            "run": {
                "epoch": np.array(self.epoch),
                "members": self.members,
                "best": self.best.cpu().numpy(),
                "n_orders": np.array(self.orders.n_drawn),
                "place": self.orders.place,
            },
            "optimizer": self.optimizer.whole_state(),
            "history": self.history.state(),
            "noise": self.noise.state(),
            "terms": {} if self.terms is None else self.terms.state(),
            "model": untrained(self.vae),
            "objective": untrained(self.objective),
            # It is not trained any more once members have left it.
            "whole": {} if whole is self.vae else untrained(whole),
        }
        return flattened(parts)

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a state of a run that was made in the same way."""
        parts = parted(state)
        run = parts["run"]
        # The whole first: the members that go on are copied from it.
        load_untrained(self.whole.module, parts["whole"])
        if len(run["members"]) < len(self.members):
            self._go_on_with(run["members"])
        self.epoch = int(run["epoch"])
        self.best.copy_(torch.as_tensor(run["best"]))
        self.optimizer.load_whole_state(parts["optimizer"])
        self.history.load_state(parts["history"])
        self.noise.load_state(parts["noise"])
        if parts["terms"]:
            self.earlier = Orders(self.noise, int(run["n_orders"]), run["place"])
            self.terms = Terms(self.own_sizes, self.feed.n_rows)
            self.terms.load_state(parts["terms"], self.best.device)
        load_untrained(self.vae, parts["model"])
        load_untrained(self.objective, parts["objective"])

    def _finish(self) -> None:
        if not self.validation or not self.history.n_epochs:
            self._keep(~self.history.stopped[self.members])
        self.whole.flat.copy_(self.best)
        self.history.optimizer_state = self.optimizer.state()
        self.whole.release()
        self.whole.module.eval()


def even_sizes(n_rows: int, batch_size: int) -> list[int]:
    """Sizes of the batches of an epoch, which differ by one row at most."""
    n_steps = max(round(n_rows / batch_size), 1)
    size, more = divmod(n_rows, n_steps)
    return [size + 1] * more + [size] * (n_steps - more)


class _Replay:
    """Gives the same normal numbers every time it is asked, so that epochs compare."""

    def __init__(self, draws: Tensor):
        self.draws = draws

    def normal(self, n_draws: int, n_rows: int, n_components: int) -> Tensor:
        return self.draws[:, :n_draws, :n_rows, :n_components]
