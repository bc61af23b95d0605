"""Processes that are killed at random moments and started again: what they end with.

``python benchmarks/kills.py``.  Real processes, real SIGKILL, no setting changed for them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _common import RESULTS, cpu_seconds, hand_in, one_thread, whole_process
from _report import cpu_name, markdown_table, paragraphs, versions, write

import numpy as np  # isort: skip

TITLES = ["Training", "Tables written", "What checkpoints cost"]
HEAD = ["# Kills", "", "`python benchmarks/kills.py`."]
# Of the time of an undisturbed fit, the time until a kill at most.
SHARE = 0.6
SCORED_ROWS, ROWS_PER_PART = 400_000, 4096


# -- what is run ----------------------------------------------------------------------------


def rows(n: int, n_columns: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, n_columns))
    return rng.normal(size=(n, 6)) @ mixing + 0.5 * rng.normal(size=(n, n_columns))


def with_holes(n: int) -> np.ndarray:
    X = rows(n)
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    return X


def _transformer(**changed) -> Callable[[Any], Any]:
    def make(folder):
        from skvae import VAETransformer

        return VAETransformer(random_state=0, checkpoint=folder, **changed)

    return make


def _detector(folder):
    from skvae import VAEOutlierDetector

    return VAEOutlierDetector(max_iter=20, random_state=0, checkpoint=folder)


def _imputer(folder):
    from skvae import VAEImputer

    return VAEImputer(max_iter=5, random_state=0, checkpoint=folder)


class Job(NamedTuple):
    what: str
    make: Callable[[Any], Any]
    table: Callable[[], np.ndarray]


JOBS = {
    "defaults": Job("the defaults", _transformer(max_iter=120), lambda: rows(20_000)),
    "members": Job(
        "`n_members=4`, of which some stop early",
        _transformer(n_members=4, n_iter_no_change=5, max_iter=60),
        lambda: rows(10_000),
    ),
    "quantized": Job(
        '`posterior="vector_quantized"`',
        _transformer(posterior="vector_quantized", max_iter=30),
        lambda: rows(10_000),
    ),
    "detector": Job("`VAEOutlierDetector`, its score's model too", _detector, lambda: rows(4_000)),
    "imputer": Job("`VAEImputer`", _imputer, lambda: with_holes(3_000)),
}


def say(line: str) -> None:
    print(line, flush=True)


def fit(name: str, folder: str | None, result: str) -> None:
    """Fit, and leave a digest of every bit that came of it."""
    import torch
    from joblib import hash as joblib_hash

    one_thread()
    job = JOBS[name]
    X, estimator = job.table(), job.make(folder)
    say("begun")
    found = estimator.fit(X)
    said = found.score_samples(X) if hasattr(found, "score_samples") else found.transform(X)
    with torch.no_grad():
        weights = {key: value.numpy() for key, value in found.vae_.state_dict().items()}
    Path(result).write_text(joblib_hash((weights, found.history_, said)))


def score(folder: str, target: str) -> None:
    """Write the scores of a table."""
    import joblib

    from skvae.io import transform_parquet

    one_thread()
    detector = joblib.load(Path(folder, "model.joblib"))
    say("begun")
    transform_parquet(
        detector, Path(folder, "rows.parquet"), target, method="score_samples", keep=["row"],
        rows_per_part=ROWS_PER_PART,
    )  # fmt: skip


# -- what kills -----------------------------------------------------------------------------


class Killer:
    """Starts processes, kills each after a random time, and starts it again until it is done.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    seconds : float
        How long the last process worked.
    """

    seconds = 0.0

    def __init__(self, seed: int):
        self.dice = random.Random(seed)

    def run(self, arguments: list[str], seconds: float | None) -> bool:
        """Whether a process was killed before it was done; None kills it never."""
        command = [sys.executable, __file__, *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "begun":
            raise RuntimeError(process.communicate()[1][-3000:])
        begun = time.monotonic()
        if seconds is not None:
            until = time.monotonic() + self.dice.uniform(0.0, seconds)
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            process.kill()
        error = process.communicate()[1]
        self.seconds = time.monotonic() - begun
        if process.returncode > 0:
            raise RuntimeError(error[-3000:])
        return process.returncode < 0


def place(folder: Path) -> str:
    """Where the training in a folder is: nowhere, or its part and epoch."""
    parts = sorted(folder.glob("part-*.npz"))
    if not parts:
        return "none"
    with zipfile.ZipFile(parts[-1]) as file, file.open("run/epoch.npy") as stream:
        return f"{parts[-1].stem} {int(np.lib.format.read_array(stream))}"


def kill_fits(name: str, n_kills: int, killer: Killer) -> dict:
    found: dict = {"kills": 0, "fits": 0, "same": 0, "written": 0, "places": []}
    with tempfile.TemporaryDirectory() as root:
        result = Path(root, "result")
        killer.run(["--fit", name, "-", str(result)], None)
        plain, seconds = result.read_text(), SHARE * killer.seconds
        while found["kills"] < n_kills:
            folder = Path(root, f"fit-{found['fits']}")
            while True:
                left = n_kills - found["kills"]
                until = seconds if left else None
                if not killer.run(["--fit", name, str(folder), str(result)], until):
                    break
                found["kills"] += 1
                found["written"] += any(folder.glob("*.tmp"))
                found["places"].append(place(folder))
            found["fits"] += 1
            found["same"] += result.read_text() == plain
            result.unlink()
    say(f"{name}: {json.dumps(found)}")
    return found


def training(n_kills: int) -> list[str]:
    killer = Killer(0)
    each = -(-n_kills // len(JOBS))
    found = {name: kill_fits(name, each, killer) for name in JOBS}
    table = markdown_table(
        ["what", "kills", "before the first state", "at places", "within a write", "fits", "same"],
        [
            [
                JOBS[name].what, str(f["kills"]), str(f["places"].count("none")),
                str(len(set(f["places"]) - {"none"})), str(f["written"]), str(f["fits"]),
                str(f["same"]),
            ]
            for name, f in found.items()
        ],
    )  # fmt: skip
    total = {key: sum(f[key] for f in found.values()) for key in ("kills", "fits", "same")}
    text = f"""
Each fit is a process that is killed (SIGKILL) after a random part of up to {SHARE:.0%} of the time
of an undisturbed fit, started again with the same call, and so on; after the last kill it is let
end. "At places": at how many different epochs of the parts of training the kills met the state on
the disk. "Within a write": how many left a half-written file behind, which nobody reads. "Same":
fits that ended with the digest of an undisturbed one, of all weights, buffers, histories and
scores.

In all {total["kills"]} kills, {total["kills"]} resumes and {total["fits"]} fits that ended, of
which {total["same"]} have the same bits as without kills.
"""
    return [*paragraphs(text), *table]


def writing(n_kills: int, seconds: float) -> list[str]:
    import joblib
    import pyarrow as pa
    import pyarrow.parquet as pq

    from skvae import VAETransformer

    one_thread()
    killer, kills, ended, same, written = Killer(1), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as root:
        names = [f"x{j}" for j in range(20)]
        X = rows(SCORED_ROWS)
        cells = {name: X[:, j] for j, name in enumerate(names)}
        pq.write_table(pa.table({"row": np.arange(len(X)), **cells}), f"{root}/rows.parquet")
        model = VAETransformer(4, max_iter=3, random_state=0)
        import pandas as pd

        model.fit(pd.DataFrame(X[:2000], columns=names))
        joblib.dump(model, Path(root, "model.joblib"))
        killer.run(["--score", root, f"{root}/plain.parquet"], None)
        plain = pq.read_table(f"{root}/plain.parquet")
        if plain.num_rows != SCORED_ROWS:
            raise RuntimeError("Rows are lost without a kill.")
        while kills < n_kills:
            target = Path(root, f"scores-{ended}.parquet")
            while not target.exists():
                until = seconds if kills < n_kills else None
                if killer.run(["--score", root, str(target)], until):
                    kills += 1
                    parts = Path(f"{target}.parts")
                    written += any(parts.glob("*.tmp"))
            ended += 1
            same += pq.read_table(target).equals(plain)
    text = f"""
`skvae.io.transform_parquet` scores {SCORED_ROWS:,} rows of 20 columns from one Parquet file to
another, {ROWS_PER_PART:,} rows at a time, killed after up to {seconds:g} s and called again.

{kills} kills, of which {written} left a half-written part behind; {ended} files that were
completed, of which {same} hold every row once, in order, with the scores of an undisturbed call.
"""
    return paragraphs(text)


class Clock:
    """CPU seconds and calls of functions, while they are watched."""

    def __init__(self):
        self.seconds, self.n_calls = 0.0, 0

    def watch(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def timed(*arguments, **named):
            started = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.process_time() - started
                self.n_calls += 1

        setattr(owner, name, timed)


def cost(what: str) -> dict[str, float]:
    """CPU seconds of a fit, and those of them that a checkpoint takes."""
    from skvae import _resuming
    from skvae.training.checkpoint import Checkpoint, Part

    one_thread()
    n_rows, changed = COSTS[what]
    writes, rest = Clock(), Clock()
    writes.watch(Part, "save")
    for owner, name in ((_resuming, "_facts"), (_resuming, "_machine")):
        rest.watch(owner, name)
    for name in ("__enter__", "__exit__"):
        rest.watch(Checkpoint, name)
    with tempfile.TemporaryDirectory() as folder:
        X = rows(n_rows)
        total = cpu_seconds(_transformer(**changed)(folder).fit, X)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.npz")) / 2**20
    taken = writes.seconds + rest.seconds
    return {"total": total, "share": taken / total, "writes": writes.n_calls, "size": size}


COSTS: dict[str, tuple[int, dict]] = {
    "2,000 rows": (2_000, {}),
    "20,000 rows": (20_000, {}),
    "20,000 rows, 8 members": (20_000, {"max_iter": 30, "n_members": 8}),
    "200,000 rows, 5 epochs": (200_000, {"max_iter": 5}),
}


def costs(rounds: int) -> list[str]:
    lines = []
    for what in COSTS:
        found = [whole_process([__file__, "--cost", what]).result for _ in range(rounds)]
        middle = {key: float(np.median([one[key] for one in found])) for key in found[0]}
        lines.append(
            [
                what, f"{middle['total']:.2f}", f"{middle['share']:.2%}",
                f"{middle['writes']:.0f}", f"{middle['size']:.1f}",
            ]
        )  # fmt: skip
    text = """
CPU time of fits of 20 columns with a checkpoint, and how much of it goes into the checkpoint: the
digest of the table, the look into the folder and the states that are written. There is one a
second after the last or later, so seldom that writing takes at most a two-hundredth of the time,
and one at the end of each of the two parts of training, which is most of what a fit of a second
pays.
"""
    head = ["fit", "CPU s", "of it for the checkpoint", "states written", "MiB on the disk"]
    return [*paragraphs(text), *markdown_table(head, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="until a writer is killed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=TITLES, action="append")
    parser.add_argument("--output", type=Path, default=RESULTS / "kills.md")
    parser.add_argument("--fit", nargs=3, help="job, folder or -, file for the digest: only this")
    parser.add_argument("--score", nargs=2, help="folder, target: only this")
    parser.add_argument("--cost", choices=COSTS, help="only this")
    options = parser.parse_args()
    if options.cost:
        hand_in(cost(options.cost))
        return
    if options.fit:
        name, folder, result = options.fit
        fit(name, None if folder == "-" else folder, result)
        return
    if options.score:
        score(*options.score)
        return
    calls = {
        "Training": lambda: training(options.kills),
        "Tables written": lambda: writing(options.kills // 2, options.seconds),
        "What checkpoints cost": lambda: costs(options.rounds),
    }
    for title in options.only or TITLES:
        lines = [*calls[title](), "", f"{versions()}. {cpu_name()}."]
        write(options.output, HEAD, TITLES, {title: lines})


if __name__ == "__main__":
    main()
