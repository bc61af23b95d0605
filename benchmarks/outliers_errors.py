"""Errors in single cells of mixed tables: are the rows found, the cells named, and repaired?

    python benchmarks/outliers_errors.py --data ../shared/data --peers-python PYTHON

One row in twenty of Adult, Bank Marketing and German Credit gets one error (see
``_outliers_errors.py``); detectors learn from all rows and score the same.  PYTHON is the
interpreter of an environment with PyOD, for ECOD; without it that peer is left out.  Without
``--data`` or ``SKVAE_DATA`` nothing runs.  Lines go to ``benchmarks/results/outliers_errors.csv``
and the page is written from them; ``--report`` writes the page alone.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
from _outliers_errors import ERRORS, SHARE, Spoiled, spoil
from _outliers_methods import OURS, Peers
from _outliers_sources import SOURCES
from _outliers_splits import Case
from _report import markdown_table, paragraphs, versions
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

TABLES = {"adult": "Adult", "bank": "Bank Marketing", "german": "German Credit"}
METHODS = ["skvae", "skvae, conditional", "skvae, elbo", "IForest", "ECOD"]
SEEDS = [0, 1, 2]
MOST_ROWS = 2000
ALL = "all"
KEYS = ["table", "seed", "method", "error"]
RESULTS = Path(__file__).parent / "results"


def measured(table: str, seed: int, method: str, spoiled: Spoiled, peers: Peers) -> list[dict]:
    """Lines of one method on one table: all errors, and each kind of them."""
    start = time.process_time()
    detector, odd = scored(method, spoiled, seed, peers)
    seconds = time.process_time() - start
    is_wrong = spoiled.error != ""
    lines = []
    told = explained(detector, odd, spoiled) if detector is not None else None
    for kind in [ALL, *ERRORS]:
        chosen = is_wrong if kind == ALL else spoiled.error == kind
        rows = chosen | ~is_wrong
        line = {"table": table, "seed": seed, "method": method, "error": kind}
        line |= {"rows": len(odd), "wrong": int(chosen.sum())}
        line["auroc"] = roc_auc_score(chosen[rows], odd[rows])
        line["ap"] = average_precision_score(chosen[rows], odd[rows])
        line["fit_and_score_s"] = round(seconds, 1)
        if told is not None:
            part = told[chosen[told["row"]]]
            line |= {"detected": len(part), **part[["named", "repaired"]].sum().to_dict()}
            line["explain_s"] = round(told.attrs["seconds"], 1)
        lines.append(line)
    return lines


def scored(method: str, spoiled: Spoiled, seed: int, peers: Peers):
    """The fitted detector, if it is one of ours, and how odd each row is."""
    case = Case(spoiled.rows, None, spoiled.error != "")
    if method == "IForest":
        matrix, _ = case.matrices()
        return None, -IsolationForest(random_state=seed).fit(matrix).score_samples(matrix)
    if method not in OURS:
        return None, peers(method, case, seed).rows
    from skvae import VAEOutlierDetector

    detector = VAEOutlierDetector(contamination=SHARE, random_state=seed, **OURS[method])
    return detector, -detector.fit(spoiled.rows).score_samples(spoiled.rows)


def explained(detector, odd: np.ndarray, spoiled: Spoiled) -> pd.DataFrame:
    """Of each detected row: is a wrong cell named first, and is all that was wrong repaired?"""
    top = np.argsort(-odd, kind="stable")[: round(SHARE * len(odd))]
    found = top[spoiled.error[top] != ""]
    rows, start = spoiled.rows.iloc[found], time.process_time()
    told = detector.explain(rows)[list(rows.columns)].fillna(0.0).to_numpy().argmin(1)
    repaired = {n: detector.repair(rows, n_cells=n)[0] for n in (1, 2)}
    seconds = time.process_time() - start
    spread = spoiled.true.std(numeric_only=True)
    lines = []
    for i, row in enumerate(found):
        columns = np.flatnonzero(spoiled.wrong[row])
        mended = repaired[min(len(columns), 2)].iloc[i]
        right = [
            is_right(mended, spoiled.true.iloc[row], spread, rows.columns[j]) for j in columns
        ]
        lines.append((row, spoiled.wrong[row, told[i]], all(right)))
    frame = pd.DataFrame(lines, columns=["row", "named", "repaired"])
    frame.attrs["seconds"] = seconds
    return frame


def is_right(mended, true, spread: pd.Series, name) -> bool:
    """Whether a cell is the true category, or within a standard deviation of the column."""
    if name in spread:
        return bool(abs(mended[name] - true[name]) <= spread[name])
    return bool(mended[name] == true[name])


def page(lines: pd.DataFrame) -> str:
    whole = lines[lines["error"] == ALL]
    names = [table for table in TABLES if table in set(lines["table"])]
    methods = [method for method in METHODS if method in set(lines["method"])]
    seeds = ", ".join(map(str, sorted(lines["seed"].unique())))
    text = ["# Errors in single cells of mixed tables", "", *paragraphs(_intro(lines, seeds))]

    def auroc(part: pd.DataFrame) -> str:
        return f"{part['auroc'].mean():.3f}" if len(part) else ""

    text += ["## AUROC", ""]
    rows = []
    for method in methods:
        of_method = whole[whole["method"] == method]
        cells = [auroc(of_method[of_method["table"] == name]) for name in names]
        seconds = of_method["fit_and_score_s"].mean()
        rows.append([method, *cells, auroc(of_method), f"{seconds:.1f}"])
    header = ["method", *(TABLES[name] for name in names), "mean", "CPU s, fit and score"]
    text += [*markdown_table(header, rows), ""]

    text += ["By kind of error, mean over tables and seeds:", ""]
    kinds = [kind for kind in ERRORS if kind in set(lines["error"])]
    rows = [
        [m, *(auroc(lines[(lines["method"] == m) & (lines["error"] == k)]) for k in kinds)]
        for m in methods
    ]
    text += [*markdown_table(["method", *kinds], rows), ""]

    text += ["## Cells named and repaired", "", *paragraphs(EXPLAINED)]
    rows = []
    for method in methods:
        of_method = lines[lines["method"] == method].dropna(subset="detected")
        for label, part in [
            *((TABLES[n], of_method[of_method["table"] == n]) for n in names),
            ("all tables", of_method),
        ]:
            part = part[part["error"] == ALL]
            if len(part):
                rows.append([method, label, *_shares(part)])
        for kind in kinds:
            part = of_method[of_method["error"] == kind]
            if len(part):
                rows.append([method, f"... {kind}", *_shares(part)])
    text += markdown_table(
        ["method", "table or kind of error", "errors", "detected", "named first", "repaired"], rows
    )
    return "\n".join([*text, "", f"{versions()}.", ""])


EXPLAINED = """
Of the rows with an error that are among the twentieth of the lowest scores ("detected"): in how
many is a wrong cell the one of which `explain` says most, and in how many does `repair` give
every wrong cell its true category, or a number within one standard deviation of the column (of
the table without errors)?  `repair` may change one cell, and two where columns were swapped.
"""


def _intro(lines: pd.DataFrame, seeds: str) -> str:
    return f"""
One row in twenty of at most {MOST_ROWS:,} has one error, kinds in turn: another category of the
column; two letters of a category exchanged, which makes a new one; the cell of another row; two
numbers of a row in one another's place; a number 1,000 times as large.  Many of the first and the
third are plausible rows that nobody could tell.  Detectors learn from all rows and score the
same; peers have one column per category and medians in holes.  Seeds {seeds}, of the errors and
of the detectors.  Settings are the defaults, but for `contamination=0.05`.
"""


def _shares(part: pd.DataFrame) -> list[str]:
    wrong, detected = part["wrong"].sum(), part["detected"].sum()
    shares = [part[name].sum() / max(detected, 1) for name in ("named", "repaired")]
    return [f"{wrong:.0f}", f"{detected:.0f}", *(f"{share:.3f}" for share in shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--report", action="store_true", help="write the page alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    file = RESULTS / "outliers_errors.csv"
    known = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)
    if not options.report:
        if options.data is None:
            print("No data: pass --data or set SKVAE_DATA.")
            return
        with Peers(options.peers_python) as peers:
            for seed in options.seeds:
                for table in options.tables:
                    X, _ = SOURCES[table](Path(options.data))
                    X = X.sample(min(MOST_ROWS, len(X)), random_state=seed, ignore_index=True)
                    spoiled = spoil(X, np.random.RandomState(seed))
                    for method in options.methods:
                        if method == "ECOD" and options.peers_python is None:
                            continue
                        lines = pd.DataFrame(measured(table, seed, method, spoiled, peers))
                        print(lines.iloc[0].to_dict(), flush=True)
                        known = pd.concat([known, lines], ignore_index=True)
                        known = known.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
                        known.to_csv(file, index=False, float_format="%.5g")
    (RESULTS / "outliers_errors.md").write_text(page(pd.read_csv(file)), encoding="utf-8")


if __name__ == "__main__":
    main()
