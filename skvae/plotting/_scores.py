"""ScoreDisplay: scores of training and new rows beside the threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ._missingness import percent
from ._style import (
    FAINT,
    FEW,
    INK,
    QUIET,
    VERMILION,
    axes,
    number,
    pyplot,
    write_legend,
    write_title,
)
from ._tables import shortened

N_BINS, FEWEST_BINS = 44, 12
# Of a long tail so much is drawn, in widths of the bulk; what lies beyond is put at the edge.
REACH = 6.0
MOST_CLASSES = len(FEW)
# Words about the threshold take up to so much of the width.
ROOM = 0.35


class ScoreDisplay:
    """Scores of rows held out of the training and of new rows, with the threshold.

    Make it with :meth:`from_estimator`.  Heights are shares of the rows of each group, so that
    groups of different size compare; scores that are far out share the first bin.

    Parameters
    ----------
    held_out : ndarray of shape (n_held_out,)
        Scores of rows that training was stopped by.
    threshold : float
        Below it a row is an outlier.
    scores : ndarray of shape (n_samples,), default=None
        Scores of new rows.
    y : array-like of shape (n_samples,), default=None
        Labels of the new rows: each class has a line of its own.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the histograms.
    figure_ : matplotlib Figure
        Figure of the axes.
    patches_ : list of matplotlib Polygon
        Outline of each group: rows held out, then new rows or their classes.
    line_ : matplotlib Line2D
        The threshold.
    beyond_ : dict of float
        Share of each group below the threshold, by its name.
    legend_ : matplotlib Legend
        Names of the groups, and these shares.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import VAEOutlierDetector
    >>> from skvae.plotting import ScoreDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> detector = VAEOutlierDetector(score_function="likelihood", max_iter=10, random_state=0)
    >>> detector = detector.fit(X[y == 1][:300])
    >>> display = ScoreDisplay.from_estimator(detector, X, y)
    >>> list(display.beyond_)
    ['held-out rows', '0', '1']
    """

    def __init__(self, *, held_out, threshold, scores=None, y=None, estimator_name=None):
        self.held_out = held_out
        self.threshold = threshold
        self.scores = scores
        self.y = y
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(cls, estimator, X=None, y=None, *, ax=None, name=None, **kwargs):
        """Draw the scores of a fitted detector.

        Parameters
        ----------
        estimator : VAEOutlierDetector
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features), default=None
            New rows; None draws the rows held out alone.
        y : array-like of shape (n_samples,), default=None
            Labels of the new rows, at most 7 different ones.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.stairs`` for the histograms.

        Returns
        -------
        display : ScoreDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "held_out_scores_"):
            raise ValueError(
                f"{cls.__name__} draws scores of a detector beside its threshold, and this "
                f"{type(estimator).__name__} has none. Pass a VAEOutlierDetector."
            )
        display = cls(
            held_out=estimator.held_out_scores_,
            threshold=estimator.offset_,
            scores=None if X is None else estimator.score_samples(X),
            y=y,
            estimator_name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.stairs`` for the histograms.

        Returns
        -------
        display : ScoreDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        groups = self._groups(caller)
        ax = axes(caller, ax, (7.6, 3.8))
        edges, is_cut = _edges(list(groups.values()), self.threshold)
        self.patches_, self.beyond_ = [], {}
        ax.axvspan(
            edges[0] - abs(edges[-1] - edges[0]),
            self.threshold,
            color=FAINT,
            alpha=0.35,
            linewidth=0,
            zorder=0,
        )
        colors = (VERMILION,) if self.y is None else FEW
        for place, (label, scores) in enumerate(groups.items()):
            self.beyond_[label] = float(np.mean(scores < self.threshold))
            shares = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores)
            style: dict = {"color": colors[place - 1], "linewidth": 1.6, "zorder": 3}
            if place == 0:
                style = {"color": QUIET, "fill": True, "alpha": 0.55, "linewidth": 0, "zorder": 1}
            text = f"{shortened(label, 24)}: {percent(self.beyond_[label])}"
            self.patches_.append(ax.stairs(shares, edges, label=text, **style | kwargs))
        self.line_ = ax.axvline(self.threshold, color=INK, linewidth=1.2, zorder=4)
        # A legend inside keeps off the shade: where that has room, the words are in it.
        side = "right" if self.threshold - edges[0] > ROOM * (edges[-1] - edges[0]) else "left"
        ax.annotate(
            f" threshold {number(self.threshold)} ", (self.threshold, 1.0),
            xycoords=("data", "axes fraction"), va="top", ha=side, fontsize="small", color=INK,
        )  # fmt: skip
        width = edges[1] - edges[0]
        ax.set_xlim(edges[0] - 0.4 * width, edges[-1] + 0.4 * width)
        ax.set_ylim(bottom=0)
        if is_cut:
            _mark_first_bin(ax, edges)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set_ylabel("Share of the rows", color=INK)
        ax.set_xlabel("Score (higher is more normal)", color=INK)
        self.legend_ = write_legend(ax, title="Below the threshold")
        self.legend_.get_title().set_color(INK)
        write_title(ax, self._title(groups), self.estimator_name if name is None else name)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _groups(self, caller: str) -> dict[str, np.ndarray]:
        groups = {"held-out rows": np.asarray(self.held_out)}
        if self.scores is None:
            return groups
        scores = np.asarray(self.scores)
        if self.y is None:
            return groups | {"new rows": scores}
        check_consistent_length(scores, self.y)
        labels = pd.Series(np.asarray(self.y)).astype(str)
        names = sorted(labels.unique())
        if len(names) > MOST_CLASSES:
            raise ValueError(
                f"{caller} draws a line for each of at most {MOST_CLASSES} classes; y has "
                f"{len(names)} different values. Leave y out, or put classes together."
            )
        return groups | {label: scores[(labels == label).to_numpy()] for label in names}

    def _title(self, groups: dict[str, np.ndarray]) -> str:
        if self.scores is None:
            share = percent(self.beyond_["held-out rows"])
            return f"{share} of the held-out rows lie below the threshold"
        new = np.concatenate([scores for label, scores in list(groups.items())[1:]])
        return (
            f"{percent(float(np.mean(new < self.threshold)))} of {len(new):,} new rows lie "
            f"below the threshold, {percent(self.beyond_['held-out rows'])} of those held out"
        )


def _mark_first_bin(ax, edges: np.ndarray) -> None:
    """Say that it holds all that lies below."""
    from matplotlib.ticker import MaxNLocator

    width = edges[1] - edges[0]
    places = MaxNLocator(6).tick_values(edges[1], edges[-1])
    places = places[(places > edges[1] + 1.6 * width) & (places <= edges[-1])]
    step = number if np.ptp(places) < 10 else "{:,.0f}".format
    labels = [step(place).replace("-", "\N{MINUS SIGN}") for place in places]
    first = f"<{step(edges[1])}".replace("-", "\N{MINUS SIGN}")
    ax.set_xticks([edges[0] + 0.5 * width, *places], [first, *labels])


def _edges(groups: list[np.ndarray], threshold: float) -> tuple[np.ndarray, bool]:
    """Bins for all groups, and whether the lowest scores lie below them."""
    everything = np.concatenate([*groups, [threshold]])
    lower, middle, upper = np.quantile(groups[0], [0.25, 0.5, 0.75])
    bulk = max(upper - lower, 1e-9 * max(abs(middle), 1.0))
    low = min(middle - REACH * bulk, threshold - 0.5 * REACH * bulk)
    is_cut = bool(everything.min() < low)
    start = low if is_cut else everything.min() - 0.02 * bulk
    stop = max(everything.max(), start + bulk)
    n_bins = int(np.clip(2 * np.sqrt(min(map(len, groups))), FEWEST_BINS, N_BINS))
    return np.linspace(start, stop, n_bins + 1), is_cut
