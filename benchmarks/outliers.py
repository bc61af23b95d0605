"""Outliers of the tables of ADBench and of a pool of further tasks, beside PyOD and DTE-NP.

    python benchmarks/outliers.py --data ../shared/data --peers-python PYTHON

PYTHON is the interpreter of an environment with PyOD; without it the peers are left out.  Without
``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to
``benchmarks/results/outliers_<suite>.csv``, one line per table, protocol, seed and method, and
``outliers.md`` is written from them and from ``outliers_log.md``.  What is there already is not
measured again, unless ``--again`` asks for it:

    python benchmarks/outliers.py --suites pool --ours skvae "skvae, elbo" --peers --again
    python benchmarks/outliers.py --report                         # the page alone
    python benchmarks/outliers.py --speed --peers-python PYTHON    # time and memory alone

ADBench is for confirming what was chosen on the pool, so that ours runs there only with ``--look``
and a note of what it is to confirm, which ``outliers_looks.csv`` keeps.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import _outliers_adbench as adbench
import _outliers_pool as pool
import _outliers_report as report
import _outliers_speed as speed
import numpy as np
import pandas as pd
from _outliers_methods import BESIDE, OURS, PEERS, Failure, Peers, ours
from _outliers_sources import SOURCES
from _outliers_splits import PROTOCOLS, Labelled, split
from sklearn.metrics import average_precision_score, roc_auc_score

RESULTS = Path(__file__).parent / "results" / "outliers"
KEYS = ["table", "protocol", "seed", "method"]


class Suite(NamedTuple):
    """Names of sources, the tasks of one by name for a seed, and the seeds."""

    sources: Callable[[Path], list[str]]
    tasks: Callable[[Path, str, int], Iterator[tuple[str, Labelled]]]
    seeds: list[int]


SUITES = {
    "adbench": Suite(
        adbench.names,
        lambda folder, name, seed: iter([(name, adbench.load(folder, name, seed))]),
        [0, 1, 2],
    ),
    "pool": Suite(
        lambda folder: list(SOURCES),
        lambda folder, name, seed: pool.tasks(folder, name),
        [0],
    ),
}


def known(path: Path, suite: str) -> pd.DataFrame:
    file = path.with_name(f"{path.name}_{suite}.csv")
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)


def keep(path: Path, suite: str, lines: list[dict]) -> None:
    """Add lines to the file as it is now: others may be measuring beside this process."""
    found = pd.concat([known(path, suite), pd.DataFrame(lines)], ignore_index=True)
    found = found.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    found = found.astype(dict.fromkeys(["seed", "rows", "outliers"], int))
    path.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(path.with_name(f"{path.name}_{suite}.csv"), index=False)


def measure(method: str, case, seed: int, peers: Peers) -> dict:
    """Figures of one method; those of chance where it has no finite scores."""
    rate = float(case.y.mean())
    line = {"auroc": 0.5, "ap": rate, "rows": len(case.y), "outliers": int(case.y.sum())}
    try:
        scores, seconds = ours(method, case, seed) if method in OURS else peers(method, case, seed)
        if np.isnan(scores).any():
            raise Failure("scores that are no numbers")
    except Failure as failure:
        return line | {"failed": str(failure)[:60]}
    scores = np.nan_to_num(np.asarray(scores, dtype=float))
    return line | {
        "auroc": round(roc_auc_score(case.y, scores), 5),
        "ap": round(average_precision_score(case.y, scores), 5),
        "cpu_fit": round(seconds[0], 3),
        "cpu_score": round(seconds[1], 3),
    }


def run(chosen, name: str, peers: Peers) -> None:
    suite = SUITES[name]
    done = {tuple(line) for line in known(chosen.out, name)[KEYS].to_numpy().tolist()}
    if chosen.again:
        done = set()
    methods = chosen.ours + (chosen.peers if peers.python else [])
    for seed in suite.seeds if chosen.seeds is None else chosen.seeds:
        for source in suite.sources(chosen.data):
            if chosen.tables and source not in chosen.tables:
                continue
            for table, labelled in suite.tasks(chosen.data, source, seed):
                started, lines = time.time(), []
                for protocol in chosen.protocols:
                    case = split(table, labelled, protocol, seed)
                    for method in methods:
                        place = dict(zip(KEYS, (table, protocol, seed, method)))
                        if tuple(place.values()) not in done:
                            lines.append(place | measure(method, case, seed, peers))
                if lines:
                    keep(chosen.out, name, lines)
                    print(name, seed, table, f"{time.time() - started:.0f} s", flush=True)


def note_look(chosen) -> None:
    """Another line about what ours was run for."""
    file = chosen.out.with_name(f"{chosen.out.name}_looks.csv")
    line = {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "methods": "; ".join(chosen.ours),
        "note": chosen.look,
    }
    earlier = [pd.read_csv(file)] if file.exists() else []
    pd.concat([*earlier, pd.DataFrame([line])]).to_csv(file, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers-python", type=Path, help="has PyOD")
    parser.add_argument("--suites", nargs="*", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--ours", nargs="*", default=["skvae"], choices=list(OURS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=[*PEERS, *BESIDE])
    parser.add_argument("--protocols", nargs="*", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--tables", nargs="*", help="of ADBench, or sources of the pool")
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--look", metavar="NOTE", help="what running ours on ADBench confirms")
    parser.add_argument("--again", action="store_true", help="also what is in the files already")
    parser.add_argument("--report", action="store_true", help="write the page and measure nothing")
    parser.add_argument("--speed", action="store_true", help="measure time and memory alone")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring time")
    parser.add_argument("--many", type=int, default=1_000_000, help="rows to score for time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    measured = {"Speed": speed.section(chosen)} if chosen.speed else {}
    if not (chosen.report or chosen.speed):
        if chosen.data is None:
            print("outliers: left out, it needs --data or SKVAE_DATA")
            return
        if chosen.ours and "adbench" in chosen.suites:
            if chosen.look is None:
                parser.error("on ADBench ours needs --look and a note of what it confirms")
            note_look(chosen)
        chosen.data = Path(chosen.data)
        with Peers(chosen.peers_python) as peers:
            for name in chosen.suites:
                run(chosen, name, peers)
    report.write(chosen.out, {name: known(chosen.out, name) for name in SUITES}, measured)


if __name__ == "__main__":
    main()
