"""Processes started from Python, on this machine."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from numbers import Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from .._arguments import check_count
from ..exceptions import WorkerLostError
from ..streaming import source_of
from .worker import BACKENDS, CALL, ERROR, TIMEOUT, WARNINGS

# Seconds between two looks at the processes.
PAUSE = 0.05
# What others than the first lost process have to say and to keep, they do in this time.
GRACE = 60.0
# The end of what a process wrote that an error shows.
TAIL = 2000


def fit(
    estimator, source, y=None, *, sample_weight=None, n_processes=2, n_shards=None,
    backend="auto", timeout=TIMEOUT,
):  # fmt: skip
    """Fit an estimator by several processes of this machine, each with a part of every batch.

    The rows are cut into shards, and each batch is made of rows of all of them in proportion to
    their size.  In a step each process writes the gradient of its rows, and one sum over all
    processes gives that of the batch, so that weights are those of one process up to rounding.
    The first process does all else: column statistics, the start, calibration and thresholds.

    Parameters
    ----------
    estimator : estimator
        Any estimator of skvae, or a pipeline with one; ``batch_size`` is that of all processes
        together.
    source : path, pyarrow.dataset.Dataset, array-like or DataFrame
        Rows, as ``estimator.fit`` takes them.
    y : array-like, default=None
        Targets, if ``estimator.fit`` takes any.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows.
    n_processes : int, default=2
        As many as there are idle cores or GPUs.
    n_shards : int, default=None
        Parts of the rows; None for one per process.  The same number gives the same result with
        fewer processes, up to rounding.
    backend : {"auto", "gloo", "nccl"}, default="auto"
        How gradients travel; ``"auto"`` is nccl where each process has a GPU of its own.
    timeout : float, default=300.0
        Seconds that a process waits for another one before it takes it for lost.

    Returns
    -------
    estimator : estimator
        The same object, fitted.

    Raises
    ------
    WorkerLostError
        If a process ends before its time.  With ``checkpoint="folder"`` of the estimator,
        another call goes on from where training was.
    ValueError
        If the loss is not a mean over rows: penalties that compare rows, codebooks, a capacity
        or free bits, whose batches cannot be parted; and whatever ``estimator.fit`` raises.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae import distributed
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=3, device="cpu", random_state=0)
    >>> distributed.fit(vae, X, n_processes=2).transform(X).shape
    (150, 2)

    References
    ----------
    Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020.
    """
    _check(n_processes, n_shards, backend, timeout)
    call = {"X": source, "y": y, "sample_weight": sample_weight}
    if isinstance(source, (str, os.PathLike)):
        call["X"] = os.path.abspath(source)
    elif isinstance(source, np.memmap):
        # A source names the file, where an array would be copied.
        call["X"] = source_of(source) or source
    with tempfile.TemporaryDirectory(prefix="skvae-") as name:
        folder = Path(name)
        joblib.dump(estimator, folder / "estimator.joblib")
        joblib.dump({k: v for k, v in call.items() if v is not None}, folder / CALL)
        arguments = ["--backend", backend, "--timeout", str(timeout)]
        if n_shards is not None:
            arguments += ["--n-shards", str(n_shards)]
        _run(folder, n_processes, arguments, timeout)
        for category, message in pickle.loads((folder / WARNINGS).read_bytes()):
            warnings.warn(message, category, stacklevel=2)
        fitted = joblib.load(folder / "fitted.joblib")
    vars(estimator).update(vars(fitted))
    return estimator


def _check(n_processes, n_shards, backend, timeout) -> None:
    check_count("skvae.distributed.fit", "n_processes", n_processes)
    if n_shards is not None:
        check_count("skvae.distributed.fit", "n_shards", n_shards)
    if backend not in BACKENDS:
        raise ValueError(
            f"skvae.distributed.fit expects backend to be one of {BACKENDS}, got {backend!r}."
        )
    if not isinstance(timeout, Real) or not float(timeout) > 0:
        raise ValueError(
            f"skvae.distributed.fit expects timeout to be a number of seconds, got {timeout!r}."
        )


def _run(folder: Path, n_processes: int, arguments: list[str], timeout: float) -> None:
    """Run the processes to their end, or end them all with the first that fails."""
    processes: list[subprocess.Popen] = []
    try:
        for rank in range(n_processes):
            processes.append(_started(folder, rank, n_processes, arguments))
        _wait(processes, min(timeout, GRACE))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    codes = [process.returncode for process in processes]
    if any(codes):
        raise _failure(folder, codes, [process.pid for process in processes])


def _started(folder: Path, rank: int, n: int, arguments: list[str]) -> subprocess.Popen:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
    environment = os.environ | {name: str(value) for name, value in here.items()}
    # The processes need skvae from wherever this one has it, and talk within the machine.
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environment.update(within_machine())
    command = [sys.executable, "-m", "skvae.distributed", "--report", str(folder)]
    for option, name in {"--estimator": "estimator.joblib", "--output": "fitted.joblib"}.items():
        command += [option, str(folder / name)]
    with open(folder / f"stderr-{rank}", "wb") as errors:
        return subprocess.Popen(
            [*command, *arguments], env=environment, stderr=errors, start_new_session=True
        )


def within_machine() -> dict[str, str]:
    """What gloo must find in the environment to talk within the machine, unless told otherwise."""
    try:
        names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    except (AttributeError, OSError):  # Systems that cannot tell.
        names = []
    key = "GLOO_SOCKET_IFNAME"
    return {key: os.environ.get(key, names[0])} if names else {}


def _wait(processes: list[subprocess.Popen], grace: float) -> None:
    """Wait for all to end, and once one has failed, so many seconds for the others."""
    until = None
    while any(process.poll() is None for process in processes):
        if until is None and any(process.returncode for process in processes):
            until = time.monotonic() + grace
        if until is not None and time.monotonic() > until:
            return
        time.sleep(PAUSE)


def _failure(folder: Path, codes: list[int], pids: list[int]) -> Exception:
    """The error that the processes ended with: the first that is no consequence of another."""
    errors: dict[int, Exception] = {}
    for rank in range(len(codes)):
        path = folder / ERROR.format(rank)
        if path.exists():
            errors[rank] = pickle.loads(path.read_bytes())
    for error in errors.values():
        if not isinstance(error, WorkerLostError):
            return error
    silent = [rank for rank, code in enumerate(codes) if code and rank not in errors]
    if not silent:
        return next(iter(errors.values()))
    rank = silent[0]
    tail = (folder / f"stderr-{rank}").read_text(errors="replace")[-TAIL:].strip()
    return WorkerLostError(
        f"skvae.distributed.fit lost process {rank} of {len(codes)} (pid {pids[rank]}), which "
        f"{_ending(codes[rank])}, and ended the others. A system that runs out of memory kills "
        "without a word: fewer processes need less. Call fit again: with checkpoint='folder' of "
        "the estimator it goes on where it was." + (f" The process wrote: {tail}" if tail else "")
    )


def _ending(code: int) -> Any:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
