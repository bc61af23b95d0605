"""ImputationDisplay: what was put into the gaps, against what was observed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ._grid import SMALL, TINY, small_multiples
from ._margins import GROUND, draw_margin, ground, handles_of, outline
from ._missingness import percent
from ._style import BLUE, INK, VERMILION, pyplot
from ._tables import chosen_columns, frame_of, is_missing, kind_of, numbers_of, shortened

MAX_PANELS = 16
MAX_POINTS = 3000
TRUTH = "0.15"
BOTH_OBSERVED = "both observed"


class ImputationDisplay:
    """Imputed cells against observed ones, column by column.

    Make it with :meth:`from_estimator`.  Imputed cells need not be distributed as the observed
    ones are: where old people answer less often, their imputed incomes should differ.  What
    should make you look twice is an imputation outside of what is possible, or a spike.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
        The table with its gaps.
    tables : list of array-like or DataFrame of shape (n_samples, n_features)
        Completed tables, with the columns of ``X`` or some of them.
    columns : list of str, int or pairs of them, default=None
        What to draw, by name or place: a pair is a scatter of two columns of numbers.  None
        takes the columns that have gaps, those with most first, at most 16.
    X_complete : array-like or DataFrame of shape (n_samples, n_features), default=None
        The truth, where gaps were made to judge an imputer.
    missing_values : object, default=np.nan
        What stands for a missing cell.
    drawn : bool, default=True
        Whether the tables hold draws, not best guesses; for the title.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
        One per column or pair.
    columns_ : list
        Columns and pairs that were drawn.
    legend_ : matplotlib Legend
        Observed, imputed and, where given, true cells.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEImputer
    >>> from skvae.plotting import ImputationDisplay
    >>> X, _ = load_wine(return_X_y=True, as_frame=True)
    >>> X.loc[::3, "alcohol"] = np.nan
    >>> imputer = VAEImputer(max_iter=2, refine=None, random_state=0).fit(X)
    >>> display = ImputationDisplay.from_estimator(imputer, X)
    >>> display.columns_
    ['alcohol']
    """

    def __init__(
        self,
        *,
        X,
        tables,
        columns=None,
        X_complete=None,
        missing_values=np.nan,
        drawn=True,
        estimator_name=None,
    ):
        self.X = X
        self.tables = tables
        self.columns = columns
        self.X_complete = X_complete
        self.missing_values = missing_values
        self.drawn = drawn
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        columns=None,
        n_imputations=5,
        X_complete=None,
        random_state=None,
        ax=None,
        name=None,
    ):
        """Draw what a fitted imputer puts into the gaps of a table.

        Parameters
        ----------
        estimator : VAEImputer or other imputer
            Fitted.  One with ``impute`` is asked for draws, as best guesses vary less than
            the cells they stand for; of others the one completed table of ``transform`` is
            drawn, and the title says so.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The table with its gaps.
        columns : list of str, int or pairs of them, default=None
            What to draw, by name or place: a pair is a scatter of two columns of numbers.
            None takes the columns that have gaps, those with most first, at most 16.
        n_imputations : int, default=5
            Number of draws per missing cell; scatters show the first.
        X_complete : array-like or DataFrame of shape (n_samples, n_features), default=None
            The truth, where gaps were made to judge an imputer.
        random_state : int, RandomState instance or None, default=None
            Of the draws; None takes that of the estimator.
        ax : matplotlib Axes or array of them, default=None
            An axes whose place is divided, or one axes per panel; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : ImputationDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"{cls.__name__} draws what an imputer gives, and {type(estimator).__name__} has "
                "neither impute nor transform. Pass a fitted VAEImputer."
            )
        drawn = hasattr(estimator, "impute")
        if drawn:
            tables = estimator.impute(X, n_imputations, random_state=random_state)
        else:
            tables = [estimator.transform(X)]
        tables = [_named(table, estimator, X) for table in tables]
        display = cls(
            X=X,
            tables=tables,
            columns=columns,
            X_complete=X_complete,
            missing_values=getattr(estimator, "missing_values", np.nan),
            drawn=drawn,
            estimator_name=name,
        )
        return display.plot(ax)

    def plot(self, ax=None, *, name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            An axes whose place is divided, or one axes per panel; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.

        Returns
        -------
        display : ImputationDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        frame, tables = frame_of(self.X), [frame_of(table) for table in self.tables]
        truth = None if self.X_complete is None else frame_of(self.X_complete)
        missing = pd.DataFrame(is_missing(frame, self.missing_values), columns=frame.columns)
        for table in [*tables, *([] if truth is None else [truth])]:
            if len(table) != len(frame):
                raise ValueError(
                    f"{caller} expects tables of the {len(frame)} rows of X, got {len(table)}."
                )
        frame = frame.mask(missing)
        self.columns_, n_left_out = self._chosen(caller, missing, tables[0])
        with_pairs = any(_is_pair(column, frame) for column in self.columns_)
        height = 2.3 if with_pairs else 1.8
        where, panels = small_multiples(caller, ax, len(self.columns_), height)
        self.figure_, self.axes_ = where.figure, panels
        groups: list = []
        marks: dict = {}
        for panel, column in zip(panels, self.columns_):
            if _is_pair(column, frame):
                marks |= _draw_pair(caller, panel, column, frame, tables[0], missing)
                continue
            gaps = missing[column].to_numpy()
            imputed = pd.concat([table.loc[gaps, column] for table in tables], ignore_index=True)
            groups = [
                ground("observed", frame.loc[~gaps, column]),
                outline("imputed", imputed, BLUE),
            ]
            if truth is not None:
                hidden = truth.loc[gaps, column]
                groups.append(outline("true, hidden", hidden, TRUTH, ":", marker="|"))
            draw_margin(panel, column, groups, note=f"{percent(gaps.mean())} imputed")
        if groups:
            marks.pop(BOTH_OBSERVED, None)  # grey is explained already
        handles = handles_of(groups) + list(marks.values())
        self.legend_ = where.write_legend(panels, handles, ncols=min(len(panels), 2) * 2)
        chosen = self.estimator_name if name is None else name
        where.write_title(self._title(missing, n_left_out), chosen)
        return self

    def _chosen(self, caller, missing, table) -> tuple[list, int]:
        if self.columns is not None:
            chosen = []
            for column in self.columns:
                pair = _is_pair(column, missing)
                found = chosen_columns(caller, missing, column if pair else [column])
                if pair and len(found) != 2:
                    raise ValueError(f"{caller} draws columns and pairs of them, got {column!r}.")
                chosen.append(tuple(found) if pair else found[0])
            return chosen, 0
        counts = missing[[name for name in missing.columns if name in table.columns]].sum()
        counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
        if not len(counts):
            raise ValueError(
                f"{caller} draws the columns that have gaps, and X has none. Pass the table as "
                "it was before it was completed, or name the columns to draw."
            )
        names = list(counts.index)
        return names[:MAX_PANELS], max(len(names) - MAX_PANELS, 0)

    def _title(self, missing, n_left_out: int) -> str:
        n_cells, m = int(missing.to_numpy().sum()), len(self.tables)
        what = f"{m} draws" if m > 1 else "1 draw"
        title = (
            f"{what if self.drawn else 'Best guess'} for each of {n_cells:,} missing cells"
            if n_cells != 1
            else f"{what if self.drawn else 'Best guess'} for the missing cell"
        )
        return f"{title}; {n_left_out} more columns have gaps" if n_left_out else title


def _is_pair(column, frame) -> bool:
    """Whether this means two columns; the name of one that has levels is a tuple, too."""
    return isinstance(column, tuple) and column not in list(frame.columns)


def _named(table, estimator, X):
    """A completed table with the names of the columns that were kept."""
    if hasattr(table, "columns"):
        return table
    frame = frame_of(table.toarray() if hasattr(table, "toarray") else table)
    names = frame_of(X).columns
    if frame.shape[1] != len(names) and hasattr(estimator, "get_feature_names_out"):
        kept = [str(each) for each in estimator.get_feature_names_out()]
        names = kept[: frame.shape[1]]
    if len(names) == frame.shape[1]:
        frame.columns = names
    return frame


def _draw_pair(caller, ax, pair, frame, table, missing) -> dict:
    """Observed rows as grey dots; a bar along each coordinate that was imputed."""
    for name in pair:
        if kind_of(table[name]) == "category":
            raise ValueError(
                f"{caller} draws pairs of numbers, and column {name!r} holds categories."
            )
    gaps = missing[list(pair)].to_numpy()
    points = np.full((len(table), 2), np.nan)
    for j, name in enumerate(pair):
        points[table[name].notna().to_numpy(), j] = numbers_of(table[name])
    parts = (
        (BOTH_OBSERVED, ~gaps.any(1), "o", GROUND),
        ("x imputed", gaps[:, 0] & ~gaps[:, 1], "_", BLUE),
        ("y imputed", ~gaps[:, 0] & gaps[:, 1], "|", BLUE),
        ("both imputed", gaps.all(1), "+", VERMILION),
    )
    marks = {}
    for label, rows, marker, color in parts:
        rows = np.random.RandomState(0).permutation(np.flatnonzero(rows))[:MAX_POINTS]
        if not len(rows):
            continue
        size = float(np.clip(9000 / len(rows), 6, 30))
        size, width = (size * 0.5, 0.0) if marker == "o" else (size, 1.2)
        marks[label] = ax.scatter(
            *points[rows].T, s=size, marker=marker, color=color, linewidths=width, label=label
        )
    ax.set_xlabel(shortened(pair[0], 26), fontsize=SMALL, color=INK)
    ax.set_ylabel(shortened(pair[1], 20), fontsize=SMALL, color=INK)
    ax.tick_params(labelsize=TINY)
    return marks
