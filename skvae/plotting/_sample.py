"""SampleDisplay: rows that a model made, against those it learned from."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..metrics import column_shapes, pair_trends
from ._associations import associations, draw_matrix, draw_scale, levels_by_column
from ._grid import PANEL_WIDTH, SMALL, divided, place, shape_of
from ._margins import draw_margin, ground, handles_of, outline
from ._style import BLUE, INK, axes, pyplot
from ._tables import chosen_columns, frame_of

MAX_PANELS = 16
MAX_SAMPLES = 10_000
SIGNED, DIFFERENCE = "RdBu_r", "PuOr_r"
PARTS = ("both", "margins", "associations")


class SampleDisplay:
    """Synthetic rows against real ones: every column, and how any two hang together.

    Make it with :meth:`from_estimator` or :meth:`from_tables`.

    Parameters
    ----------
    real : array-like or DataFrame of shape (n_real, n_features)
        Rows that were observed.
    synthetic : array-like or DataFrame of shape (n_synthetic, n_features)
        Rows that were made, with the same columns.
    columns : list of str or int, default=None
        Columns whose margins are drawn, by name or place; None takes the first 16.  The
        matrices hold all columns.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
        One per margin.
    matrix_axes_ : ndarray of matplotlib Axes, shape (3,)
        Those of the matrices: real, synthetic, synthetic minus real.
    columns_ : list
        Columns whose margins were drawn.
    real_associations_, synthetic_associations_ : ndarray of shape (n_features, n_features)
        Rank correlation of two columns of numbers or dates, correlation ratio of numbers and
        categories, Cramer's V of two of categories; NaN on the diagonal and for columns that
        do not vary.
    shapes_ : ColumnShapes
        Of ``skvae.metrics.column_shapes``: 1 under a panel is the same distribution.
    trends_ : PairTrends
        Of ``skvae.metrics.pair_trends``, for the title.
    legend_ : matplotlib Legend
        Real and synthetic cells.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import SampleDisplay
    >>> X, _ = load_wine(return_X_y=True, as_frame=True)
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = SampleDisplay.from_estimator(vae, X, random_state=0)
    >>> display.real_associations_.shape
    (13, 13)
    """

    def __init__(self, *, real, synthetic, columns=None, estimator_name=None):
        self.real = real
        self.synthetic = synthetic
        self.columns = columns
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        n_samples=None,
        columns=None,
        parts="both",
        random_state=None,
        ax=None,
        name=None,
    ):
        """Draw rows that a fitted estimator samples beside real ones.

        Parameters
        ----------
        estimator : VAETransformer or other estimator with ``sample``
            Fitted; ``sample(n_samples, random_state=...)`` gives a table.
        X : array-like or DataFrame of shape (n_real, n_features)
            Real rows; those kept out of ``fit`` are the fairer judge.
        n_samples : int, default=None
            Rows to sample; None takes as many as in ``X``, at most 10,000.
        columns : list of str or int, default=None
            Columns whose margins are drawn; None takes the first 16.
        parts : {"both", "margins", "associations"}, default="both"
            What to draw.
        random_state : int, RandomState instance or None, default=None
            Of the sample; None takes that of the estimator.
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : SampleDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "sample"):
            raise TypeError(
                f"{cls.__name__} draws what sample gives, and {type(estimator).__name__} has "
                "none. Pass a VAETransformer, or two tables to from_tables."
            )
        n_rows = min(len(X), MAX_SAMPLES) if n_samples is None else n_samples
        synthetic = estimator.sample(n_rows, random_state=random_state)
        return cls.from_tables(X, synthetic, columns=columns, parts=parts, ax=ax, name=name)

    @classmethod
    def from_tables(cls, real, synthetic, *, columns=None, parts="both", ax=None, name=None):
        """Draw any two tables with the same columns beside one another.

        Parameters
        ----------
        real : array-like or DataFrame of shape (n_real, n_features)
            Rows that were observed.
        synthetic : array-like or DataFrame of shape (n_synthetic, n_features)
            Rows that were made.
        columns : list of str or int, default=None
            Columns whose margins are drawn; None takes the first 16.
        parts : {"both", "margins", "associations"}, default="both"
            What to draw.
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : SampleDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_tables")
        display = cls(real=real, synthetic=synthetic, columns=columns, estimator_name=name)
        return display.plot(ax, parts=parts)

    def plot(self, ax=None, *, parts="both", name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its place is divided; None makes a figure.
        parts : {"both", "margins", "associations"}, default="both"
            What to draw.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.

        Returns
        -------
        display : SampleDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        if parts not in PARTS:
            raise ValueError(f"{caller} expects parts to be one of {PARTS}, got {parts!r}.")
        real, synthetic = self._tables(caller)
        levels = levels_by_column(real, synthetic)
        self.columns_ = list(real.columns)[:MAX_PANELS]
        if self.columns is not None:
            self.columns_ = chosen_columns(caller, real, self.columns)
        self.real_associations_ = associations(real, levels)
        self.synthetic_associations_ = associations(synthetic, levels)
        self.shapes_, self.trends_ = column_shapes(real, synthetic), pair_trends(real, synthetic)
        self.axes_ = self.matrix_axes_ = self.legend_ = None
        with_margins, with_matrices = parts != "associations", parts != "margins"
        n_down, n_across = shape_of(len(self.columns_))
        heights = (1.9 * n_down * with_margins, 3.3 * with_matrices)
        width = PANEL_WIDTH * (4 if with_matrices else max(n_across, 2))
        where = place(caller, ax, (width, sum(heights) + 0.6))
        self.figure_ = where.figure
        rows = where.spec.subgridspec(2, 1, height_ratios=heights) if parts == "both" else None
        if with_margins:
            self._draw_margins(caller, rows[0] if rows else where.spec, real, synthetic)
        if with_matrices:
            self._draw_matrices(caller, rows[1] if rows else where.spec, list(real.columns))
        if with_margins:
            self.legend_ = where.write_legend(self.axes_, self._handles)
        chosen = self.estimator_name if name is None else name
        where.write_title(self._title(real, synthetic, with_margins), chosen)
        return self

    def _tables(self, caller: str):
        real, synthetic = frame_of(self.real), frame_of(self.synthetic)
        if real.shape[1] == synthetic.shape[1] and not hasattr(self.synthetic, "columns"):
            synthetic.columns = real.columns
        lacking = [name for name in real.columns if name not in synthetic.columns]
        if lacking or not len(real) or not len(synthetic):
            raise ValueError(
                f"{caller} expects two tables with rows and the same columns, got "
                f"{real.shape[1]} real and {synthetic.shape[1]} synthetic ones"
                + (f"; {lacking[0]!r} is not among the synthetic ones." if lacking else ".")
            )
        return real, synthetic[list(real.columns)]

    def _draw_margins(self, caller, spec, real, synthetic) -> None:
        self.axes_ = divided(caller, self.figure_, spec, len(self.columns_))
        for panel, column in zip(self.axes_, self.columns_):
            groups = [ground("real", real[column]), outline("synthetic", synthetic[column], BLUE)]
            draw_margin(panel, column, groups, note=self._note(column, real, synthetic))
        self._handles = handles_of(groups)

    def _draw_matrices(self, caller, spec, names) -> None:
        grid = spec.subgridspec(1, 3)
        made = [axes(caller, self.figure_.add_subplot(grid[j]), (0, 0)) for j in range(3)]
        self.matrix_axes_ = np.array(made, dtype=object)
        difference = self.synthetic_associations_ - self.real_associations_
        largest = np.nanmax(np.abs(difference), initial=0.0)
        limit = float(np.clip(np.ceil(largest * 10) / 10, 0.1, 1.0))
        parts = (
            ("Associations, real", self.real_associations_, 1.0, SIGNED),
            ("Associations, synthetic", self.synthetic_associations_, 1.0, SIGNED),
            ("Synthetic minus real", difference, limit, DIFFERENCE),
        )
        images = []
        for panel, (title, matrix, most, shades) in zip(made, parts):
            style = {"limit": most, "shades": shades, "with_names": panel is made[0]}
            images.append(draw_matrix(panel, matrix, names, **style))
            panel.set_title(title, loc="left", fontsize=SMALL, color=INK)
        draw_scale(self.figure_, images[1], made[:2])
        draw_scale(self.figure_, images[2], made[2:])

    def _note(self, column, real, synthetic) -> str:
        score = self.shapes_.scores[column]
        note = "" if np.isnan(score) else f"shape {score:.2f}"
        shares = real[column].isna().mean(), synthetic[column].isna().mean()
        return f"{note}\nmissing {shares[0]:.1%} | {shares[1]:.1%}" if max(shares) else note

    def _title(self, real, synthetic, with_margins) -> str:
        title = f"{len(synthetic):,} synthetic rows against {len(real):,} real ones"
        if not np.isnan(self.shapes_.mean):
            title += f": shapes {self.shapes_.mean:.2f}"
        if not np.isnan(self.trends_.mean):
            title += f", trends {self.trends_.mean:.2f}"
        if with_margins and len(self.columns_) < real.shape[1]:
            title += f"; {len(self.columns_)} of {real.shape[1]} columns drawn"
        return title
