"""Training and scoring from Parquet files: time per row, memory, and beside resident tables."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

from _common import best_of, cpu_seconds, default, hand_in, one_thread, table, whole_process

from _memory import MIB, peak_growth  # isort: skip
from _report import Machine, markdown_table, paragraphs  # isort: skip

TITLE = "Beyond memory"
ROWS = (100_000, 300_000, 1_000_000, 3_000_000, 20_000_000)
# Larger ones take more memory resident than some machines have.
MOST_RESIDENT = 3_000_000
N_COLUMNS, BATCH_SIZE, ROW_GROUP = 30, 512, 125_000
# A difference of two fits is taken over so many rows at least.
FEWEST_TRAINED = 3_000_000
NOTES = f"""
A Parquet file of {N_COLUMNS} columns of float32 in row groups of {ROW_GROUP:,}, in batches of
{BATCH_SIZE}. The time of an epoch is the difference between two fits without calibration and early
stopping, of one epoch and of more, so that all rows are trained on; the rest of a fit (reading
once for the sample, the start at the linear model) is in the time of the whole fit of one epoch.
Memory is the growth of the resident memory at its
peak in a fit with the defaults, and in `transform_parquet` of the scores, after a first small fit.
"""


def write_file(path: Path, n_rows: int) -> None:
    """Write rows of correlated columns, some at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{j}" for j in range(N_COLUMNS)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for seed, start in enumerate(range(0, n_rows, ROW_GROUP)):
            X = table(min(ROW_GROUP, n_rows - start), N_COLUMNS, seed=seed)
            writer.write_table(pa.table(dict(zip(names, X.T.copy())), schema=schema))


def measure(n_rows: int, path: str, rounds: int) -> dict:
    """Time and memory of one file, in this process."""
    from skvae.io import transform_parquet

    one_thread()
    warnings.simplefilter("ignore")
    default(BATCH_SIZE, 1).fit(table(300, N_COLUMNS))
    more = 1 + max(round(FEWEST_TRAINED / n_rows), 1)
    found: dict = {}

    def seconds(X, max_iter: int, clock: str) -> float:
        model = default(BATCH_SIZE, max_iter, calibrate=False, early_stopping=False)
        started = time.perf_counter()
        cpu = cpu_seconds(model.fit, X)
        wall = time.perf_counter() - started
        found[f"{clock} whole"] = min(wall, found.get(f"{clock} whole", wall))
        found[f"{clock} cpu", max_iter] = min(cpu, found.get((f"{clock} cpu", max_iter), cpu))
        return wall

    inputs: dict = {"stream": path}
    if n_rows <= MOST_RESIDENT:
        import pandas as pd

        inputs["resident"] = pd.read_parquet(path)
    calls = {}
    for name, X in inputs.items():
        calls[name, 1] = lambda X=X, name=name: seconds(X, 1, name)
        calls[name, more] = lambda X=X, name=name: seconds(X, more, name)
    best = best_of(rounds, calls)
    trained = (more - 1) * n_rows
    result = {"fit": best["stream", 1]}
    for name in inputs:
        result[f"{name} wall"] = (best[name, more] - best[name, 1]) / trained
        cpu = found[f"{name} cpu", more] - found[f"{name} cpu", 1]
        result[f"{name} cpu"] = cpu / trained
    inputs.clear()
    with peak_growth() as growth:
        model = default(BATCH_SIZE, 1).fit(path)
    result["fit bytes"] = growth.bytes
    with peak_growth() as growth:
        started = time.perf_counter()
        transform_parquet(model, path, path + ".scores.parquet", method="score_samples")
        result["score"] = (time.perf_counter() - started) / n_rows
    result["score bytes"] = growth.bytes
    Path(path + ".scores.parquet").unlink()
    return result


def section(script: str, folder: str | None, rounds: int, rows=ROWS) -> list[str]:
    """Lines of the report."""
    machine = Machine()
    best: dict[int, dict] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for n_rows in rows:
            path = Path(place, "rows.parquet")
            write_file(path, n_rows)
            best[n_rows] = whole_process(
                [script, "--stream", str(n_rows), str(path), str(rounds)]
            ).result
            path.unlink()
            print(n_rows, best[n_rows], flush=True)
    return [*paragraphs(NOTES), *report(best), "", *machine.describe(rounds)]


def report(best: dict[int, dict]) -> list[str]:
    header = [
        "rows", "fit of one epoch, s", "epoch, µs a row", "resident", "throughput, share",
        "epoch, CPU µs a row", "resident", "fit, MiB", "score, µs a row", "score, MiB",
    ]  # fmt: skip
    lines = []
    for n_rows, found in best.items():
        resident = found.get("resident wall")
        lines.append(
            [
                f"{n_rows:,}",
                f"{found['fit']:.1f}",
                # Other work on the machine may have taken longer than the epochs.
                f"{1e6 * found['stream wall']:.2f}" if found["stream wall"] > 0 else "disturbed",
                "" if resident is None else f"{1e6 * resident:.2f}",
                "" if resident is None else f"{resident / found['stream wall']:.2f}",
                f"{1e6 * found['stream cpu']:.2f}",
                "" if resident is None else f"{1e6 * found['resident cpu']:.2f}",
                f"{found['fit bytes'] / MIB:,.0f}",
                f"{1e6 * found['score']:.2f}",
                f"{found['score bytes'] / MIB:,.0f}",
            ]
        )
    times = [found["stream cpu"] for found in best.values()]
    large = [found for n_rows, found in best.items() if n_rows >= 1_000_000] or [{}]
    grown = {
        what: (large[-1].get(f"{what} bytes", 0) - large[0].get(f"{what} bytes", 0)) / MIB
        for what in ("fit", "score")
    }
    shares = [
        found["resident wall"] / found["stream wall"]
        for found in best.values()
        if "resident wall" in found
    ]
    sentence = (
        f"From {min(best):,} to {max(best):,} rows a row of an epoch takes {1e6 * min(times):.2f} "
        f"to {1e6 * max(times):.2f} µs of CPU, and training from the file has "
        f"{min(shares):.2f} to {max(shares):.2f} of the throughput of resident tables. From "
        f"1,000,000 rows on, the peak of memory grows by {grown['fit']:.0f} MiB in fit and by "
        f"{grown['score']:.0f} MiB in scoring."
    )
    return [*markdown_table(header, lines), "", *paragraphs(sentence)]


def hand_in_point(n_rows: str, path: str, rounds: str) -> None:
    """Measure one file for the process that waits."""
    hand_in(measure(int(n_rows), path, int(rounds)))
