"""Rows per second of one and of two processes, and what a billion rows on 100 machines take.

Each process runs on one thread.

    python benchmarks/distributed.py [--rounds 5]

Results go to ``benchmarks/results/distributed.md``.
"""

from __future__ import annotations

import argparse
import inspect
import multiprocessing
import os
import tempfile
import time
import warnings
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, default, one_thread, table

from _report import Machine, markdown_table, paragraphs, write  # isort: skip

N_ROWS, N_COLUMNS, N_EPOCHS = 200_000, 30, 3
BATCH_SIZES = (512, 2048, 8192)
N_SUMS = 400
# Processes, and whether they add up in memory that they share.
HOW = {"one": (1, True), "two": (2, True), "sockets": (2, False)}
# Of the written calculation: rows, machines, bytes per second and seconds per message.
MANY_ROWS, N_MACHINES, BANDWIDTH, LATENCY = 10**9, 100, 1.25e9, 50e-6
TITLES = ["One process and two", "A billion rows on 100 machines"]
NOTES = f"""
Training alone, without the start and without calibration: {N_ROWS:,} rows and {N_COLUMNS} columns,
the default network, {N_EPOCHS} epochs, of which the fastest counts. The batch is that of all
processes together. Both kinds are measured in turns, each round with new processes; CPU seconds
are those of the busier process. Where other work takes the cores, rows per second tell more of
that than of this: the ratio of CPU seconds is what quiet cores give at most.
"""


def estimator(batch_size: int):
    how = {"calibrate": False, "early_stopping": False, "device": "cpu"}
    return default(batch_size, N_EPOCHS, **how)


def member(rank: int, n: int, memory: bool, source: str, batch_size: int, folder: str) -> None:
    """One of the processes; the first leaves its figures in the folder."""
    one_thread()
    warnings.simplefilter("ignore")
    import numpy as np
    import torch
    import torch.distributed as dist

    from skvae.distributed.group import Group, joined_group
    from skvae.distributed.launcher import within_machine

    os.environ.update(within_machine())

    class Timed(Group):
        clocks: list = []

        def told(self, what):
            # Once at the start and after each epoch.
            self.clocks = [*self.clocks, (time.perf_counter(), time.process_time())]
            return super().told(what)

    store = dist.FileStore(str(Path(folder, "store")), n)
    with joined_group(store, rank, n, None, "gloo", 600.0) as group:
        group.__class__ = Timed
        group.shares_memory &= memory
        if rank:
            group.follow()
        else:
            X = np.load(source) if source.endswith(".npy") else source
            with group.leading():
                model = estimator(batch_size).fit(X)
        clocks = np.array(group.clocks)
        figures = np.diff(clocks, axis=0).min(0)
        n_bytes = 0
        if rank == 0:
            n_bytes = sum(p.numel() * p.element_size() for p in model.vae_.parameters())
        summing = median_time(group.add_up, torch.zeros(n_sum_numbers()))
    np.save(Path(folder, f"{rank}.npy"), [*figures, n_bytes, summing])


def median_time(add_up, gradient) -> float:
    import numpy as np

    times = []
    for _ in range(N_SUMS):
        started = time.perf_counter()
        add_up(gradient)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def n_sum_numbers() -> int:
    """Numbers of the flat gradient of the default network, about."""
    return 64 * round((N_COLUMNS * 128 + 128 * 64 + 64 * 16 + 8 * 64 + 64 * 128 + 128 * 30) / 64)


def measure(n: int, memory: bool, source: str, batch_size: int) -> dict[str, float]:
    import numpy as np

    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        members = [
            context.Process(target=member, args=(rank, n, memory, source, batch_size, folder))
            for rank in range(n)
        ]
        for process in members:
            process.start()
        for process in members:
            process.join()
        if any(process.exitcode for process in members):
            raise RuntimeError(f"A process of {n} ended with an error; its message is above.")
        found = np.array([np.load(Path(folder, f"{rank}.npy")) for rank in range(n)])
    return dict(zip(("wall", "cpu", "bytes", "sum"), found.max(0).tolist()))


def sources(folder: str) -> dict[str, str]:
    """The table as an array, which is kept in memory, and as Parquet, which is streamed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    X = table(N_ROWS, N_COLUMNS)
    paths = {name: str(Path(folder, f"rows.{name}")) for name in ("npy", "parquet")}
    np.save(paths["npy"], X)
    whole = pa.table({f"x{i}": column for i, column in enumerate(X.T)})
    pq.write_table(whole, paths["parquet"], row_group_size=N_ROWS // 16)
    return {"in memory": paths["npy"], "from Parquet": paths["parquet"]}


def measure_all(rounds: int) -> dict[tuple, dict[str, float]]:
    best: dict[tuple, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for kind, source in sources(folder).items():
                for batch_size in BATCH_SIZES:
                    for how in HOW:
                        point = kind, batch_size, how
                        found = measure(*HOW[how], source, batch_size)
                        before = best.get(point, found)
                        best[point] = {k: min(v, before[k]) for k, v in found.items()}
                        print(point, best[point], flush=True)
    return best


def speeds(best: dict[tuple, dict[str, float]]) -> list[str]:
    rows = []
    for kind, batch_size in dict.fromkeys(point[:2] for point in best):
        one, two, sockets = (best[kind, batch_size, how] for how in HOW)
        rows.append(
            [
                kind,
                f"{batch_size:,}",
                *(f"{N_ROWS / found['wall']:,.0f}" for found in (one, two)),
                *(f"{one['wall'] / found['wall']:.2f}" for found in (two, sockets)),
                *(f"{found['cpu']:.2f}" for found in (one, two)),
                f"{one['cpu'] / two['cpu']:.2f}",
            ]
        )
    header = [
        "rows", "batch", "rows/s, one", "rows/s, two", "ratio", "ratio through sockets",
        "CPU s, one", "CPU s, two", "ratio of CPU s",
    ]  # fmt: skip
    least = {how: min(f["sum"] for (_, _, h), f in best.items() if h == how) for how in HOW}
    n_bytes = max(found["bytes"] for found in best.values())
    sentence = (
        f"The flat gradient has {n_bytes:,.0f} bytes. Two processes that do nothing else add it "
        f"up in {1e3 * least['two']:.3f} ms in memory that they share, which those of one machine "
        f"do, and in {1e3 * least['sockets']:.2f} ms through its sockets (medians of the best "
        "round). Between steps a sum through sockets takes longer, as it wakes processes."
    )
    return [*markdown_table(header, rows), "", *paragraphs(sentence)]


def calculation(best: dict[tuple, dict[str, float]]) -> list[str]:
    found = best["from Parquet", BATCH_SIZES[-1], "one"]
    speed, n_bytes = N_ROWS / found["cpu"], best["from Parquet", BATCH_SIZES[-1], "two"]["bytes"]
    rows = []
    # Around a ring each machine sends, and hears, almost twice the gradient in small parts.
    travelling = 2 * (N_MACHINES - 1) / N_MACHINES * n_bytes
    waiting = 2 * (N_MACHINES - 1) * LATENCY + travelling / BANDWIDTH
    for each in (64, 512, 4096):
        computing = each / speed
        n_steps = MANY_ROWS / (each * N_MACHINES)
        hours = n_steps * (computing + waiting) / 3600
        share = computing / (computing + waiting)
        rows.append(
            [
                f"{each:,}", f"{each * N_MACHINES:,}", f"{n_steps:,.0f}",
                f"{1e3 * computing:.1f}", f"{1e3 * waiting:.1f}", f"{share:.0%}", f"{hours:.2f}",
            ]
        )  # fmt: skip
    header = [
        "rows of a machine per step", "batch", "steps per epoch", "arithmetic, ms", "sum, ms",
        "share of arithmetic", "hours per epoch",
    ]  # fmt: skip
    text = inspect.cleandoc(f"""
    Calculated, not measured: one core per machine at the {speed:,.0f} rows per CPU second of one
    process above (from Parquet, {BATCH_SIZES[-1]:,} rows per batch), {N_MACHINES} machines,
    {BANDWIDTH * 8 / 1e9:.0f} Gbit/s between them and {1e6 * LATENCY:.0f} microseconds per message.
    The sum goes around a ring: {2 * (N_MACHINES - 1)} messages one after the other, in which each
    machine sends {travelling / 1e3:,.0f} kB per step. Messages cost more than bytes, so that what
    counts is how many rows a machine has per step. One process without others takes
    {MANY_ROWS / speed / 3600:.1f} hours per epoch. Before the first step the first machine reads
    all rows once for the statistics of the columns.
    """)
    return [*paragraphs(text), *markdown_table(header, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "distributed.md")
    options = parser.parse_args()
    machine = Machine()
    best = measure_all(options.rounds)
    first = [*paragraphs(NOTES), *speeds(best), *machine.describe(options.rounds)]
    head = ["# Several processes", "", "`python benchmarks/distributed.py`."]
    write(options.output, head, TITLES, dict(zip(TITLES, (first, calculation(best)))))


if __name__ == "__main__":
    main()
