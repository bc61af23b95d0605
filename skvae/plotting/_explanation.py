"""ExplanationDisplay: which cells make rows odd, and what would be normal there."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from ._grid import SMALL, TINY, place
from ._style import INK, QUIET, VERMILION, axes, number, pyplot
from ._tables import frame_of, shortened

MAX_ROWS, MAX_CELLS = 4, 7
MAX_ACROSS = 2
# A cell of so many nats is marked as one that answers for its row.
NOTABLE = 3.0
# Room at the end of a bar, in shares of the longest, for what would be normal.
ROOM = 1.9


class ExplanationDisplay:
    """The cells of a few rows by how many nats they are less likely than typical ones.

    Make it with :meth:`from_estimator`.  Each row has a panel: its least likely cells with
    their values, and at the end of the bar of each notable one what would be normal there.

    Parameters
    ----------
    contributions : DataFrame of shape (n_rows, n_cells)
        What ``explain`` gives, negative for cells that make a row odd.
    values, normal : DataFrame of shape (n_rows, n_features)
        The rows, and what would be normal in each cell.
    n_cells : int, default=7
        Cells to draw per row.
    titles : list of str, default=None
        Of the panels; None takes the labels of the rows.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (n_rows,)
        One per row.
    bars_ : list of matplotlib BarContainer
        Those of each row, the least likely cell on top.
    columns_ : list of list
        Columns drawn of each row, from top to bottom.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEOutlierDetector
    >>> from skvae.plotting import ExplanationDisplay
    >>> X, _ = load_iris(return_X_y=True, as_frame=True)
    >>> detector = VAEOutlierDetector(max_iter=10, random_state=0).fit(X)
    >>> display = ExplanationDisplay.from_estimator(detector, X, n_rows=2)
    >>> len(display.axes_)
    2
    """

    def __init__(
        self, *, contributions, values, normal, n_cells=MAX_CELLS, titles=None, estimator_name=None
    ):
        self.contributions = contributions
        self.values = values
        self.normal = normal
        self.n_cells = n_cells
        self.titles = titles
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, rows=None, n_rows=MAX_ROWS, n_cells=MAX_CELLS, ax=None, name=None
    ):
        """Draw rows of a table as a fitted detector explains them.

        Parameters
        ----------
        estimator : VAEOutlierDetector
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        rows : list of int, default=None
            Places of the rows to draw; None takes those of the lowest scores.
        n_rows : int, default=4
            How many of these.
        n_cells : int, default=7
            Cells to draw per row.
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : ExplanationDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "explain"):
            raise TypeError(
                f"{cls.__name__} draws what explain gives, and {type(estimator).__name__} has "
                "none. Pass a VAEOutlierDetector."
            )
        scores = estimator.score_samples(X)
        if rows is None:
            rows = np.argsort(scores, kind="stable")[:n_rows]
        rows = np.asarray(rows)
        chosen = _safe_indexing(X, rows)
        contributions, normal = estimator.explain(chosen, return_normal=True)
        labels = contributions.index if isinstance(X, pd.DataFrame) else rows
        display = cls(
            contributions=contributions.reset_index(drop=True),
            values=frame_of(chosen),
            normal=frame_of(normal),
            n_cells=n_cells,
            titles=[f"row {i}: score {number(scores[j])}" for i, j in zip(labels, rows)],
            estimator_name=name,
        )
        return display.plot(ax)

    def plot(self, ax=None, *, name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.

        Returns
        -------
        display : ExplanationDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        n = len(self.contributions)
        if not n:
            raise ValueError(f"{caller} expects at least one row to draw, got none.")
        n_across = min(n, MAX_ACROSS)
        n_down = math.ceil(n / n_across)
        n_cells = min(self.n_cells, self.contributions.shape[1])
        size = (4.4 * max(n_across, 1), (0.75 + 0.25 * n_cells) * n_down + 0.5)
        where = place(caller, ax, size)
        self.figure_ = where.figure
        grid = where.spec.subgridspec(n_down, n_across)
        made = [where.figure.add_subplot(grid[divmod(i, n_across)]) for i in range(n)]
        self.axes_ = np.array([axes(caller, panel, (0, 0)) for panel in made], dtype=object)
        self.bars_, self.columns_ = [], []
        for i, panel in enumerate(self.axes_):
            self._draw_row(panel, i, n_cells)
        for panel in self.axes_[-n_across:]:
            panel.set_xlabel("nats less likely than a typical cell", fontsize=SMALL, color=INK)
        where.write_title(
            "Cells that make rows odd", self.estimator_name if name is None else name
        )
        return self

    def _draw_row(self, panel, i: int, n_cells: int) -> None:
        nats = np.nan_to_num(-self.contributions.iloc[i].to_numpy(dtype=float, na_value=0.0))
        order = np.argsort(-nats, kind="stable")[:n_cells]
        nats = nats[order]
        columns = [self.contributions.columns[j] for j in order]
        colors = [VERMILION if value >= NOTABLE else QUIET for value in nats]
        places = np.arange(len(order))
        self.bars_.append(panel.barh(places, nats, color=colors, height=0.66))
        self.columns_.append(columns)
        panel.set_yticks(places, [self._cell(i, column) for column in columns], fontsize=SMALL)
        panel.invert_yaxis()
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=TINY)
        panel.spines["left"].set_visible(False)
        panel.axvline(0.0, color=QUIET, linewidth=0.8)
        longest = max(nats.max(), 1.0)
        panel.set_xlim(min(nats.min(), 0.0) * 1.05, longest * ROOM)
        panel.set_xticks([tick for tick in panel.get_xticks() if 0 <= tick <= longest])
        for at, column, value in zip(places, columns, nats):
            if value >= NOTABLE and column in self.normal:
                text = f"normal: {_text(self.normal[column].iloc[i])}"
                panel.text(value + 0.03 * longest, at, text, va="center", fontsize=TINY, color=INK)
        title = f"row {i}" if self.titles is None else self.titles[i]
        panel.set_title(title, loc="left", fontsize=SMALL, color=INK)

    def _cell(self, i: int, column) -> str:
        name = shortened(str(column), 18)
        if column not in self.values:
            return name
        return f"{name} = {_text(self.values[column].iloc[i])}"


def _text(cell) -> str:
    if pd.isna(cell):
        return "missing"
    if isinstance(cell, Real) and not isinstance(cell, (bool, np.bool_)):
        whole = f"{cell:,.0f}".replace("-", "\N{MINUS SIGN}")
        return whole if float(cell).is_integer() else number(float(cell))
    return shortened(str(cell), 18)
