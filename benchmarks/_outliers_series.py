"""Series of the Numenta Anomaly Benchmark as tables of windows, and what scores are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _outliers_splits import Case
from sklearn.metrics import average_precision_score, roc_auc_score

FOLDER = "realKnownCause"
N_STEPS = 48
# What NAB calls probationary; it has put no labelled window there.
FIRST_SHARE, MOST_PROBATION = 0.15, 750
MOST_WINDOWS = 5_000
FALSE_ALARMS = 0.01
# A labelled window is hit where alarms are so many times as frequent as outside of all.
HIT = 5


class Series(NamedTuple):
    """Times and values, and the labelled windows as first and last place."""

    name: str
    times: pd.Series
    values: np.ndarray
    spans: list[tuple[int, int]]

    def labels(self) -> np.ndarray:
        out = np.zeros(len(self.values), dtype=int)
        for first, last in self.spans:
            out[first : last + 1] = 1
        return out


class Windows(NamedTuple):
    """A table of windows, and the places of their last points in the series."""

    case: Case
    places: np.ndarray
    n_first: int


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "timeseries/nab" / FOLDER).glob("*.csv"))


def load(folder: Path, name: str) -> Series:
    root = folder / "timeseries/nab"
    table = pd.read_csv(root / FOLDER / f"{name}.csv", parse_dates=["timestamp"])
    labelled = json.loads((root / "combined_windows.json").read_text())[f"{FOLDER}/{name}.csv"]
    spans = []
    for first, last in labelled:
        inside = table["timestamp"].between(pd.Timestamp(first), pd.Timestamp(last))
        places = np.flatnonzero(inside)
        spans.append((int(places[0]), int(places[-1])))
    return Series(name, table["timestamp"], table["value"].to_numpy(float), spans)


def probation(series: Series) -> Windows:
    """Windows of the part that NAB sets aside to train on, those that end later to score."""
    return _ahead(series, min(int(FIRST_SHARE * len(series.values)), MOST_PROBATION))


def first_part(series: Series) -> Windows:
    """The same with the whole of the first 15 %, in which labelled windows may lie."""
    return _ahead(series, int(FIRST_SHARE * len(series.values)))


def all_unlabelled(series: Series) -> Windows:
    """Windows of the whole series, evenly spaced where they are many, to train on and to score."""
    table, n_before = _windows(series), N_STEPS - 1
    step = -(-len(table) // MOST_WINDOWS)
    chosen = np.arange(0, len(table), step)
    places = chosen + n_before
    return Windows(Case(table[chosen], None, series.labels()[places]), places, 0)


PROTOCOLS = {
    "probation": probation,
    "first part": first_part,
    "all windows": all_unlabelled,
}


def _windows(series: Series) -> np.ndarray:
    """Row i holds the values from i to i + N_STEPS - 1, as they are."""
    return np.lib.stride_tricks.sliding_window_view(series.values, N_STEPS).copy()


def _ahead(series: Series, n_first: int) -> Windows:
    table = _windows(series)
    n_train = n_first - N_STEPS + 1
    places = np.arange(n_first, len(series.values))
    labels = series.labels()[places]
    return Windows(Case(table[:n_train], table[n_train:], labels), places, n_first)


# -- what scores are worth ----------------------------------------------------------------------


def threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """Exceeded by one in a hundred of the points outside the labelled windows."""
    return float(np.quantile(scores[labels == 0], 1 - FALSE_ALARMS))


def hits(series: Series, windows: Windows, scores: np.ndarray) -> list[bool]:
    """Whether alarms are frequent in each labelled window of which points are scored."""
    alarm = scores > threshold(windows.case.y, scores)
    inside = [(windows.places >= first) & (windows.places <= last) for first, last in series.spans]
    return [bool(alarm[part].mean() >= HIT * FALSE_ALARMS) for part in inside if part.any()]


def figures(series: Series, windows: Windows, scores: np.ndarray) -> dict[str, float]:
    labels, found = windows.case.y, hits(series, windows, scores)
    return {
        "auroc": roc_auc_score(labels, scores),
        "ap": average_precision_score(labels, scores),
        "share": float(labels.mean()),
        "hits": sum(found),
        "labelled": len(found),
    }
