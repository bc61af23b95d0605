"""What is told while a model trains: the line that verbose=1 prints, and callbacks."""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np

from ._sklearn_compat import FitProgress
from ._warning import level_of_caller


class EpochProgress:
    """What follows the training of an estimator epoch by epoch: its line and its callbacks.

    Parameters
    ----------
    estimator : estimator
    max_iter : int
        Epochs at most.
    X : array-like or None
        The table, as callbacks may ask for it.
    """

    def __init__(self, estimator, max_iter: int, X):
        self.max_iter = max_iter
        self.callbacks = FitProgress(estimator, max_iter, X=X)
        self.line = ProgressLine(type(estimator).__name__, max_iter, estimator.verbose)

    def __call__(self, record: dict) -> bool:
        """Pass an epoch on; True when a callback wants training to stop."""
        self.line(record)
        return self.callbacks.end_epoch()

    def end(self, history) -> None:
        """End the fit, and warn if it was interrupted."""
        self.line.end()
        self.callbacks.end()
        if history.interrupted:
            warnings.warn(
                f"Training was interrupted in epoch {history.n_epochs + 1} of {self.max_iter}; "
                "the best model so far is kept.",
                stacklevel=level_of_caller(),
            )


class ProgressLine:
    """Prints the epoch, the bounds and the time: one line that is rewritten on a terminal.

    Parameters
    ----------
    name : str
        Who is training.
    max_iter : int
        Number of epochs at most.
    verbose : int
        0 prints nothing; 1 about ten lines a fit where the output is not a terminal; 2 one
        line an epoch.
    """

    def __init__(self, name: str, max_iter: int, verbose: int):
        self.name, self.max_iter, self.verbose = name, max_iter, int(verbose)
        self.rewrite = self.verbose == 1 and sys.stdout.isatty()
        self.every = 1 if self.rewrite or self.verbose > 1 else max(max_iter // 10, 1)
        self.started = time.perf_counter()
        self.last = self.printed = ""

    def __call__(self, record: dict) -> None:
        """Print this epoch if it is its turn."""
        if not self.verbose:
            return
        bound = np.nanmean(record["bound"])
        self.last = f"[{self.name}] epoch {record['epoch']:>4}/{self.max_iter}  train {bound:.3f}"
        if "validation_bound" in record:
            self.last += f"  held out {np.nanmean(record['validation_bound']):.3f}"
        self.last += f" nats/row  {time.perf_counter() - self.started:.1f} s"
        if record["epoch"] % self.every == 0 or record["epoch"] == 1:
            self._print()

    def end(self) -> None:
        """Print the last epoch if it was not, and leave the line."""
        if self.verbose and self.last != self.printed:
            self._print()
        if self.rewrite and self.printed:
            print(flush=True)

    def _print(self) -> None:
        self.printed = self.last
        if self.rewrite:
            print(f"\r{self.last}", end="", flush=True)
        else:
            print(self.last, flush=True)


class RowsProgress:
    """A bar of rows that are done: that of ``rich`` where it is there, else a line.

    Parameters
    ----------
    name : str
        What is done.
    n_rows : int
    verbose : int
        0 shows nothing.
    """

    def __init__(self, name: str, n_rows: int, verbose: int):
        self.name, self.n_rows, self.verbose, self.done = name, n_rows, verbose, 0
        self.started = time.perf_counter()
        self.bar = _rich_bar() if verbose else None
        self.task = None if self.bar is None else self.bar.add_task(name, total=n_rows)

    def advance(self, n_rows: int) -> None:
        """Take note of rows that are done."""
        self.done = min(self.done + n_rows, self.n_rows)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)
        elif self.verbose:
            seconds = time.perf_counter() - self.started
            print(f"{self.name}: {self.done:,} of {self.n_rows:,}  {seconds:.1f} s", flush=True)

    def __enter__(self) -> RowsProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        if self.bar is not None:
            self.bar.stop()


def _rich_bar():
    try:
        from rich import progress
    except ImportError:
        return None
    columns = progress.Progress.get_default_columns()
    return progress.Progress(*columns, progress.MofNCompleteColumn())
