"""ReconstructionDisplay: rows against what the code keeps of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from ._grid import LETTERS, PANEL_WIDTH, SMALL, TINY, place
from ._images import as_images, mosaic, pixel_limits, show_pixels
from ._latents import fitted_with, image_shape_of
from ._margins import GROUND, NOTE, _few_ticks, _short_number
from ._style import BLUE, FAINT, INK, VERMILION, axes, write_title
from ._tables import chosen_columns, frame_of, kind_of, labels_of, levels_of, numbers_of, shortened

MAX_PANELS, MAX_BARS, MAX_IMAGES = 6, 40, 12
MAX_POINTS = 2000
# Letters of the names of categories that stand side by side below a panel.
MAX_ACROSS = 15
TAILS = (0.002, 0.998)
INCHES_PER_IMAGE = 0.62


class ReconstructionDisplay:
    """Rows beside their reconstructions: cells against cells, images above images.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    original, reconstruction : array-like or DataFrame of shape (n_samples, n_features)
        Rows, and what the model puts in their place.
    columns : list of str or int, default=None
        Columns whose cells are drawn, by name or place; None takes the 3 with the best and the
        3 with the worst scores.
    image_shape : tuple of int, default=None
        Height and width, and perhaps channels, of rows that are images.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
        One per column whose cells are drawn; a single one with images.
    scores_axes_ : matplotlib Axes or None
        Axes with the scores of the columns.
    columns_ : list
        Columns whose cells are drawn; empty for images.
    scores_ : dict of float
        Per column the share of the variance that the reconstruction explains, or the share
        of the categories that are right; NaN where nothing varies.  Empty for images.
    rows_ : ndarray of int
        Rows drawn as images, from the best to the worst reconstructed.
    r2_ : float
        Share of the variance of all pixels that the reconstruction explains; NaN for tables.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import ReconstructionDisplay
    >>> X = load_wine(as_frame=True).data
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(vae, X)
    >>> len(display.scores_), len(display.columns_)
    (13, 6)
    """

    def __init__(
        self, *, original, reconstruction, columns=None, image_shape=None, estimator_name=None
    ):
        self.original = original
        self.reconstruction = reconstruction
        self.columns = columns
        self.image_shape = image_shape
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, columns=None, image_shape=None, ax=None, name=None, **kwargs
    ):
        """Draw how a fitted estimator reconstructs rows.

        Parameters
        ----------
        estimator : VAETransformer
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows; those kept out of ``fit`` are the fairer judge.
        columns : list of str or int, default=None
            Columns whose cells are drawn; None takes the 3 best and the 3 worst.
        image_shape : tuple of int, default=None
            Height and width, and perhaps channels, of rows that are images; None takes those of
            the network, unless ``columns`` are asked for.
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.scatter``, or ``imshow`` for images.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.
        """
        fitted_with(f"{cls.__name__}.from_estimator", estimator, "reconstruct")
        display = cls(
            original=X,
            reconstruction=estimator.reconstruct(X),
            columns=columns,
            image_shape=image_shape_of(estimator, image_shape, columns),
            estimator_name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.scatter``, or ``imshow`` for images.

        Returns
        -------
        display : ReconstructionDisplay
            The display itself.
        """
        check_consistent_length(self.original, self.reconstruction)
        self.columns_: list = []
        self.scores_: dict = {}
        self.scores_axes_: Any = None
        self.rows_, self.r2_ = np.empty(0, dtype=int), np.nan
        name = self.estimator_name if name is None else name
        draw = self._draw_table if self.image_shape is None else self._draw_images
        draw(f"{type(self).__name__}.plot", ax, name, kwargs)
        return self

    # -- tables ---------------------------------------------------------------------------

    def _draw_table(self, caller, ax, name, kwargs) -> None:
        tables = frame_of(self.original), frame_of(self.reconstruction)
        tables[1].columns = tables[0].columns
        names = list(tables[0].columns)
        pairs = {column: _observed(*(table[column] for table in tables)) for column in names}
        self.scores_ = {column: score(*pair) for column, pair in pairs.items()}
        ranked = sorted(
            (column for column in names if not np.isnan(self.scores_[column])),
            key=lambda column: -self.scores_[column],
        )
        self.columns_ = ranked
        if self.columns is not None:
            self.columns_ = chosen_columns(caller, tables[0], self.columns)
        elif len(ranked) > MAX_PANELS:
            self.columns_ = ranked[: MAX_PANELS // 2] + ranked[-MAX_PANELS // 2 :]
        bars = ranked if len(ranked) <= MAX_BARS else _evenly(ranked, MAX_BARS)
        n_panels = max(len(self.columns_), 1)
        height = max(0.55 + 0.2 * len(bars), 2.6)
        n_across = int(np.clip(n_panels * PANEL_WIDTH // height + 1, 1, 3))
        n_down = -(-n_panels // n_across)
        height = max(1.85 * n_down + 0.6, height)
        widths = (2.9, PANEL_WIDTH * n_across)
        where = place(caller, ax, (sum(widths), height))
        self.figure_ = where.figure
        left, right = where.spec.subgridspec(1, 2, width_ratios=widths)
        self.scores_axes_ = axes(caller, self.figure_.add_subplot(left), (0, 0))
        self._draw_scores(bars, {column: _chance(pairs[column][0]) for column in bars})
        # Filled down each row of panels in turn, so that best and worst do not share one.
        grid = right.subgridspec(n_down, n_across)
        places = [
            divmod(j, n_down)[::-1] if n_across == 2 else divmod(j, n_across)
            for j in range(len(self.columns_))
        ]
        made = [axes(caller, self.figure_.add_subplot(grid[each]), (0, 0)) for each in places]
        self.axes_ = np.array(made, dtype=object)
        for panel, column in zip(self.axes_, self.columns_):
            original, reconstruction = pairs[column]
            draw = _draw_confusion if _is_category(original) else _draw_scatter
            draw(panel, original, reconstruction, kwargs)
            panel.set_title(shortened(column, LETTERS), loc="left", fontsize=SMALL, color=INK)
            panel.set_box_aspect(1)
            panel.tick_params(labelsize=TINY)
        n_rows, n_columns = tables[0].shape
        title = f"What the code keeps of {n_rows:,} rows: cells (across) and reconstructions (up)"
        if self.columns is None and len(self.columns_) < n_columns:
            title += ", best and worst columns"
        where.write_title(title, name)

    def _draw_scores(self, bars: list, chance: dict) -> None:
        ax, heights = self.scores_axes_, np.arange(len(bars))
        scores = np.array([self.scores_[column] for column in bars])
        drawn = set(self.columns_)
        ax.hlines(heights, 0, np.clip(scores, 0, 1), color=FAINT, linewidth=1.2, zorder=1)
        is_label = np.array([not np.isnan(chance[column]) for column in bars], dtype=bool)
        groups = ((~is_label, BLUE, "R\N{SUPERSCRIPT TWO}"), (is_label, VERMILION, "share right"))
        for chosen, color, label in groups:
            if chosen.any():
                ax.plot(
                    np.clip(scores[chosen], 0, 1), heights[chosen], "o", color=color,
                    markersize=4.5, label=label, clip_on=False, zorder=3,
                )  # fmt: skip
        if is_label.any():
            commonest = [chance[bars[place]] for place in np.flatnonzero(is_label)]
            style = {"color": NOTE, "markersize": 8, "label": "commonest category"}
            ax.plot(commonest, heights[is_label], "|", **style)
            legend = {"frameon": False, "fontsize": TINY, "labelcolor": INK, "handlelength": 1.0}
            ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, **legend,
                      columnspacing=0.8, handletextpad=0.3, borderaxespad=0.0)  # fmt: skip
        size = SMALL if len(bars) <= 16 else TINY - (1.0 if len(bars) > 30 else 0.0)
        ax.set_yticks(heights, [shortened(column, 20) for column in bars], fontsize=size)
        for text, column in zip(ax.get_yticklabels(), bars):
            if column in drawn and len(drawn) < len(bars):
                text.set_fontweight("bold")
        ax.set_ylim(len(bars) - 0.5, -0.5)
        ax.set_xlim(0, 1)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=TINY)
        ax.spines["left"].set_visible(False)
        if not is_label.any():
            text = "R\N{SUPERSCRIPT TWO} of the reconstruction"
            ax.set_xlabel(text, fontsize=SMALL, color=INK)

    # -- images ---------------------------------------------------------------------------

    def _draw_images(self, caller, ax, name, kwargs) -> None:
        shape = tuple(self.image_shape)
        pair = [as_images(caller, X, shape) for X in (self.original, self.reconstruction)]
        original, reconstruction = pair
        seen = ~np.isnan(original)
        errors = np.where(seen, (original - reconstruction) ** 2, 0.0)
        centre = np.nanmean(original, axis=0)
        spread = np.where(seen, (original - centre) ** 2, 0.0)
        self.r2_ = float(1.0 - errors.sum() / max(spread.sum(), 1e-300))
        order = np.argsort(errors.reshape(len(errors), -1).sum(1), kind="stable")
        self.rows_ = np.asarray(_evenly(list(order), MAX_IMAGES))
        picture, (down, across) = mosaic(np.stack([each[self.rows_] for each in pair]))
        n = len(self.rows_)
        ax = axes(caller, ax, (1.2 + INCHES_PER_IMAGE * n, 0.9 + 2 * INCHES_PER_IMAGE))
        self.axes_, self.figure_ = np.array([ax], dtype=object), ax.figure
        show_pixels(ax, picture, pixel_limits(original), kwargs)
        ax.spines[:].set_visible(False)
        ax.set_yticks(down, ["row", "reconstruction"], fontsize=SMALL)
        ends = ["best"] + [""] * (n - 2) + ["worst"] if n > 1 else [""]
        ax.set_xticks(across, ends, fontsize=SMALL)
        ax.tick_params(length=0, pad=3)
        title = f"The code keeps {self.r2_:.0%} of the variance of {len(original):,} images"
        write_title(ax, title, name)


def score(original, reconstruction) -> float:
    """Share of the variance explained, or of categories that are right; NaN for a constant."""
    if original.nunique() < 2:
        return np.nan
    if _is_category(original):
        same = labels_of(original).to_numpy() == labels_of(reconstruction).to_numpy()
        return float(same.mean())
    cells, guesses = numbers_of(original), numbers_of(reconstruction)
    return float(1.0 - np.mean((cells - guesses) ** 2) / cells.var())


def _observed(original, reconstruction):
    """The cells that are there, in both."""
    both = (original.notna() & reconstruction.notna()).to_numpy()
    return original[both], reconstruction[both]


def _is_category(column) -> bool:
    numeric = column.dtype.kind in "fiu" if hasattr(column.dtype, "kind") else False
    return kind_of(column) == "category" and not numeric


def _chance(column) -> float:
    """Share of the commonest category; NaN for numbers."""
    if not _is_category(column):
        return np.nan
    return float(labels_of(column).value_counts(normalize=True).max())


def _evenly(items: list, n: int) -> list:
    """At most ``n`` of the items, both ends among them."""
    places = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)
    return [items[j] for j in places]


def _draw_scatter(panel, original, reconstruction, kwargs) -> None:
    cells, guesses = numbers_of(original), numbers_of(reconstruction)
    chosen = np.random.RandomState(0).permutation(len(cells))[:MAX_POINTS]
    low, high = np.quantile(np.r_[cells, guesses], TAILS)
    margin = 0.06 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    panel.plot(limits, limits, color=FAINT, linewidth=1.0, zorder=1)
    n = len(chosen)
    style: dict = {
        "s": float(np.clip(2500 / n, 3, 12)),
        "alpha": float(np.clip(250 / n, 0.25, 0.7)),
    }
    style |= {"color": BLUE, "linewidths": 0, "rasterized": n > 1000}
    panel.scatter(cells[chosen], guesses[chosen], **style | kwargs)
    panel.set_xlim(limits)
    panel.set_ylim(limits)
    if kind_of(original) == "date":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        for axis in (panel.xaxis, panel.yaxis):
            locator = AutoDateLocator(minticks=2, maxticks=3)
            axis.set_major_locator(locator)
            axis.set_major_formatter(ConciseDateFormatter(locator))
        return
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(_few_ticks(3))
        axis.set_major_formatter(lambda value, _: _short_number(value))


def _draw_confusion(panel, original, reconstruction, kwargs) -> None:
    """Squares whose areas are the shares of the reconstructions, given the category."""
    levels = levels_of(original, reconstruction)
    place = {level: j for j, level in enumerate(levels)}
    across, up = (
        labels_of(column).map(lambda label: place.get(label, len(levels) - 1)).to_numpy(dtype=int)
        for column in (original, reconstruction)
    )
    counts = np.zeros((len(levels), len(levels)))
    np.add.at(counts, (across, up), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    x, y = np.nonzero(shares > 0)
    colors = [BLUE if i == j else GROUND for i, j in zip(x, y)]
    largest = (70.0 / max(len(levels), 3)) ** 2
    style = {"s": largest * shares[x, y], "c": colors, "marker": "s", "linewidths": 0}
    panel.scatter(x, y, **style | kwargs)
    short = [shortened(level, 9) for level in levels]
    size = TINY if len(levels) <= 5 else TINY - 1.5
    panel.set_yticks(range(len(levels)), short, fontsize=size)
    upright = len(short) * max(map(len, short)) > MAX_ACROSS
    panel.set_xticks(range(len(levels)), short, fontsize=size, rotation=90 if upright else 0)
    panel.set_xlim(-0.6, len(levels) - 0.4)
    panel.set_ylim(-0.6, len(levels) - 0.4)
    panel.tick_params(length=0)
