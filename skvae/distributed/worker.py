"""One of the processes that train together: what ``python -m skvae.distributed`` runs."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch.distributed as dist

from .._files import replacing
from ..streaming.source import ArraySource
from .group import Group, joined_group

TIMEOUT = 300.0
BACKENDS = ["auto", "gloo", "nccl"]
# Names of files between the launcher and the processes.
CALL, WARNINGS, ERROR = "call.joblib", "warnings.pickle", "error-{}.pickle"


def parser() -> argparse.ArgumentParser:
    """Arguments of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m torch.distributed.run ... -m skvae.distributed",
        description="Fit an estimator by several processes, which torchrun starts.",
        epilog="Loading a .joblib or .pickle file runs code that it contains: give your own only.",
    )
    add = found.add_argument
    add("--estimator", required=True, help="file of the estimator: .joblib, .pickle or .skops")
    add("--source", help="Parquet file or folder, .npy file, or .joblib file of a table")
    add("--output", required=True, help="file of the fitted estimator: .joblib or .skops")
    add("--n-shards", type=int, help="parts of every batch; as many as processes if not given")
    add("--backend", default="auto", choices=BACKENDS)
    add("--timeout", type=float, default=TIMEOUT, help="seconds to wait for another process")
    add("--report", help=argparse.SUPPRESS)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Take part in a fit, as the environment variables of torchrun say.

    The first process loads the estimator, fits it and saves it; the others train along.
    Loading an estimator by joblib or pickle runs code that the file contains; of a ``.skops``
    file only types of skvae, scikit-learn and NumPy are built.

    Parameters
    ----------
    argv : sequence of str, default=None
        The command line, if not that of the process.

    Raises
    ------
    WorkerLostError
        If another process ends before its time.
    """
    arguments = parser().parse_args(argv)
    if arguments.source is None and arguments.report is None:
        parser().error("the following arguments are required: --source")
    rank = int(os.environ.get("RANK", 0))
    try:
        with _group(arguments) as group:
            if group.rank == 0:
                _lead(group, arguments)
            else:
                group.follow()
    except Exception as error:
        if arguments.report is None:
            raise
        _report(Path(arguments.report, ERROR.format(rank)), error)
        raise SystemExit(1) from error


def _group(arguments):
    if "RANK" not in os.environ:
        raise ValueError(
            "skvae.distributed expects to be started by python -m torch.distributed.run, which "
            "says how many processes there are. From Python, call skvae.distributed.fit."
        )
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    limit = timedelta(seconds=arguments.timeout)
    if arguments.report is not None:
        store = dist.FileStore(str(Path(arguments.report, "store")), world_size)
        store.set_timeout(limit)
    else:
        store, _, _ = next(dist.rendezvous("env://", timeout=limit))
    how = arguments.n_shards, arguments.backend, arguments.timeout
    return joined_group(store, rank, world_size, *how)


def _lead(group: Group, arguments) -> None:
    launched = arguments.report is not None
    call = {"X": _source(arguments.source)} if not launched else _call(arguments.report)
    estimator = load(arguments.estimator)
    with warnings.catch_warnings(record=launched) as caught:
        with group.leading():
            estimator.fit(**call)
    save(estimator, arguments.output)
    if launched:
        found = [(w.category, str(w.message)) for w in caught or ()]
        Path(arguments.report, WARNINGS).write_bytes(pickle.dumps(found))


def _call(folder: str) -> dict[str, Any]:
    call = joblib.load(Path(folder, CALL), mmap_mode="r")
    # Mapped to be read once; what was in memory is not for that a table beyond it.
    call = {k: v.view(np.ndarray) if isinstance(v, np.memmap) else v for k, v in call.items()}
    if isinstance(call["X"], ArraySource):
        call["X"] = call["X"].X
    return call


def _source(path: str) -> Any:
    kind = Path(path).suffix
    if kind == ".npy":
        return np.load(path, mmap_mode="r")
    return joblib.load(path) if kind == ".joblib" else path


def load(path: str) -> Any:
    """An estimator from a file.

    Raises
    ------
    ValueError
        If a ``.skops`` file contains types that are not of skvae.
    """
    if Path(path).suffix != ".skops":
        return joblib.load(path)
    import skops.io as sio

    unknown = sio.get_untrusted_types(file=path)
    strange = [name for name in unknown if not name.startswith("skvae.")]
    if strange:
        raise ValueError(
            f"{path!r} contains types that are not of skvae: {strange}. Load it by skops.io.load "
            "with those that you trust, and save it by joblib."
        )
    return sio.load(path, trusted=unknown)


def save(estimator, path: str) -> None:
    """Write an estimator to a file, which is there whole or not at all."""
    with replacing(path) as file:
        if Path(path).suffix != ".skops":
            joblib.dump(estimator, file)
        else:
            import skops.io as sio

            file.write(sio.dumps(estimator))


def _report(path: Path, error: Exception) -> None:
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:  # Any class may fail to be pickled in any way.
        content = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    with replacing(path) as file:
        file.write(content)
