"""Each series with its labelled windows, and below it the score and where that gives alarm."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from _outliers_series import N_STEPS, Series, Windows, hits, threshold
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_auc_score

from skvae.plotting import _style

LABELLED, TRAINED_ON = "#F3E3C3", "0.94"
WIDTH, HEIGHT, LEGEND = 9.0, 1.75, 0.4
# Left and right end of all panels, so that they stand below one another.
MARGINS = {"left": 0.07, "right": 0.985}
# Higher scores are cut: at how many thresholds above the median.
CUT = 3


def draw(path: Path, parts: list[tuple[Series, Windows, np.ndarray, float]]) -> None:
    """One tall figure; a part is a series, its windows, their scores and a peer's area."""
    tall = HEIGHT * len(parts) + LEGEND
    figure = plt.figure(figsize=(WIDTH, tall))
    _legend(figure, 1 - LEGEND / 2 / tall)
    rows = figure.add_gridspec(
        len(parts), 1, hspace=0.42, top=1 - 1.4 * LEGEND / tall, bottom=0.25 / tall, **MARGINS
    )
    for row, part in zip(rows, parts):
        panels = row.subgridspec(2, 1, height_ratios=[3, 2], hspace=0.12)
        upper = figure.add_subplot(panels[0])
        lower = figure.add_subplot(panels[1], sharex=upper)
        _draw_one(upper, lower, *part)
        figure.align_ylabels([upper, lower])
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _legend(figure, height: float) -> None:
    handles = [
        Line2D([], [], color=_style.INK, linewidth=0.8, label="series"),
        Line2D([], [], color=_style.BLUE, linewidth=0.8, label="score"),
        Line2D(
            [], [], color=_style.QUIET, linewidth=0.8, linestyle=(0, (4, 3)), label="threshold"
        ),
        Line2D([], [], color=_style.VERMILION, linewidth=3, label="above it"),
        Patch(color=LABELLED, label="labelled window"),
        Patch(color=TRAINED_ON, label="trained on"),
    ]
    figure.legend(
        handles=handles, loc="center", bbox_to_anchor=(0.5, height), ncols=len(handles),
        frameon=False, fontsize=8,
    )  # fmt: skip


def _draw_one(upper, lower, series: Series, windows: Windows, scores: np.ndarray, peer: float):
    times, limit = series.times.to_numpy(), threshold(windows.case.y, scores)
    places = windows.places
    for axis in (upper, lower):
        _style.axes("outliers_series", axis, (WIDTH, HEIGHT))
        axis.tick_params(labelsize=7)
        if windows.n_first:
            axis.axvspan(times[0], times[windows.n_first], color=TRAINED_ON, linewidth=0, zorder=0)
        for first, last in series.spans:
            axis.axvspan(times[first], times[last], color=LABELLED, linewidth=0, zorder=0)
    upper.plot(times, _broken(series, series.values), color=_style.INK, linewidth=0.5)
    whole = np.full(len(times), np.nan)
    whole[places] = scores
    lower.plot(times[places], _broken(series, whole)[places], color=_style.BLUE, linewidth=0.6)
    middle = np.median(scores)
    bottom = min(middle, np.quantile(scores, 0.001))
    top = middle + min(CUT * (limit - middle), 1.1 * (scores.max() - middle))
    lower.set_ylim(bottom - 0.05 * (top - bottom), top + 0.25 * (top - bottom))
    lower.axhline(limit, color=_style.QUIET, linewidth=0.6, linestyle=(0, (4, 3)))
    alarm = places[scores > limit]
    heights = np.full(len(alarm), top + 0.15 * (top - bottom))
    lower.scatter(
        times[alarm], heights, s=12, marker="|", color=_style.VERMILION, linewidth=0.8, zorder=3
    )
    _dates(lower, times)
    lower.yaxis.set_major_locator(MaxNLocator(3))
    upper.yaxis.set_major_locator(MaxNLocator(3))
    upper.tick_params(bottom=False, labelbottom=False)
    upper.spines["bottom"].set_visible(False)
    found, area = hits(series, windows, scores), roc_auc_score(windows.case.y, scores)
    title = (
        f"{series.name.replace('_', ' ')}, {series.times.iloc[-1]:%Y}: {sum(found)} of "
        f"{len(found)} windows hit; area under the ROC curve {area:.2f}, isolation forest "
        f"{peer:.2f}"
    )
    upper.set_title(title, loc="left", fontsize=8.5, color=_style.INK, pad=4)
    upper.set_ylabel("value", fontsize=7, color=_style.INK)
    lower.set_ylabel("score", fontsize=7, color=_style.INK)


def _broken(series: Series, values: np.ndarray) -> np.ndarray:
    """No line across times that have no rows."""
    steps = series.times.diff().dt.total_seconds().to_numpy()
    values = values.copy()
    values[steps > N_STEPS * np.nanmedian(steps)] = np.nan
    return values


def _dates(axis, times) -> None:
    days = (times[-1] - times[0]) / np.timedelta64(1, "D")
    axis.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=8))
    axis.xaxis.set_major_formatter(DateFormatter("%b %Y" if days > 120 else "%d %b"))
    axis.set_xlim(times[0], times[-1])
