"""What training recorded, and when each member had its best epoch."""

from __future__ import annotations

import copy

import numpy as np

from ..exceptions import DivergedError

# What an epoch changes, by the names of the attributes.
CHANGING = (
    "best_loss", "best_epoch", "n_iter", "improved", "stopped", "_reference", "_waited",
)  # fmt: skip


class History:
    """One record per epoch and the state of early stopping of each member.

    Parameters
    ----------
    n_members : int
        Members of the stack.
    n_iter_no_change : ndarray of int or int
        Epochs without improvement before a member stops.
    tol : ndarray or float
        Smallest improvement of the held-out loss that counts, nats per row.
    max_iter : ndarray of int or int
        Epochs at most.

    Attributes
    ----------
    stopped : ndarray of bool (members,)
        Which members are trained no more.
    improved : ndarray of bool (members,)
        Which members were at their best in the last epoch.
    errors : dict
        Why a member was given up.
    last_is_best : bool
        Whether the last epoch counts as the best, whatever the held-out losses.
    n_unjudged : float
        Epochs at the start of which each counts as the best, whatever the held-out losses.
    """

    last_is_best = False
    n_unjudged = 0.0

    def __init__(self, n_members: int, n_iter_no_change, tol, max_iter):
        self.n_iter_no_change, self.tol, self.max_iter = n_iter_no_change, tol, max_iter
        self.records: list[dict] = []
        self.interrupted = False
        self.optimizer_state: tuple[np.ndarray, ...] | None = None
        self.best_loss = np.full(n_members, np.inf)
        self.best_epoch = np.zeros(n_members, dtype=int)
        self.n_iter = np.zeros(n_members, dtype=int)
        self.improved = np.ones(n_members, dtype=bool)
        self.stopped = np.zeros(n_members, dtype=bool)
        self.errors: dict[int, Exception] = {}
        self._reference = np.full(n_members, np.inf)
        self._waited = np.zeros(n_members, dtype=int)

    @property
    def n_epochs(self) -> int:
        """Number of epochs recorded."""
        return len(self.records)

    @property
    def all_stopped(self) -> bool:
        """Whether every member has stopped."""
        return bool(self.stopped.all())

    def append(self, epoch: int, members: np.ndarray, terms: dict, held_out: dict | None) -> dict:
        """Add an epoch of these ``members``; the record has NaN for the others."""
        terms = {name: self._of_all(members, value) for name, value in terms.items()}
        record = {"epoch": epoch + 1, **terms}
        self.n_iter[~self.stopped] = epoch + 1
        if held_out is not None:
            held_out = {name: self._of_all(members, value) for name, value in held_out.items()}
            record |= {f"validation_{name}": value for name, value in held_out.items()}
        judged = not self.last_is_best and epoch >= self.n_unjudged
        if held_out is not None and judged:
            self._judge(epoch, held_out["loss"])
        else:
            loss = -terms["bound"] if held_out is None else held_out["loss"]
            self.improved = ~self.stopped
            self.best_epoch[self.improved] = epoch
            self.best_loss = np.where(self.improved, loss, self.best_loss)
        self.stopped = self.stopped | (epoch + 1 >= self.max_iter)
        self.records.append(record)
        return record

    def select(self, members: np.ndarray) -> History:
        """The history of these members alone."""
        chosen = copy.copy(self)
        for name in ("best_loss", "best_epoch", "n_iter", "improved", "stopped"):
            setattr(chosen, name, getattr(self, name)[members])
        last = int(chosen.n_iter.max())
        chosen.records = [
            {name: v if name == "epoch" else v[members] for name, v in record.items()}
            for record in self.records[:last]
        ]
        chosen.errors = {i: self.errors[m] for i, m in enumerate(members) if m in self.errors}
        return chosen

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays."""
        state = {name: getattr(self, name) for name in CHANGING}
        names = self.records[0] if self.records else ()
        state |= {f"record_{name}": np.stack([r[name] for r in self.records]) for name in names}
        failed = np.array(list(self.errors), dtype=int)
        messages = np.array([str(error) for error in self.errors.values()], dtype=str)
        return state | {"failed": failed, "messages": messages}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a state of a history of as many members."""
        for name in CHANGING:
            setattr(self, name, state[name])
        columns = {
            name.removeprefix("record_"): value
            for name, value in state.items()
            if name.startswith("record_")
        }
        self.records = [
            {name: int(v) if name == "epoch" else v for name, v in zip(columns, values)}
            for values in zip(*columns.values())
        ]
        pairs = zip(state["failed"].tolist(), state["messages"].tolist())
        self.errors = {member: DivergedError(message) for member, message in pairs}

    def give_up(self, members: np.ndarray, error: Exception) -> None:
        """Stop these members for this reason."""
        self.stopped[members], self.improved[members] = True, False
        self.errors |= {int(member): error for member in members}

    def _of_all(self, members: np.ndarray, values: np.ndarray) -> np.ndarray:
        if len(members) == len(self.stopped):
            return values
        result = np.full(len(self.stopped), np.nan)
        result[members] = values
        return result

    def member(self, index: int, earlier: dict | None = None) -> dict[str, list[float]]:
        """The records of one member as columns, up to the epoch at which it stopped.

        They go on from ``earlier`` columns, with NaN where only one of the two has a term.
        """
        records = self.records[: self.n_iter[index]]
        if not records:  # interrupted in the first epoch
            return dict(earlier or {})
        columns = {
            name: [float(r[name]) if name == "epoch" else float(r[name][index]) for r in records]
            for name in (records[0] if records else ())
        }
        if not earlier:
            return columns
        n_before, n_now = len(earlier["epoch"]), len(records)
        columns["epoch"] = [earlier["epoch"][-1] + epoch for epoch in columns["epoch"]]
        blank = float("nan")
        return {
            name: earlier.get(name, [blank] * n_before) + columns.get(name, [blank] * n_now)
            for name in {**earlier, **columns}
        }

    def _judge(self, epoch: int, loss: np.ndarray) -> None:
        if epoch < self.n_unjudged + 1:
            self.best_loss = np.full_like(self.best_loss, np.inf)
        with np.errstate(invalid="ignore"):
            self.improved = (loss < self.best_loss) & ~self.stopped
            enough = (loss < self._reference - self.tol) & ~self.stopped
        self.best_loss = np.where(self.improved, loss, self.best_loss)
        self.best_epoch = np.where(self.improved, epoch, self.best_epoch)
        self._reference = np.where(enough, loss, self._reference)
        self._waited = np.where(enough, 0, self._waited + 1)
        self.stopped = self.stopped | (self._waited >= self.n_iter_no_change)
