"""Speed and memory of scoring and coding, and the time of an import."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import (
    HIDDEN,
    N_COMPONENTS,
    bare,
    best_of,
    cpu_seconds,
    found_peers,
    hand_in,
    one_thread,
    quietly,
    score_products,
    table,
    whole_process,
)
from _memory import MIB, peak_growth_beside_files
from _report import markdown_table, paragraphs

N_COLUMNS, N_ROWS = 30, 200_000
PYOD_ROWS, PYOD_BATCHES = 20_000, (32, 4_096)
MAPPED_ROWS = 10_000_000
FLOOR_ROWS = 2_048

NOTES = f"""
Rows per CPU second: {N_ROWS:,} rows of {N_COLUMNS} columns (PyOD {PYOD_ROWS:,}), network
{N_COLUMNS}-128-64-8-64-128-{N_COLUMNS}. The floor is the matrix products alone, on kept buffers.
`score_samples` is the importance-weighted log-likelihood; PyOD's score is the distance to one
reconstruction. PyOD scores in batches of its training, 32 unless told otherwise.
"""

MEMORY_NOTES = f"""
{MAPPED_ROWS:,} rows of {N_COLUMNS} float32 columns in a memory-mapped file
({MAPPED_ROWS * N_COLUMNS * 4 / MIB:,.0f} MiB), scored in one call with one draw, and coded in one
call: how much memory grew at its peak beyond the pages of the file and the result.
"""


def fitted():
    return bare(256, 3).fit(table(20_000, N_COLUMNS))


def scoring(rounds: int) -> list[str]:
    one_thread()
    model = fitted()
    tables = {name: table(N_ROWS, N_COLUMNS, name) for name in ("float32", "float64")}
    costs: dict[str, Callable] = {}
    sizes: dict[str, int] = {}
    floors: dict[str, str] = {}

    def add(name: str, n_rows: int, cost: Callable, floor: str) -> None:
        costs[name], sizes[name], floors[name] = cost, n_rows, floor

    for draws in (0, 1, 16):
        what = f"floor, {draws}"
        chunk = FLOOR_ROWS // max(draws, 1)
        add(what, chunk, score_products(N_COLUMNS, chunk, draws), what)
        for dtype, X in tables.items():
            if draws:
                name = f"`score_samples`, {draws} draw{'s' * (draws > 1)}, {dtype}"
                call = lambda X=X, n=draws: cpu_seconds(model.score_samples, X, n)  # noqa: E731
            else:
                name = f"`transform`, {dtype}"
                call = lambda X=X: cpu_seconds(model.transform, X)  # noqa: E731
            add(name, N_ROWS, call, what)
    few = tables["float32"][:PYOD_ROWS]
    for batch_size in PYOD_BATCHES if "PyOD" in found_peers() else ():
        peer = _pyod(batch_size)
        name = f"PyOD, batch {batch_size:,}{' (its default)' * (batch_size == 32)}"
        call = lambda peer=peer: cpu_seconds(peer.decision_function, few)  # noqa: E731
        add(name, PYOD_ROWS, call, "floor, 1")
    best = best_of(rounds, costs)
    rates = {name: sizes[name] / seconds for name, seconds in best.items()}
    peers = {name: rate for name, rate in rates.items() if name.startswith("PyOD")}
    rows = []
    for name, rate in rates.items():
        if name.startswith("floor"):
            continue
        limit = rates[floors[name]]
        ratios = [f"{rate / other:.1f}x" for other in peers.values()]
        if "transform" in name:
            ratios = ["-"] * len(peers)
        rows.append([name, f"{rate:,.0f}", f"{limit:,.0f}", f"{rate / limit:.0%}", *ratios])
        print(" | ".join(rows[-1]), flush=True)
    header = ["", "rows/s", "floor", "of floor", *(f"over {name}" for name in peers)]
    text = [*paragraphs(NOTES), *markdown_table(header, rows)]
    return [*text, "", *paragraphs(MEMORY_NOTES), *_mapped()]


def _pyod(batch_size: int):
    from pyod.models.vae import VAE

    peer = VAE(
        epoch_num=1, encoder_neuron_list=list(HIDDEN), batch_size=batch_size, verbose=0,
        decoder_neuron_list=list(HIDDEN[::-1]), latent_dim=N_COMPONENTS, device="cpu",
    )  # fmt: skip
    quietly(peer.fit, table(4_096, N_COLUMNS))
    return peer


def _mapped() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        shape = (MAPPED_ROWS, N_COLUMNS)
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        part = table(100_000, N_COLUMNS)
        for start in range(0, MAPPED_ROWS, len(part)):
            rows[start : start + len(part)] = part
        rows.flush()
        del rows
        lines = []
        for method in ("score_samples", "transform"):
            found = whole_process([str(Path(__file__)), method, str(path)]).result
            mib, per_row = found["bytes"] / MIB, found["bytes"] / MAPPED_ROWS
            rate = MAPPED_ROWS / found["seconds"]
            lines.append([f"`{method}`", f"{mib:,.0f} MiB", f"{per_row:,.0f}", f"{rate:,.0f}"])
            print(" | ".join(lines[-1]), flush=True)
    return markdown_table(["", "growth", "bytes per row", "rows/s"], lines)


def measure_mapped(method: str, path: str) -> dict:
    one_thread()
    model = fitted()
    arguments = {"n_draws": 1} if method == "score_samples" else {}
    call = getattr(model, method)
    call(table(10_000, N_COLUMNS), **arguments)
    X = np.load(path, mmap_mode="r")
    found: dict = {}
    with peak_growth_beside_files() as growth:
        found["seconds"] = cpu_seconds(lambda: found.update(n=call(X, **arguments).nbytes))
    return {"bytes": max(growth.bytes - found["n"], 0), "seconds": found["seconds"]}


# -- start-up -------------------------------------------------------------------------------

STARTS = {
    "python, nothing imported": "pass",
    "`import numpy`": "import numpy",
    "`import skvae`": "import skvae",
    "`import sklearn`": "import sklearn",
    "`import torch`": "import torch",
    "`from skvae import VAETransformer`": "from skvae import VAETransformer",
    "`from skvae.model_selection import StackedGridSearchCV`":
        "from skvae.model_selection import StackedGridSearchCV",
}  # fmt: skip
STARTS_PER_ROUND = 3

START_NOTES = """
CPU seconds of `python -c "..."` from the start of the interpreter to its end. `import skvae`
defers everything: scikit-learn and torch are imported by the first name that needs them.
"""


def startup(rounds: int) -> list[str]:
    calls = {
        name: lambda code=code: whole_process(["-c", code]).cpu for name, code in STARTS.items()
    }
    # Once for the compiled files and the page cache.
    best_of(1, calls)
    best = best_of(rounds * STARTS_PER_ROUND, calls)
    both = best["`import sklearn`"] + best["`import torch`"] - best["python, nothing imported"]
    rows = [[name, f"{cpu:.2f}", f"{cpu / both:.0%}"] for name, cpu in best.items()]
    for row in rows:
        print(" | ".join(row), flush=True)
    header = ["", "CPU s", "of scikit-learn and torch"]
    return [*paragraphs(START_NOTES), *markdown_table(header, rows)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("RESULT", os.devnull)
    hand_in(measure_mapped(sys.argv[1], sys.argv[2]))
