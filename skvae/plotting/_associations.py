"""How strongly any two columns hang together, whatever they hold, and pictures of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ._grid import TINY
from ._style import pyplot
from ._tables import kind_of, labels_of, levels_of, numbers_of, shortened

MAX_ROWS = 10_000
MOST_LABELS = 30
MOST_LETTERS = 24  # that stand side by side below a matrix


def levels_by_column(real: pd.DataFrame, synthetic: pd.DataFrame) -> dict:
    """For every column the levels that both tables share, None where it holds numbers."""
    return {
        name: levels_of(real[name], synthetic[name]) if kind_of(real[name]) == "category" else None
        for name in real.columns
    }


def associations(frame: pd.DataFrame, levels: dict) -> np.ndarray:
    """Matrix of associations, ``(columns, columns)``; NaN where a column does not vary.

    Rank correlation for two columns of numbers or dates, the correlation ratio of ranks for
    numbers and categories, Cramer's V for two of categories: the first from -1 to 1, the
    others from 0 to 1.  Each pair is taken over the rows in which both are observed.
    """
    if len(frame) > MAX_ROWS:
        frame = frame.sample(MAX_ROWS, random_state=0)
    cells = [_coded(frame[name], levels[name]) for name in frame.columns]
    is_number = [levels[name] is None for name in frame.columns]
    out = np.full((len(cells), len(cells)), np.nan)
    for j, first in enumerate(cells):
        for k in range(j):
            both = ~(np.isnan(first) | np.isnan(cells[k]))
            pair = (first[both], cells[k][both])
            if is_number[k] and not is_number[j]:
                pair = pair[::-1]
            measure = _MEASURES[is_number[j] + is_number[k]]
            out[j, k] = out[k, j] = measure(*pair) if both.sum() > 1 else np.nan
    return out


def _coded(column: pd.Series, levels: list | None) -> np.ndarray:
    """Numbers as they are, categories as codes; NaN where missing."""
    out = np.full(len(column), np.nan)
    observed = column.notna().to_numpy()
    if levels is None:
        out[observed] = numbers_of(column)
    else:
        codes = pd.Index(levels).get_indexer(pd.Index(labels_of(column)))
        out[observed] = np.where(codes < 0, len(levels) - 1, codes)
    return out


def _rank_correlation(first, second) -> float:
    from scipy.stats import rankdata

    return _correlation(rankdata(first), rankdata(second))


def _correlation(first, second) -> float:
    if not first.std() or not second.std():
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _correlation_ratio(numbers, codes) -> float:
    """Square root of the share of the variance of ranks that lies between the categories."""
    from scipy.stats import rankdata

    ranks = rankdata(numbers)
    groups, codes = np.unique(codes, return_inverse=True)
    if not ranks.std() or len(groups) < 2:
        return np.nan
    means = np.bincount(codes, ranks) / np.bincount(codes)
    return float(np.sqrt(means[codes].var() / ranks.var()))


def _cramer(first, second) -> float:
    from scipy.stats.contingency import association, crosstab

    table = crosstab(first, second).count
    return float(association(table, method="cramer")) if min(table.shape) > 1 else np.nan


_MEASURES = {2: _rank_correlation, 1: _correlation_ratio, 0: _cramer}


def draw_matrix(ax, matrix, names, *, limit, shades, with_names):
    """Draw a matrix of associations over its columns; empty cells are left out."""
    colors = pyplot("draw_matrix").get_cmap(shades).with_extremes(bad="#F4F4F4")
    image = ax.imshow(matrix, cmap=colors, vmin=-limit, vmax=limit, interpolation="nearest")
    ax.spines[:].set_visible(False)
    step = max(1, int(np.ceil(len(names) / MOST_LABELS)))
    places = np.arange(0, len(names), step)
    size = TINY if len(names) <= 12 else TINY - 1.5
    labels = [shortened(names[j], 14) for j in places]
    ax.set_yticks(places, labels if with_names else [""] * len(places), fontsize=size)
    upright = sum(map(len, labels)) > MOST_LETTERS
    ax.set_xticks(places, labels, fontsize=size, rotation=90 if upright else 0)
    ax.tick_params(length=0, pad=2)
    if len(names) <= 40:
        for edge in np.arange(1, len(names)) - 0.5:
            ax.axhline(edge, color="white", linewidth=0.8)
            ax.axvline(edge, color="white", linewidth=0.8)
    return image


def draw_scale(figure, image, axes):
    """A thin colour bar beside some axes."""
    bar = figure.colorbar(image, ax=axes, shrink=0.72, aspect=22, pad=0.015)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=TINY, length=2)
    bar.ax.locator_params(nbins=5)
    return bar
