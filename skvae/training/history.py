"""What training recorded, and when each member had its best epoch."""

from __future__ import annotations

import numpy as np


class History:
    """One record per epoch and the state of early stopping of each member.

    Parameters
    ----------
    n_members : int
        Members of the stack.
    n_iter_no_change : int
        Epochs without improvement before a member stops.
    tol : float
        Smallest improvement of the held-out loss that counts, nats per row.
    """

    def __init__(self, n_members: int, n_iter_no_change: int, tol: float):
        self.n_iter_no_change, self.tol = n_iter_no_change, tol
        self.records: list[dict[str, np.ndarray]] = []
        self.interrupted = False
        self.optimizer_state: tuple[np.ndarray, ...] | None = None
        self.best_loss = np.full(n_members, np.inf)
        self.best_epoch = np.zeros(n_members, dtype=int)
        self.n_iter = np.zeros(n_members, dtype=int)
        self.improved = np.ones(n_members, dtype=bool)
        self._reference = np.full(n_members, np.inf)
        self._waited = np.zeros(n_members, dtype=int)
        self._stopped = np.zeros(n_members, dtype=bool)

    @property
    def n_epochs(self) -> int:
        """Number of epochs recorded."""
        return len(self.records)

    @property
    def all_stopped(self) -> bool:
        """Whether every member has stopped improving."""
        return bool(self._stopped.all())

    def append(self, epoch: int, terms: dict, held_out: dict | None) -> dict:
        """Add an epoch; ``improved`` then says which members are at their best."""
        record = {"epoch": epoch + 1, **terms}
        self.n_iter[~self._stopped] = epoch + 1
        if held_out is not None:
            record |= {f"validation_{name}": value for name, value in held_out.items()}
            self._judge(epoch, -held_out["bound"])
        else:
            self.improved[:] = True
            self.best_epoch[:] = epoch
            self.best_loss = -np.asarray(terms["bound"], dtype=float)
        self.records.append(record)
        return record

    def member(self, index: int, earlier: dict | None = None) -> dict[str, list[float]]:
        """The records of one member as columns, up to the epoch at which it stopped.

        They go on from ``earlier`` columns, with NaN where only one of the two has a term.
        """
        records = self.records[: self.n_iter[index]]
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
        with np.errstate(invalid="ignore"):
            self.improved = (loss < self.best_loss) & ~self._stopped
            enough = (loss < self._reference - self.tol) & ~self._stopped
        self.best_loss = np.where(self.improved, loss, self.best_loss)
        self.best_epoch = np.where(self.improved, epoch, self.best_epoch)
        self._reference = np.where(enough, loss, self._reference)
        self._waited = np.where(enough, 0, self._waited + 1)
        self._stopped |= self._waited >= self.n_iter_no_change
