"""Outliers among the windows of real series with known causes (NAB), beside isolation forest.

    python benchmarks/outliers_series.py --data ../shared/data --peers-python PYTHON

PYTHON is the interpreter of an environment with PyOD, whose KNN and ECOD are left out without
it.  Without ``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to
``benchmarks/results/outliers_series.csv``, one line per series, protocol, method and seed, and
``outliers_series.md`` is written from them.  What is there already is not measured again, unless
``--again`` asks for it:

    python benchmarks/outliers_series.py --methods skvae --again --picture   # ours alone, anew
    python benchmarks/outliers_series.py --report                            # the page alone
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
import warnings
from pathlib import Path

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
from _outliers_methods import DEFAULT, OURS, Peers, Scores, ours
from _outliers_series import PROTOCOLS, Windows, figures, load, names
from _report import markdown_table, paragraphs, versions, write

RESULTS = Path(__file__).parent / "results" / "outliers_series"
KEYS = ["series", "protocol", "method", "seed"]
FOREST = "isolation forest"
PYOD = ("KNN", "ECOD")


def forest(windows: Windows, seed: int) -> Scores:
    from sklearn.ensemble import IsolationForest

    case = windows.case
    clock = [time.process_time()]
    detector = IsolationForest(random_state=seed).fit(case.train)
    clock.append(time.process_time())
    scores = -detector.score_samples(case.train if case.test is None else case.test)
    clock.append(time.process_time())
    return Scores(scores, np.diff(clock).tolist())


def last_value(windows: Windows, seed: int) -> Scores:
    """Distance of the last value from the mean of those trained on: no model at all."""
    case = windows.case
    rows = case.train if case.test is None else case.test
    return Scores(np.abs(rows[:, -1] - case.train.mean()), [0.0, 0.0])


def chance(windows: Windows, seed: int) -> Scores:
    return Scores(np.random.default_rng(seed).random(len(windows.places)), [0.0, 0.0])


SIMPLE = {FOREST: forest, "distance from the mean": last_value, "chance": chance}
METHODS = [*OURS, FOREST, *PYOD, *list(SIMPLE)[1:]]
ASKED_FOR = {"skvae, elbo", "skvae, conditional"}


def scores_of(method: str, windows: Windows, seed: int, peers: Peers) -> Scores:
    if method in OURS:
        return ours(method, windows.case, seed)
    if method in SIMPLE:
        return SIMPLE[method](windows, seed)
    return peers(method, windows.case, seed)


def known(path: Path) -> pd.DataFrame:
    file = path.with_suffix(".csv")
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)


def keep(path: Path, line: dict) -> None:
    """Add a line to the file as it is now: others may be measuring beside this process."""
    lines = pd.concat([known(path), pd.DataFrame([line])], ignore_index=True)
    lines = lines.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g")


def run(chosen, peers: Peers) -> dict[tuple, np.ndarray]:
    """Measure; the scores of the points are for the picture."""
    done = set(known(chosen.out)[KEYS].itertuples(index=False, name=None))
    fresh = {}
    for name in names(chosen.data):
        series = load(chosen.data, name)
        for protocol in chosen.protocols:
            windows = PROTOCOLS[protocol](series)
            for method, seed in itertools.product(chosen.methods, chosen.seeds):
                place = dict(zip(KEYS, (name, protocol, method, seed)))
                if method in PYOD and (peers.python is None or seed != chosen.seeds[0]):
                    continue
                if tuple(place.values()) in done and not chosen.again:
                    continue
                found = scores_of(method, windows, seed, peers)
                fresh[tuple(place.values())] = found.rows
                line = place | figures(series, windows, found.rows)
                line |= dict(zip(("fit", "scoring"), found.seconds))
                print(line, flush=True)
                keep(chosen.out, line)
    return fresh


def picture(chosen, peers: Peers, fresh: dict[tuple, np.ndarray]) -> None:
    """The first protocol and seed; what was not measured just now is measured again."""
    from _outliers_series_picture import draw

    protocol, seed = next(iter(PROTOCOLS)), chosen.seeds[0]
    parts = []
    for name in names(chosen.data):
        series = load(chosen.data, name)
        windows = PROTOCOLS[protocol](series)
        own, peer = (
            fresh[place] if (place := (name, protocol, method, seed)) in fresh
            else scores_of(method, windows, seed, peers).rows
            for method in (DEFAULT, FOREST)
        )  # fmt: skip
        parts.append((series, windows, own, figures(series, windows, peer)["auroc"]))
    draw(chosen.out.with_suffix(".png"), parts)


# -- the page -----------------------------------------------------------------------------------

HEAD = """
The seven real series with known causes of the Numenta Anomaly Benchmark (NAB), and its labelled
windows. A row is a window of 48 consecutive values as they are, as in PyOD's `TimeSeriesOD`: it
has level and shape, and stands for its last point, so that no score looks ahead. Nothing was
chosen per series. Every method has its default settings and is given the same windows.

Areas and average precision (AP) are over points, positive inside labelled windows. A labelled
window is hit where at least 5 % of its points are above the threshold that 1 % of the points
outside all labelled windows exceed. Means over seeds; KNN and ECOD have none.

Labelled windows are wide, a tenth of a series in all, and most of their points look normal, so
that areas are far from 1. `distance from the mean`, of the last value alone, and `chance` show
what needs no model.
"""
WHAT = {
    "probation": """
Trained on what NAB calls probationary, the first 15 % of a series but at most 750 points, and
judged on the rest. NAB has put no labelled window there, and does not judge it either. Its own
detectors go on learning, which none does here. This is the main comparison.
""",
    "first part": """
Trained on the first 15 %, unlabelled, and judged on the rest. A labelled window of the machine
temperature lies in the part trained on, and is not judged.
""",
    "all windows": """
Trained on all windows, unlabelled, and judged on the same: at most 5,000 of a series, evenly
spaced.
""",
}


def report(path: Path) -> None:
    results = known(path)
    sections = {}
    for protocol, text in WHAT.items():
        part = results[results["protocol"] == protocol]
        if len(part):
            sections[protocol] = [*paragraphs(text), *_section(part)]
    head = ["# Series", "", *paragraphs(HEAD + f"\nCPU seconds of one thread. {versions()}.")]
    write(path.with_suffix(".md"), head, list(WHAT), sections)


def _section(part: pd.DataFrame) -> list[str]:
    means = part.groupby(["series", "method"]).mean(numeric_only=True)
    methods = [name for name in METHODS if name in part["method"].unique()]
    areas = means["auroc"].unstack()[methods]
    rows = [[name.replace("_", " "), *map("{:.3f}".format, line)] for name, line in
            zip(areas.index, areas.to_numpy())]  # fmt: skip
    rows.append(["**mean**", *(f"**{value:.3f}**" for value in areas.mean())])
    lines = ["Area under the ROC curve:", "", *markdown_table(["series", *methods], rows), ""]
    precision = means["ap"].unstack()[methods].mean()
    hit, labelled = (means[name].unstack()[methods].sum() for name in ("hits", "labelled"))
    seconds = means[["fit", "scoring"]].sum(axis=1).unstack()[methods].sum()
    rows = [
        [name, f"{precision[name]:.3f}", f"{hit[name]:.1f} of {labelled[name]:.0f}",
         f"{seconds[name]:.1f}"] for name in methods
    ]  # fmt: skip
    title = "Means of average precision, labelled windows hit, and seconds for all series:"
    lines += [title, "", *markdown_table(["method", "AP", "hit", "seconds"], rows), ""]
    return [*lines, *paragraphs(_verdict(areas))]


def _verdict(areas: pd.DataFrame) -> str:
    if not {DEFAULT, FOREST} <= set(areas):
        return ""
    gain = areas[DEFAULT] - areas[FOREST]
    text = (
        f"skvae less isolation forest: {gain.mean():+.3f} in the mean, {gain.median():+.3f} in "
        f"the median, above it in {(gain > 0).sum()} of {len(gain)} series; between "
        f"{_without(gain).min():+.3f} and {_without(gain).max():+.3f} in the mean when any one "
        "series is left out."
    )
    below = gain[gain < 0].sort_values()
    lost = [f"{name.replace('_', ' ')} ({value:+.3f})" for name, value in below.items()]
    return text + (f" Below it in {', '.join(lost)}." if lost else "")


def _without(gain: pd.Series) -> pd.Series:
    return (gain.sum() - gain) / (len(gain) - 1)


def main() -> None:
    usual = [name for name in METHODS if name not in ASKED_FOR]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers-python", type=Path, help="has PyOD")
    parser.add_argument("--protocols", nargs="*", default=list(PROTOCOLS), choices=list(PROTOCOLS))
    parser.add_argument("--methods", nargs="*", default=usual, choices=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="also what is in the file already")
    parser.add_argument("--report", action="store_true", help="write the page and measure nothing")
    parser.add_argument(
        "--picture", action="store_true", help="draw the series and scores as well"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if chosen.report:
        return report(chosen.out)
    if chosen.data is None:
        print("outliers_series: left out, it needs --data or SKVAE_DATA")
        return
    import torch

    torch.set_num_threads(1)
    chosen.data = Path(chosen.data)
    with warnings.catch_warnings(), Peers(chosen.peers_python) as peers:
        warnings.simplefilter("ignore")
        fresh = run(chosen, peers)
        if chosen.picture:
            picture(chosen, peers, fresh)
    report(chosen.out)


if __name__ == "__main__":
    main()
