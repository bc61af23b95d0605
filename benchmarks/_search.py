"""A hyper-parameter search three ways, each in a process of its own."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from _common import bare, default, hand_in, one_thread, table, whole_process
from _report import markdown_table, paragraphs

N_ROWS, N_COLUMNS = 2_000, 30
N_FOLDS, N_EPOCHS, N_JOBS = 5, 20, 2
BATCHES: tuple = (32, "auto", 128)
SPACE = {"n_components": [4, 8], "learning_rate": [1e-3, 3e-3, 1e-2], "beta": [0.5, 1.0]}
OURS = {"learning_rate": "learning_rate_init", "beta": "objective__beta"}
N_FITS = N_FOLDS * int(np.prod([len(values) for values in SPACE.values()]))

# What is searched, and with what.
KINDS = {
    "eager": "`GridSearchCV`, ordinary PyTorch",
    "bare": "`GridSearchCV`, bare loop",
    "bare-stacked": "`StackedGridSearchCV`, bare loop",
    "default": "`GridSearchCV`, defaults",
    "default-stacked": "`StackedGridSearchCV`, defaults",
}

NOTES = f"""
{N_FITS} fits: {N_FITS // N_FOLDS} candidates on {N_FOLDS} folds of {N_ROWS:,} rows and {N_COLUMNS}
columns, {N_EPOCHS} epochs each, without the final refit. Two widths of the code, three step
sizes and two weights of the KL term are tried. CPU and wall seconds of whole processes,
from the start of the interpreter to its end, workers included; `GridSearchCV` has
`n_jobs={N_JOBS}`, the stacked search one process.

`ordinary PyTorch` is an estimator around `torch.nn.Sequential` and `torch.optim.Adam` with
resident tensors and shuffled minibatches (`benchmarks/_plain.py`). `bare loop` does the same work
with the same network; `defaults` is `VAETransformer(max_iter={N_EPOCHS})` with all that its `fit`
does. The score is the bound with one draw for the first two, the log-likelihood with 16 draws for
the defaults. The last column counts the test scores of the stacked search that have the same bits
as those of `GridSearchCV` with the same estimator.
"""


def estimator(kind: str, batch_size):
    """The estimator of a kind of search, and its grid."""
    ours = {OURS.get(name, name): values for name, values in SPACE.items()}
    if kind == "eager":
        from _plain import EagerVAE

        return EagerVAE(batch_size=_resolved(batch_size, 1.0), max_iter=N_EPOCHS), SPACE
    if kind.startswith("bare"):
        return bare(_resolved(batch_size, 1.0), N_EPOCHS, n_draws=1), ours
    return default(batch_size, N_EPOCHS), ours


def _resolved(batch_size, share: float) -> int:
    """The rule behind ``batch_size="auto"``, for an estimator that has no such rule."""
    if batch_size != "auto":
        return batch_size
    n_rows = share * N_ROWS * (N_FOLDS - 1) / N_FOLDS
    return int(np.clip(2 ** round(np.log2(n_rows / 16)), 32, 512))


def run(kind: str, batch_size) -> list[float]:
    """Search, and give the test scores, candidates first."""
    from sklearn.model_selection import GridSearchCV, KFold

    one_thread()
    model, space = estimator(kind, batch_size)
    X = table(N_ROWS, N_COLUMNS)
    settings: dict = {"cv": KFold(N_FOLDS), "refit": False}
    if kind.endswith("stacked"):
        from skvae.model_selection import StackedGridSearchCV

        found = StackedGridSearchCV(model, space, **settings).fit(X)
    else:
        from joblib.externals.loky import get_reusable_executor

        found = GridSearchCV(model, space, n_jobs=N_JOBS, **settings).fit(X)
        # A worker's time is known once it has ended.
        get_reusable_executor().shutdown(wait=True)
    scores = [found.cv_results_[f"split{fold}_test_score"] for fold in range(N_FOLDS)]
    return np.stack(scores, 1).ravel().tolist()


def search(rounds: int) -> list[str]:
    rows = []
    for batch_size in BATCHES:
        runs: dict[str, list] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                arguments = [str(Path(__file__)), kind, str(batch_size)]
                runs[kind].append(whole_process(arguments))
        cpu = {kind: min(cost.cpu for cost in costs) for kind, costs in runs.items()}
        wall = {kind: min(cost.wall for cost in costs) for kind, costs in runs.items()}
        for kind, label in KINDS.items():
            alone = kind.removesuffix("-stacked")
            same = ratio = "-"
            if alone != kind:
                a, b = (np.array(runs[k][-1].result) for k in (alone, kind))
                same = f"{int((a.view(np.int64) == b.view(np.int64)).sum())} of {len(a)}"
                ratio = f"{cpu[alone] / cpu[kind]:.1f}x, {wall[alone] / wall[kind]:.1f}x"
            first = f"{cpu['eager'] / cpu[kind]:.1f}x, {wall['eager'] / wall[kind]:.1f}x"
            sizes = _named(kind, batch_size)
            rows.append(
                [sizes, label, f"{cpu[kind]:.1f}", f"{wall[kind]:.1f}", first, ratio, same]
            )
            print(" | ".join(rows[-1]), flush=True)
    header = [
        "batch", "search", "CPU s", "wall s", "CPU, wall: faster than ordinary PyTorch",
        "faster than `GridSearchCV`, same estimator", "scores with the same bits",
    ]  # fmt: skip
    return [*paragraphs(NOTES), *markdown_table(header, rows)]


def _named(kind: str, batch_size) -> str:
    if batch_size != "auto":
        return str(batch_size)
    # The defaults hold rows out and so take smaller batches of what is left.
    return f"auto ({_resolved(batch_size, 0.85 if kind.startswith('default') else 1.0)})"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = sys.argv[2]
    hand_in(run(sys.argv[1], int(given) if given.isdigit() else given))
