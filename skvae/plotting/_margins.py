"""One column, two or three groups of its cells, one small axes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ._grid import SMALL, TINY
from ._style import INK
from ._tables import kind_of, levels_of, numbers_of, shares_of, shortened

TAILS = (0.005, 0.995)
LONG_TAIL = 1.6
MOST_BINS = 30
UNIT_BINS = 30
GROUND, NOTE = "#C9CED3", "0.45"
FEWEST_FOR_BARS = 5
FEW_LEVELS = 8


class Group(NamedTuple):
    """Cells of one column that are drawn alike."""

    label: str
    cells: pd.Series
    style: dict
    mark: dict
    is_ground: bool = False


def ground(label: str, cells: pd.Series) -> Group:
    """The cells that others are held against: a grey area, grey bars."""
    return Group(label, cells, {"color": GROUND, "linewidth": 0}, {}, True)


def outline(label: str, cells: pd.Series, color: str, linestyle: str = "-", marker="o") -> Group:
    """Cells that are held against the ground: a line, and a mark per category."""
    style = {"color": color, "linewidth": 1.5, "linestyle": linestyle}
    mark = {"marker": marker, "markersize": 4.5 if marker == "o" else 8.0, "markeredgewidth": 1.4}
    return Group(label, cells, style, mark)


def handles_of(groups: list[Group]) -> list:
    """What a legend shows of the groups: areas, and lines with the mark of categories."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(label=group.label, **group.style)
        if group.is_ground
        else Line2D([], [], label=group.label, **group.style, **group.mark)
        for group in groups
    ]


def draw_margin(ax, name, groups: list[Group], note: str = "") -> None:
    """Draw the groups of a column, the first of which says what kind of column it is."""
    pooled = groups[0].cells if groups[0].cells.notna().any() else groups[-1].cells
    ax.set_title(shortened(name, 26), loc="left", fontsize=SMALL, color=INK)
    ax.tick_params(labelsize=TINY)
    if not pooled.notna().any():
        ax.text(0.5, 0.5, "no cell observed", transform=ax.transAxes, ha="center", color=NOTE)
        ax.set_xticks([])
        ax.set_yticks([])
    elif kind_of(pooled) == "category":
        _draw_shares(ax, groups)
    else:
        cut = _draw_histograms(ax, groups, is_date=kind_of(pooled) == "date")
        note = "\n".join(filter(None, (note, cut)))
    if note:
        ax.set_xlabel(note, fontsize=TINY - 0.5, color=NOTE, loc="left", linespacing=1.3)


def _draw_shares(ax, groups: list[Group]) -> None:
    levels = levels_of(*(group.cells for group in groups))
    places = np.arange(len(levels), dtype=float)
    for group in groups:
        shares = shares_of(group.cells, levels)
        if group.is_ground:
            ax.barh(places, shares, 0.72, **group.style)
        elif group.cells.notna().any():
            size = group.mark["markersize"] * (1.0 if len(levels) <= FEW_LEVELS else 0.72)
            style = group.style | group.mark | {"linestyle": "none", "markersize": size}
            style |= {"clip_on": False, "zorder": 3}
            ax.plot(shares, places, **style)
    size = TINY if len(levels) <= FEW_LEVELS else TINY - 1.5
    ax.set_yticks(places, [shortened(level, 14) for level in levels], fontsize=size)
    ax.set_ylim(len(levels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(_few_ticks(3))
    ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.set_xlim(0)


def _draw_histograms(ax, groups: list[Group], is_date: bool) -> str:
    """Draw shares per bin; say which shares lie beyond the axis, if it was cut."""
    values = [numbers_of(group.cells) for group in groups]
    edges, is_cut = _edges([each for each in values if len(each)])
    beyond = []
    top = 0.0
    for group, each in zip(groups, values):
        inside = (each >= edges[0]) & (each <= edges[-1])
        beyond.append(1.0 - inside.mean() if len(each) else 0.0)
        if not len(each):
            continue
        if len(each) < FEWEST_FOR_BARS and not group.is_ground:
            style = group.style | {"linestyle": "none", "marker": "|", "markersize": 14}
            ax.plot(each[inside], np.zeros(inside.sum()), **style)
            continue
        heights = np.histogram(each, edges)[0] / len(each)
        top = max(top, heights.max())
        ax.stairs(heights, edges, fill=group.is_ground, **group.style)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, top * 1.08 or 1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if is_date:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=2, maxticks=4)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        whole = (values[0] == np.round(values[0])).all()
        ax.xaxis.set_major_locator(_few_ticks(4, integer=bool(whole)))
        ax.xaxis.set_major_formatter(lambda value, _: _short_number(value))
    if not is_cut or max(beyond) == 0:
        return ""
    return "beyond: " + " | ".join(f"{share:.1%}" for share in beyond)


def _edges(values: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    """Common bins, and whether a long tail was cut off: quantiles then bound the axis."""
    low, high = min(each.min() for each in values), max(each.max() for each in values)
    inner = [np.quantile(each, TAILS) for each in values]
    left, right = min(each[0] for each in inner), max(each[1] for each in inner)
    is_cut = high - low > LONG_TAIL * (right - left) > 0
    if is_cut:
        margin = 0.1 * (right - left)
        low, high = max(low, left - margin), min(high, right + margin)
    whole = all((each == np.round(each)).all() for each in values)
    if low == high:
        return np.array([low - 0.5, high + 0.5]), False
    if whole:
        low, high = np.floor(low), np.ceil(high)
        # Bins of unequal numbers of whole numbers would look like a comb.
        width = max(1.0, np.ceil((high - low + 1) / UNIT_BINS))
        return np.arange(low - 0.5, high + width, width), is_cut
    n_bins = int(np.clip(np.sqrt(min(len(each) for each in values)) * 1.2, 8, MOST_BINS))
    return np.linspace(low, high, n_bins + 1), is_cut


def _few_ticks(n: int, integer: bool = False):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n, steps=[1, 2, 2.5, 5, 10], integer=integer)


def _short_number(value: float) -> str:
    """Thousands and millions by a letter, so that ticks do not collide."""
    minus = "\N{MINUS SIGN}" if value < 0 else ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            unit = 1e3 if letter == "k" else size
            return f"{minus}{abs(value) / unit:g}{letter}"
    return f"{minus}{abs(value):.4g}"
