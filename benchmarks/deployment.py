"""Exported models against the estimators that they come from: agreement, size, latency.

    python benchmarks/deployment.py --data ../shared/data [--rounds 5]

Results go to ``benchmarks/results/deployment.md``.
"""

from __future__ import annotations

import argparse
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, best_of, one_thread, whole_process

from _deployment_start import STARTS  # isort: skip
from _report import Machine, markdown_table, paragraphs, write  # isort: skip

import numpy as np  # isort: skip
import pandas as pd  # isort: skip

N_ROWS, N_NEW, N_EPOCHS = 1_500, 500, 30
N_MANY = 1_000
CLOSE = 1e-5
# A row of latencies is the least of so many calls in each round.
CALLS = {1: 30, N_MANY: 3}
TABLES: dict[str, tuple[str, dict, list]] = {
    "adult": ("adult-train.csv", {"header": None, "na_values": "?", "skipinitialspace": True}, []),
    "german credit": ("german.csv", {"header": None}, []),
    "diamonds": ("diamonds.csv", {}, []),
    "breast cancer": ("breast-cancer-wisconsin.csv", {"header": None}, []),
    "titanic": ("titanic.csv", {}, ["alive", "class", "who", "embark_town", "adult_male"]),
    "penguins": ("penguins.csv", {}, []),
    "horse colic": ("horse-colic.csv", {"header": None, "na_values": "?"}, []),
    "auto imports": ("auto_imports.csv", {"header": None, "na_values": "?"}, []),
    "breast cancer, categories": (
        "breast-cancer.csv",
        {"header": None, "na_values": "?", "quotechar": "'"},
        [],
    ),
}
TIMED = ("adult", "diamonds")
HEAD = ["# Deployment", "", "`python benchmarks/deployment.py --data FOLDER`"]
TITLES = ["Agreement", "Size", "Latency", "Start"]
TIMES = ("Latency", "Start")
AGREEMENT = f"""
Largest difference between onnxruntime and skvae, in units of the number itself or of the standard
deviation of its column over the rows, whichever is larger. Models of at most {N_ROWS:,} rows,
scored on these and on up to {N_NEW} others; `decision_function` is that of the default score.
Beside the columns: how many of them hold no numbers, and the share of missing cells.
`inverse_transform` in its columns of floats; in the others, cells that differ are categories that
are as likely, or whole numbers on the other side of a half.

The share of rows that differ by more than 1e-5 is given in brackets, where there are any. The last
three tables joined once the others agreed; the very last one showed what rows at one distance do.
"""
SIZE = """
Bytes of one fitted model in files. ONNX of the transformer has `transform`, `score_samples` and
`inverse_transform`; that of the detector `decision_function` with the default score, which keeps
the training rows as its reference.
"""
LATENCY = f"""
CPU milliseconds per call, for one row and for {N_MANY:,} rows as they come: a frame for skvae, one
array per column for onnxruntime (what `feeds` makes of the frame is not counted, as a service
has its rows in no frame). `torch, network alone` is the encoder without the table around it. One
thread.
"""
START = """
A new process until the first row has its code: from a pickle, and from a graph.
"""


def read(folder: Path, name: str) -> pd.DataFrame:
    """A shuffled table, its columns named by letters where they have no names."""
    file, options, left_out = TABLES[name]
    X = pd.read_csv(folder / "mixed" / file, **options).drop(columns=left_out)
    X = X.rename(columns=lambda column: f"column {column}" if isinstance(column, int) else column)
    return X.sample(min(len(X), N_ROWS + N_NEW), random_state=0).reset_index(drop=True)


def parted(X: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train on, and new ones of no other categories."""
    n = min(N_ROWS, len(X) - len(X) // 4)
    old, new = X[:n], X[n:]
    known = pd.Series(True, index=new.index)
    for column in new.select_dtypes(exclude="number"):
        known &= new[column].isin(old[column].unique()) | new[column].isna()
    return old, new[known]


def models(old: pd.DataFrame):
    from skvae import VAEOutlierDetector, VAETransformer

    settings = {"max_iter": N_EPOCHS, "random_state": 0}
    return VAETransformer(**settings).fit(old), VAEOutlierDetector(**settings).fit(old)


def opened(content: bytes):
    """A session of onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def differences(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    spread = np.maximum(np.abs(wanted), np.nanstd(wanted, axis=0))
    apart = np.abs(found - wanted) / np.where(spread > 0, spread, 1.0)
    return np.where(np.isnan(found) & np.isnan(wanted), 0.0, apart)


def agreement(X: pd.DataFrame, transformer, detector) -> list[str]:
    """A row of figures for one table."""
    from skvae.export import feeds, to_onnx

    found = []
    methods = ["transform", "score_samples"]
    for estimator, names in ((transformer, methods), (detector, ["decision_function"])):
        session = opened(to_onnx(estimator, names).SerializeToString())
        for name, values in zip(names, session.run(None, feeds(session, X))):
            apart = differences(values, getattr(estimator, name)(X))
            share = (apart > CLOSE).mean()
            found.append(f"{apart.max():.1e}" + (f" ({share:.1%})" if share else ""))
    codes = transformer.transform(X)
    session = opened(to_onnx(transformer, "inverse_transform").SerializeToString())
    rows: pd.DataFrame = transformer.inverse_transform(codes)
    parts = [values.ravel() for values in session.run(None, {"codes": codes})]
    whole = [column for column in rows if rows[column].dtype.kind != "f"]
    numbers, others = 0.0, 0
    for column, values in zip(rows, parts, strict=True):
        if column in whole:
            others += int((values.astype(str) != rows[column].astype(str).to_numpy()).sum())
        else:
            numbers = np.maximum(numbers, differences(values, rows[column]).max())
    return [*found, f"{numbers:.1e}", f"{others} of {len(rows) * len(whole):,}"]


def measure_agreement(folder: Path, fitted: Callable) -> list[str]:
    rows = []
    for name in TABLES:
        X = read(folder, name)
        old, new = parted(X)
        both = pd.concat([old, new])
        strings = both.select_dtypes(exclude="number").shape[1]
        share = f"{both.isna().to_numpy().mean():.1%}"
        row = agreement(both, *fitted(name)[1:])
        rows.append([name, f"{both.shape[1]} ({strings}, {share})", *row])
        print(rows[-1], flush=True)
    header = ["", "columns", "`transform`", "`score_samples`", "`decision_function`"]
    header += ["`inverse_transform`, numbers", "other cells that differ"]
    return [*paragraphs(AGREEMENT), *markdown_table(header, rows), ""]


def measure_size(fitted: Callable, folder: Path) -> list[str]:
    import skops.io

    from skvae.export import save_weights, to_onnx

    rows = []
    for name in TIMED:
        _, transformer, detector = fitted(name)
        weights = folder / "weights.safetensors"
        save_weights(transformer, weights)
        methods = ["transform", "score_samples", "inverse_transform"]
        transformed = to_onnx(transformer, methods[:2]).SerializeToString()
        codes = to_onnx(transformer, "inverse_transform").SerializeToString()
        sizes = {
            "transformer": [
                len(pickle.dumps(transformer)),
                len(skops.io.dumps(transformer)),
                weights.stat().st_size,
                len(transformed) + len(codes),
            ],
            "detector": [
                len(pickle.dumps(detector)),
                len(skops.io.dumps(detector)),
                None,
                len(to_onnx(detector).SerializeToString()),
            ],
        }
        for kind, numbers in sizes.items():
            rows.append([f"{name}, {kind}", *(f"{n / 1e3:,.0f} kB" if n else "" for n in numbers)])
    header = ["", "pickle", "skops", "safetensors", "ONNX"]
    return [*paragraphs(SIZE), *markdown_table(header, rows), ""]


def timed(call: Callable, n_calls: int) -> Callable[[], float]:
    """The least CPU time of some calls, in milliseconds."""

    def least() -> float:
        best = np.inf
        for _ in range(n_calls):
            started = time.process_time()
            call()
            best = min(best, time.process_time() - started)
        return 1e3 * best

    return least


def calls(X: pd.DataFrame, transformer, detector) -> dict[str, Callable]:
    """What is compared, on these rows."""
    import torch

    from skvae.export import feeds, to_onnx

    found: dict[str, Callable] = {}
    for estimator, name in (
        (transformer, "transform"),
        (transformer, "score_samples"),
        (detector, "decision_function"),
    ):
        session = opened(to_onnx(estimator, name).SerializeToString())
        inputs = feeds(session, X)
        method = getattr(estimator, name)
        found[f"`{name}`, skvae"] = lambda method=method: method(X)
        found[f"`{name}`, ONNX"] = lambda s=session, inputs=inputs: s.run(None, inputs)
    vae = transformer.vae_
    seen = torch.as_tensor(transformer.codec_.encode(X).inputs)[None, None]

    @torch.no_grad()
    def network():
        return vae.infer(seen).mean

    found["torch, network alone"] = network
    return found


def measure_latency(fitted: Callable, rounds: int) -> list[str]:
    best: dict[str, dict] = {}
    for name in TIMED:
        old, transformer, detector = fitted(name)
        for n_rows, n_calls in CALLS.items():
            compared = calls(old[:n_rows], transformer, detector)
            least = best_of(rounds, {k: timed(call, n_calls) for k, call in compared.items()})
            best[f"{name}, {n_rows:,} row{'s' * (n_rows > 1)}"] = least
            print(name, n_rows, least, flush=True)
    names = list(next(iter(best.values())))
    rows = [[name, *(f"{column[name]:.3g}" for column in best.values())] for name in names]
    return [*paragraphs(LATENCY), *markdown_table(["", *best], rows), ""]


def measure_start(fitted: Callable, folder: Path, rounds: int) -> list[str]:
    from skvae.export import feeds, to_onnx

    old, transformer, _ = fitted(TIMED[0])
    (folder / "model.pkl").write_bytes(pickle.dumps(transformer))
    (folder / "row.pkl").write_bytes(pickle.dumps(old[:1]))
    model = to_onnx(transformer, path=folder / "model.onnx")
    np.savez(folder / "row.npz", **feeds(opened(model.SerializeToString()), old[:1]))
    script, rows = str(Path(__file__).with_name("_deployment_start.py")), []
    for name in STARTS:
        costs = [whole_process([script, name, str(folder)]) for _ in range(rounds)]
        seconds, memory = min(c.cpu for c in costs), min(c.result for c in costs)
        rows.append([name, f"{seconds:.2f} s", f"{memory:,.0f} MiB"])
    return [*paragraphs(START), *markdown_table(["", "CPU time", "memory"], rows), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=TITLES, default=TITLES)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("pass --data, the folder of shared tables, or set SKVAE_DATA")
    one_thread()
    warnings.simplefilter("ignore")
    data, rounds, found = Path(arguments.data), arguments.rounds, {}

    @cache
    def fitted(name: str):
        old, _ = parted(read(data, name))
        return old, *models(old)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measures = {
            "Agreement": lambda: measure_agreement(data, fitted),
            "Size": lambda: measure_size(fitted, folder),
            "Latency": lambda: measure_latency(fitted, rounds),
            "Start": lambda: measure_start(fitted, folder, rounds),
        }
        for title in arguments.only:
            machine = Machine()
            found[title] = measures[title]()
            if title in TIMES:
                found[title] += machine.describe(rounds)
    write(RESULTS / "deployment.md", HEAD, TITLES, found)


if __name__ == "__main__":
    main()
