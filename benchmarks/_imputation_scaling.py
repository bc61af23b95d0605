"""CPU seconds and peak memory of VAEImputer against rows, each size in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from _memory import MIB, peak_growth  # isort: skip

NOTE = (
    "CPU seconds and growth of the resident memory (MiB) of `fit` and of `transform` of the same "
    "rows: the 16 columns of letter, 30 % of the cells hidden at random. Rows beyond the 20,000 "
    "of the table are drawn again, with normal noise of 0.1 standard deviations. Regressors are "
    "fitted to 10,000 rows at most."
)


def measure(path: Path, n_rows: int) -> dict:
    """One size, in this process."""
    from skvae import VAEImputer

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = pd.read_csv(path).to_numpy(dtype=float)
    VAEImputer(max_iter=1, random_state=0).fit_transform(np.where(X[:60] > 8, np.nan, X[:60]))
    rows = rng.permutation(len(X))[:n_rows]
    if n_rows > len(X):
        rows = rng.integers(len(X), size=n_rows)
    table = X[rows]
    if n_rows > len(X):
        table = table + 0.1 * X.std(0) * rng.normal(size=table.shape)
    table[rng.uniform(size=table.shape) < 0.3] = np.nan
    found: dict = {"rows": n_rows}
    imputer = VAEImputer(random_state=0)
    for name, work in (("fit", imputer.fit), ("transform", imputer.transform)):
        with peak_growth() as growth:
            started = time.process_time()
            work(table)
            seconds = time.process_time() - started
        found |= {f"{name} s": round(seconds, 2), f"{name} MiB": round(growth.bytes / MIB, 1)}
    return found


def sizes(path: Path, rows: list[int]) -> pd.DataFrame:
    """All sizes, each in its process."""
    lines = []
    for n in rows:
        command = [sys.executable, __file__, str(path), str(n)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append(json.loads(ran.stdout.splitlines()[-1]))
        print(lines[-1], flush=True)
    return pd.DataFrame(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("rows", type=int)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.path, chosen.rows)))
