"""Synthetic tables beside those of TVAE, CTGAN and a Gaussian copula.

    python benchmarks/synthesis.py --data ../shared/data --peers PYTHON

``--peers`` is the interpreter of an environment with the package ctgan, for TVAE and CTGAN;
without it they are left out.  Without ``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to
``benchmarks/results/synthesis.csv`` and ``.md``, one line per table and method; lines of earlier
runs are kept, and replaced where the same thing is measured again.
"""

from __future__ import annotations

import argparse
import io
import os
import time
import warnings
import zipfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from _report import markdown_table
from _synthesis_methods import METHODS, PEERS, run, run_peer

from skvae.metrics import synthesis_report

RESULTS = Path(__file__).parent / "results" / "synthesis"
KEYS = ["table", "rows", "seed", "method"]
# As synthesis_report calls them, and as the papers do.
NAMES = {
    "shapes": "shapes",
    "trends": "trends",
    "quality": "quality",
    "trained_on_synthetic": "tstr",
    "trained_on_real": "trtr",
    "auc": "c2st",
    "closer_to_train": "dcr_share",
    "distance": "dcr",
    "holdout_distance": "dcr_holdout",
    "copies": "copies",
}
# Another sample of the population: what no synthesiser can be expected to surpass.
CEILING = "real rows"
ORDER = [CEILING, *METHODS, *PEERS]

# -- tables ---------------------------------------------------------------------------------


def adult(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "mixed/adult-train.csv", header=None, skipinitialspace=True)


def bank(folder: Path) -> pd.DataFrame:
    with zipfile.ZipFile(folder / "mixed/bank+marketing.zip") as outer:
        with zipfile.ZipFile(io.BytesIO(outer.read("bank.zip"))) as inner:
            return pd.read_csv(inner.open("bank-full.csv"), sep=";")


def german(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "mixed/german.csv", header=None)
    return table.astype({20: "category"})


def diamonds(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "mixed/diamonds.csv")


# Each with the column to predict.
TABLES = {"adult": (adult, "14"), "bank": (bank, "y"), "german": (german, "20"),
          "diamonds": (diamonds, "price")}  # fmt: skip


def load(name: str, folder: Path) -> pd.DataFrame:
    """Numbers as they are, everything else as categories; unknown is a category, too."""
    table = TABLES[name][0](folder).rename(columns=str)
    others = [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]
    texts = table[others].astype(str).astype("category")
    return table.assign(**{name: texts[name] for name in others})


# -- measuring ------------------------------------------------------------------------------


def parts(whole: pd.DataFrame, rows: int, seed: int) -> list[pd.DataFrame]:
    """Training rows, a holdout as large, and as many more if there are."""
    n = min(rows, len(whole) // 2)
    order = np.random.default_rng(seed).permutation(len(whole))
    return [whole.iloc[order[i * n : (i + 1) * n]].reset_index(drop=True) for i in range(3)]


def sample(chosen, name: str, train, further, seed: int, method: str):
    """A synthetic table and its CPU seconds; None where there is none."""
    kept = chosen.samples and chosen.samples / f"{name}-{len(train)}-{seed}-{method}.pickle"
    if kept and kept.exists() and chosen.reuse:
        return pd.read_pickle(kept)
    if method == CEILING:
        return further, 0.0
    if method in METHODS:
        found = run(method, train, len(train), seed)
    elif chosen.peers:
        found = run_peer(method, train, len(train), seed, chosen.peers)
    else:
        return None
    if kept:
        chosen.samples.mkdir(parents=True, exist_ok=True)
        pd.to_pickle(found, kept)
    return found


def measure(chosen, name: str, whole, seed: int, method: str) -> dict | None:
    train, holdout, further = parts(whole, chosen.rows, seed)
    short = method == CEILING and len(further) < len(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sample(chosen, name, train, holdout if short else further, seed, method)
    if found is None:
        return None
    table, cpu = found
    target = TABLES[name][1]
    report = synthesis_report(train, holdout, table, target=target, random_state=0).iloc[0]
    figures = {own: round(float(report[long]), 4) for long, own in NAMES.items()}
    if short:
        # The holdout stands for rows that are not there: only beside the training rows is it new.
        figures |= dict.fromkeys(set(figures) - {"shapes", "trends", "quality", "trtr"}, np.nan)
    return dict(zip(KEYS, [name, len(train), seed, method])) | figures | {"cpu": round(cpu, 2)}


# -- results --------------------------------------------------------------------------------


def write(results: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    results.to_csv(path.with_suffix(".csv"), index=False)
    lines = [
        "# Synthesis",
        "",
        "Measures of `skvae.metrics`: `shapes` and `trends` against the training rows (1 best), "
        "`tstr` and `trtr` a model trained on synthetic and on training rows, tested on the "
        "holdout (ROC AUC, for diamonds R2), `c2st` the ROC AUC of telling synthetic rows from "
        "the holdout (0.5 best), `dcr_share` the share of synthetic rows that are closer to the "
        "training rows than to the holdout (0.5 best: no copying), `dcr` the median distance to "
        "the closest training row, of the holdout `dcr_holdout`, `copies` the share of exact "
        "ones. Holdout and sample are as large as the training part. The line `real rows` has "
        "another real sample in the place of a synthetic one. Counts of our own rows agree with "
        "those of the training rows by choice (but for `vae_no_balance`), so that `shapes` and "
        "`trends` may be better than its; in what is measured with the holdout, better is "
        "overfitting or luck. German credit has no third 500 rows, so there the holdout is that "
        "sample, where it is compared with the training rows; three parts of 333 rows have all "
        "figures. TVAE and CTGAN are those of ctgan "
        "0.12.1 with its defaults (300 epochs); the copula has empirical margins and the "
        "correlations of normal scores. CPU seconds of one thread on a busy machine, so an "
        "upper bound. Means over seeds. Figures of peers are kept from earlier runs on the same "
        "rows.",
    ]
    for (name, rows), part in results.groupby(["table", "rows"]):
        figures = part.groupby("method").mean(numeric_only=True).drop(columns=["rows", "seed"])
        figures = figures.reindex([m for m in ORDER if m in figures.index])
        seeds = part.groupby("method")["seed"].nunique()
        lines += ["", f"## {name}, {rows} rows", ""]
        cells = [
            [
                method,
                str(seeds[method]),
                *("" if v != v else f"{v:.3f}" for v in line[:-1]),
                f"{line.iloc[-1]:.1f}",
            ]
            for method, line in figures.iterrows()
        ]
        lines += markdown_table(["method", "seeds", *figures.columns], cells)
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers", type=Path, help="interpreter that can import ctgan")
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--methods", nargs="*", default=ORDER, choices=ORDER)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--samples", type=Path, help="folder to keep the sampled tables in")
    parser.add_argument("--reuse", action="store_true", help="measure the kept ones again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if chosen.data is None:
        print("synthesis: left out, it needs --data or SKVAE_DATA")
        return
    earlier = chosen.out.with_suffix(".csv")
    lines = pd.read_csv(earlier).to_dict("records") if earlier.exists() else []
    for name in chosen.tables:
        whole = load(name, Path(chosen.data))
        if "vae" in chosen.methods:
            # Nobody pays for importing torch, or for its first call, in the first line measured.
            run("vae", whole[:50], 1, 0)
        for seed in chosen.seeds:
            for method in chosen.methods:
                started = time.time()
                line = measure(chosen, name, whole, seed, method)
                if line is None:
                    print(f"{name}, {method}: left out, no rows are left or --peers is not given")
                    continue
                print(line, f"{time.time() - started:.0f} s", flush=True)
                lines.append(line)
                results = pd.DataFrame(lines).drop_duplicates(KEYS, keep="last")
                write(results.sort_values(KEYS), chosen.out)


if __name__ == "__main__":
    main()
