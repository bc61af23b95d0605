"""Density of sequences: a code for every step, one code by a recurrent network, one by layers.

    python benchmarks/sequences.py --data ../shared/data

Without ``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

# Before NumPy and torch are imported: they read it once.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from _common import RESULTS, one_thread
from _report import Machine, markdown_table, paragraphs, write

SEEDS = (0, 1)
N_DRAWS = 64
TEST_SHARE = 0.2
EVERY = 4
HOURS = 24


def heartbeats(data: Path) -> tuple[np.ndarray, int]:
    """ECG5000: 500 heartbeats, every fourth of 140 readings."""
    rows = np.loadtxt(data / "timeseries" / "ecg5000" / "ECG5000_TRAIN.txt")
    return rows[:, 1::EVERY], 1


def days(data: Path) -> tuple[np.ndarray, int]:
    """ETTh1: days of 24 hours, 7 readings each."""
    path = data / "timeseries" / "ETTh1.csv"
    hours = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 8))
    n = len(hours) // HOURS
    return hours[: n * HOURS].reshape(n, -1), hours.shape[1]


DATA = {"heartbeats (ECG5000)": heartbeats, "days (ETTh1)": days}


def models(width: int) -> dict:
    """How each model is spelled."""
    from skvae.networks import Recurrent, VariationalRecurrent

    return {
        "code per step": (2, lambda n: VariationalRecurrent((n, width)), {"max_iter": 60}),
        "recurrent": (8, lambda n: Recurrent((n, width)), {"max_iter": 60}),
        "layers": (8, lambda n: "mlp", {}),
    }


def measured(X: np.ndarray, width: int, name: str, seed: int) -> tuple[float, float]:
    """Nats per step of rows left out, and seconds of the fit."""
    from skvae import VAETransformer

    order = np.random.default_rng(seed).permutation(len(X))
    n_test = round(TEST_SHARE * len(X))
    n_steps = X.shape[1] // width
    n_components, network, settings = models(width)[name]
    vae = VAETransformer(
        n_components, network=network(n_steps), learning_rate_init=1e-2, random_state=seed,
        **settings,
    )  # fmt: skip
    start = time.process_time()
    vae.fit(X[order[n_test:]])
    seconds = time.process_time() - start
    return -float(vae.score_samples(X[order[:n_test]], N_DRAWS).mean()) / n_steps, seconds


def section(X: np.ndarray, width: int) -> list[str]:
    machine, rows = Machine(), []
    for name in models(width):
        found = np.array([measured(X, width, name, seed) for seed in SEEDS])
        print(name, found.tolist(), flush=True)
        nats, seconds = found.T
        rows.append([name, f"{nats.mean():.2f}", f"{np.ptp(nats):.2f}", f"{seconds.mean():.0f}"])
    header = ["model", "nats per step", "largest difference of seeds", "seconds of the fit"]
    return [*markdown_table(header, rows), "", *machine.describe(1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    data = parser.parse_args().data
    if data is None:
        print("sequences: left out, it needs --data or SKVAE_DATA")
        return
    one_thread()
    warnings.simplefilter("ignore")
    sections = {}
    for title, load in DATA.items():
        X, width = load(Path(data))
        shape = f"{len(X)} sequences of {X.shape[1] // width} steps of {width}."
        sections[title] = [shape, "", *section(X, width)]
        write(RESULTS / "sequences.md", HEAD, list(DATA), sections)


HEAD = [
    "# Density of sequences",
    "",
    *paragraphs(
        "Negative log-likelihood in nats per step, original units, of the fifth of the sequences "
        f"that was left out, by {N_DRAWS} draws; means over {len(SEEDS)} seeds, each with rows "
        "left out of its own.  Seconds are CPU seconds of one thread.  Code per step: "
        "`VariationalRecurrent`, 2 latents per step, 60 epochs.  Recurrent: `Recurrent`, 8 "
        "latents per sequence, 60 epochs.  Layers: the default network, 8 latents per sequence, "
        "columns in no order, 200 epochs.  All with `learning_rate_init=1e-2`, else as by default."
    )[:-1],
]


if __name__ == "__main__":
    main()
