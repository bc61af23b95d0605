"""What the benchmarks share: one thread, data, alternating runs, whole processes, the network."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
HIDDEN = (128, 64)
N_COMPONENTS = 8
PEERS = ("PyOD", "pythae", "skorch")


def one_thread() -> None:
    """Hold torch to one thread, too."""
    import torch

    torch.set_num_threads(1)


def found_peers() -> list[str]:
    return [name for name in PEERS if importlib.util.find_spec(name.lower())]


def missing_peers() -> str:
    """A sentence about what could not be compared."""
    missing = [name for name in PEERS if name not in found_peers()]
    return f"Left out, not installed: {', '.join(missing)}." if missing else ""


def table(n_rows: int, n_columns: int, dtype=np.float32, seed: int = 0) -> np.ndarray:
    """Correlated normal columns."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_columns, n_columns)) / np.sqrt(n_columns)
    return (rng.normal(size=(n_rows, n_columns)) @ mixing).astype(dtype)


def bare(batch_size: int, max_iter: int, **changed):
    """Our estimator as a plain training loop: nothing that the peers do not do."""
    from skvae import VAETransformer
    from skvae.likelihoods import Normal
    from skvae.networks import MLP

    settings: dict = {
        "network": MLP(HIDDEN, "relu", linear_skip=False),
        "likelihood": Normal(scale=1.0),
        "prior": "normal",
        "view": None,
        "init": "random",
        "calibrate": False,
        "early_stopping": False,
        "weight_decay": 0.0,
        "clip_norm": None,
        "learning_rate": "constant",
        "learning_rate_init": 1e-3,
        "n_components": N_COMPONENTS,
        "batch_size": batch_size,
        "max_iter": max_iter,
        "random_state": 0,
    }
    return VAETransformer(**settings | changed)


def default(batch_size, max_iter: int, **changed):
    """Our estimator as it comes: all that ``fit`` does unless told otherwise."""
    from skvae import VAETransformer

    settings: dict = {"batch_size": batch_size, "max_iter": max_iter, "random_state": 0}
    return VAETransformer(**settings | changed)


# -- time -----------------------------------------------------------------------------------


def quietly(function: Callable, *arguments) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function(*arguments)


def cpu_seconds(function: Callable, *arguments) -> float:
    """CPU time of a call in this process."""
    started = time.process_time()
    quietly(function, *arguments)
    return time.process_time() - started


def best_of(rounds: int, calls: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The least of what each call returns.

    They run A B C A B C, so that all meet the same machine, and the least is kept because
    other work on the machine only ever adds.
    """
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], call())
    return best


class Cost(NamedTuple):
    """What a process took, from its start to its end, those that it started included."""

    cpu: float
    wall: float
    result: Any = None


def whole_process(arguments: Sequence[str], **variables: str) -> Cost:
    """Run Python with these arguments; what it writes to the path in RESULT is the result.

    ``variables`` are added to the environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder, "result.json"), Path(folder, "log.txt")
        environment = os.environ | {"RESULT": str(result)} | variables
        with log.open("w") as stream:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *arguments], env=environment, stdout=stream, stderr=stream
            )
            # The times of the children of this one process, which subprocess would throw away.
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{log.read_text()[-3000:]}")
        answer = json.loads(result.read_text()) if result.exists() else None
    return Cost(used.ru_utime + used.ru_stime, wall, answer)


def hand_in(result: Any) -> None:
    """Give a result to the process that waits in ``whole_process``."""
    Path(os.environ["RESULT"]).write_text(json.dumps(result))


# -- what the machine allows ----------------------------------------------------------------


class Products:
    """Matrix products alone, on kept buffers: no training step or score can cost less.

    Each is done by NumPy, torch or oneDNN, whichever is faster at it here.

    Parameters
    ----------
    sizes : list of (int, int, int)
        Rows, inner width and columns of each product.
    transposed : list of {"", "left", "right"}, default=all ""
        Which factor of each product is a transposed view.
    """

    def __init__(self, sizes: Sequence[tuple[int, int, int]], transposed: Sequence[str] = ()):
        one_thread()
        self.calls = []
        for i, (rows, inner, columns) in enumerate(sizes):
            view = transposed[i] if transposed else ""
            left = _factor(rows, inner, view == "left")
            right = _factor(inner, columns, view == "right")
            self.calls.append(_faster_product(left, right))

    def __call__(self, seconds: float = 0.2) -> float:
        """CPU seconds of all products once, found in a run of about this length."""
        return _seconds_of(lambda: [call() for call in self.calls], seconds)


def _factor(rows: int, columns: int, transposed: bool) -> np.ndarray:
    shape = (columns, rows) if transposed else (rows, columns)
    factor = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return factor.T if transposed else factor


def _faster_product(left: np.ndarray, right: np.ndarray) -> Callable[[], Any]:
    import torch

    out = np.empty((len(left), right.shape[1]), np.float32)
    a, b, c = (torch.from_numpy(array) for array in (left, right, out))
    ways = [lambda: np.matmul(left, right, out=out), lambda: torch.mm(a, b, out=c)]
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if linear is not None:
        ways.append(lambda: linear(a, b.T, None, "none", [], ""))
    return min(ways, key=_seconds_of)


def _seconds_of(call: Callable, seconds: float = 0.02) -> float:
    for _ in range(3):
        call()
    done, started = 0, time.process_time()
    while (taken := time.process_time() - started) < seconds:
        for _ in range(10):
            call()
        done += 10
    return taken / done


def _layers(n_columns: int) -> tuple[list, list]:
    widths = [n_columns, *HIDDEN, 2 * N_COMPONENTS]
    back = [N_COMPONENTS, *HIDDEN[::-1], n_columns]
    return list(zip(widths, widths[1:])), list(zip(back, back[1:]))


def step_products(n_columns: int, batch_size: int) -> Products:
    """The 17 products of one training step."""
    encoder, decoder = _layers(n_columns)
    layers = encoder + decoder
    forward = [(batch_size, n_in, n_out) for n_in, n_out in layers]
    for_weights = [(n_in, batch_size, n_out) for n_in, n_out in layers]
    # Nobody needs the gradient of the table.
    for_inputs = [(batch_size, n_out, n_in) for n_in, n_out in layers[1:]]
    transposed = [""] * 6 + ["left"] * 6 + ["right"] * 5
    return Products(forward + for_weights + for_inputs, transposed)


def score_products(n_columns: int, n_rows: int, n_draws: int) -> Products:
    """The products behind the scores of some rows; without draws, behind their codes."""
    encoder, decoder = _layers(n_columns)
    sizes = [(n_rows, n_in, n_out) for n_in, n_out in encoder]
    if n_draws:
        sizes += [(n_rows * n_draws, n_in, n_out) for n_in, n_out in decoder]
    return Products(sizes)
