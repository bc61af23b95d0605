"""Time of fit beside PyOD's VAE, and time and memory of scoring many rows in a fresh process."""

from __future__ import annotations

import argparse
import pickle
import warnings

# First of all, because it holds the libraries to one thread.
from _common import best_of, cpu_seconds, hand_in, one_thread, table, whole_process  # isort: skip

from _memory import MIB, peak_growth  # isort: skip
from _outliers_methods import OURS, Peers  # isort: skip
from _outliers_splits import Case  # isort: skip
from _report import Machine, markdown_table, paragraphs  # isort: skip

# PyOD's default.
N_EPOCHS = 30
FIT_SHAPE, SCORE_SHAPE = (5_000, 30), (1_000_000, 30)
MEMORY_FREE = ("skvae, model", "skvae, elbo", "skvae, likelihood", "skvae, conditional")
PEER = "PyOD VAE"
NOTE = """
CPU seconds of one thread. Fit: {rows:,} rows and {columns} columns, {epochs} epochs, PyOD's
default, and all else as it comes; `as it comes` is ours with its own number of epochs. All fits
end with scores of the training rows.

Scoring: {many:,} rows and {columns} columns, float32, in a process that has fitted {rows:,} other
rows. `MiB` is the growth of the resident memory at its peak beyond the table, `model MiB` that of
the pickled detector.
"""


def detector(method: str, **params):
    from skvae import VAEOutlierDetector

    return VAEOutlierDetector(random_state=0, **OURS[method], **params)


def fit_times(methods: list[str], rounds: int, shape: tuple[int, int], python) -> dict[str, float]:
    """The least CPU seconds of each, measured in turn."""
    one_thread()
    X = table(*shape)
    case = Case(X, None, None)
    cpu_seconds(detector("skvae", max_iter=1).fit, X[:300])
    with Peers(python) as peers:
        calls = {}
        for name in methods:
            short = detector(name, max_iter=N_EPOCHS)
            calls[f"{name}, {N_EPOCHS} epochs"] = lambda short=short: cpu_seconds(short.fit, X)
            whole = detector(name)
            calls[f"{name}, as it comes"] = lambda whole=whole: cpu_seconds(whole.fit, X)
        if python:
            calls[PEER] = lambda: peers(PEER, case, 0).seconds[0]
        return best_of(rounds, calls)


def score(method: str, n_rows: int) -> dict[str, float]:
    """CPU seconds and bytes of scoring so many rows, in this process."""
    one_thread()
    warnings.simplefilter("ignore")
    model = detector(method).fit(table(*FIT_SHAPE, seed=1))
    model.score_samples(table(300, FIT_SHAPE[1]))
    X = table(n_rows, SCORE_SHAPE[1])
    with peak_growth() as growth:
        seconds = cpu_seconds(model.score_samples, X)
    return {"seconds": seconds, "bytes": growth.bytes, "model": len(pickle.dumps(model))}


def section(chosen) -> list[str]:
    """Lines of the page."""
    machine = Machine()
    mine = [m for m in chosen.ours if m in OURS]
    times = fit_times(mine, chosen.rounds, FIT_SHAPE, chosen.peers_python)
    # Without PyOD there is nothing to be faster than.
    peer = times.get(PEER)
    fits = [
        [name, f"{t:.2f}", "" if peer is None else f"{peer / t:.1f}"] for name, t in times.items()
    ]
    scores = []
    for method in (m for m in MEMORY_FREE if m in chosen.ours):
        arguments = [__file__, method, str(chosen.many)]
        found = whole_process(arguments).result
        sizes = [f"{found[name] / MIB:.1f}" for name in ("bytes", "model")]
        scores.append([method, f"{found['seconds']:.1f}", *sizes])
    sizes = {"rows": FIT_SHAPE[0], "columns": FIT_SHAPE[1], "many": chosen.many}
    out = paragraphs(NOTE.format(epochs=N_EPOCHS, **sizes))
    out += markdown_table(["fit", "CPU s", "PyOD's VAE takes times"], fits)
    if scores:
        out += ["", *markdown_table(["score", "CPU s", "MiB", "model MiB"], scores)]
    return [*out, "", *machine.describe(chosen.rounds)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=list(OURS))
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    hand_in(score(options.method, options.rows))
