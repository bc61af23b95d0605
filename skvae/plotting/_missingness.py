"""MissingnessDisplay: which cells of a table are missing."""

from __future__ import annotations

import numpy as np

from ._grid import SMALL, TINY, place
from ._style import BLUE, FAINT, INK, QUIET, axes, pyplot
from ._tables import frame_of, is_missing, shortened

OBSERVED = "#EEF0F2"
HEADING = "0.4"
MAX_PIXELS = 1200
N_PATTERNS = 8
MAX_COLUMNS = 60


class MissingnessDisplay:
    """Missing cells of a table: every row, the share per column, the commonest patterns.

    Make it with :meth:`from_data` or :meth:`from_estimator`.  Columns run from the one with
    most gaps at the top; rows with the same gaps stand side by side, those with a gap in the
    topmost column first.

    Parameters
    ----------
    missing : ndarray of bool, shape (n_samples, n_features)
        Where cells are missing.
    names : list of str
        Names of the columns.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (3,)
        Axes with the cells, the shares and the patterns.
    image_ : matplotlib AxesImage
        The cells: columns down, rows of the table across.
    bars_ : matplotlib BarContainer
        Share of missing cells per column.
    shares_ : ndarray of shape (n_features,)
        Those shares, in the order of ``names``.
    patterns_ : list of (tuple of str, int)
        The commonest patterns: names of the missing columns and number of rows; at most 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.plotting import MissingnessDisplay
    >>> X = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, np.nan], [4.0, 5.0]])
    >>> display = MissingnessDisplay.from_data(X)
    >>> display.patterns_
    [((), 2), (('x1',), 1), (('x0', 'x1'), 1)]
    """

    def __init__(self, *, missing, names, estimator_name=None):
        self.missing = missing
        self.names = names
        self.estimator_name = estimator_name

    @classmethod
    def from_data(cls, X, *, missing_values=np.nan, ax=None, name=None):
        """Draw the gaps of a table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The table.
        missing_values : object, default=np.nan
            What stands for a missing cell; NaN, None and NA are all missing unless another
            placeholder is given.
        ax : matplotlib Axes, default=None
            Its place is divided among the three parts; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : MissingnessDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_data")
        frame = frame_of(X)
        missing = is_missing(frame, missing_values)
        names = [str(column) for column in frame.columns]
        return cls(missing=missing, names=names, estimator_name=name).plot(ax)

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None, name=None):
        """Draw the gaps of a table as an imputer sees them: by its ``missing_values``.

        Parameters
        ----------
        estimator : estimator instance
            An imputer, fitted or not; anything without ``missing_values`` takes NaN, None and
            NA for missing.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The table.
        ax : matplotlib Axes, default=None
            Its place is divided among the three parts; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : MissingnessDisplay
            The display, drawn.
        """
        placeholder = getattr(estimator, "missing_values", np.nan)
        return cls.from_data(X, missing_values=placeholder, ax=ax, name=name)

    def plot(self, ax=None, *, name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its place is divided among the three parts; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.

        Returns
        -------
        display : MissingnessDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        missing = np.asarray(self.missing, dtype=bool)
        if missing.ndim != 2 or not missing.size or missing.shape[1] != len(self.names):
            raise ValueError(
                f"{caller} expects missing cells of shape (n_samples, n_features) with at least "
                f"one row and one column, and a name per column; got shape {missing.shape} and "
                f"{len(self.names)} names."
            )
        self.shares_ = missing.mean(0)
        order = np.argsort(-self.shares_, kind="stable")[:MAX_COLUMNS]
        shown, names = missing[:, order], [self.names[j] for j in order]
        places, counts = _patterns(missing)
        self.patterns_ = [
            (tuple(self.names[j] for j in np.flatnonzero(row)), int(count))
            for row, count in zip(places[:N_PATTERNS], counts)
        ]
        n_patterns = len(self.patterns_)
        height = 1.45 + len(names) * (
            0.3 if len(names) <= 12 else 0.21 if len(names) <= 30 else 0.16
        )
        where = place(caller, ax, (8.2, height))
        self.figure_ = where.figure
        widths = (4.6, 1.0, 0.36 * max(n_patterns, 4) + 0.2)
        grid = where.spec.subgridspec(1, 3, width_ratios=widths)
        cells, shares, patterns = (self.figure_.add_subplot(grid[j]) for j in range(3))
        self.axes_ = np.array([axes(caller, each, (0, 0)) for each in (cells, shares, patterns)])
        size = SMALL if len(names) <= 30 else TINY - 0.5
        self._draw_cells(cells, shown, names, size)
        self._draw_shares(shares, self.shares_[order], size)
        self._draw_patterns(patterns, places[:N_PATTERNS, order], counts, len(missing))
        headings = ("Cells, blue where missing", "Missing", "Commonest patterns")
        for each, heading in zip(self.axes_, headings):
            each.set_ylim(len(names) - 0.5, -0.5)
            each.set_title(heading, loc="left", fontsize=SMALL, color=HEADING)
        chosen = self.estimator_name if name is None else name
        where.write_title(self._title(missing, len(names)), chosen)
        return self

    def _draw_cells(self, ax, missing, names, size) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        rows = np.lexsort(~missing.T[::-1])
        shades = LinearSegmentedColormap.from_list("gaps", [OBSERVED, BLUE])
        self.image_ = ax.imshow(
            _squeezed(missing[rows]).T, cmap=shades, vmin=0, vmax=1, aspect="auto",
            interpolation="nearest", extent=(0, len(missing), len(names) - 0.5, -0.5),
        )  # fmt: skip
        for edge in np.arange(1, len(names)) - 0.5:
            ax.axhline(edge, color="white", linewidth=1.2 if len(names) <= 30 else 0.6)
        ax.spines[:].set_visible(False)
        ax.set_yticks(range(len(names)), [shortened(name, 26) for name in names], fontsize=size)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=TINY)
        ax.xaxis.set_major_locator(_integers(5))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.set_xlabel("Rows, sorted by their gaps", color=INK, fontsize=SMALL)

    def _draw_shares(self, ax, shares, size) -> None:
        places = np.arange(len(shares))
        self.bars_ = ax.barh(places, shares, height=0.62, color=BLUE)
        for j, share in enumerate(shares):
            ax.text(
                share, j, f" {percent(share)}", va="center", fontsize=size - 0.5,
                color=INK if share else QUIET,
            )  # fmt: skip
        ax.set_xlim(0, max(shares.max(), 1e-9) * 1.75)
        ax.spines[["bottom", "left"]].set_visible(False)
        ax.set_xticks([])
        ax.set_yticks([])

    def _draw_patterns(self, ax, patterns, counts, n_rows) -> None:
        n_patterns, n_columns = patterns.shape
        across, down = np.meshgrid(np.arange(n_patterns), np.arange(n_columns), indexing="ij")
        size = 34 if n_columns <= 12 else 18 if n_columns <= 30 else 9
        ax.scatter(across[~patterns], down[~patterns], s=size * 0.5, color=FAINT, linewidths=0)
        ax.scatter(across[patterns], down[patterns], s=size, color=BLUE, linewidths=0, marker="s")
        ax.set_xlim(-0.6, n_patterns - 0.4)
        ax.spines[:].set_visible(False)
        ax.set_yticks([])
        ax.set_xticks(
            range(n_patterns), [_share(count, n_rows) for count in counts[:n_patterns]],
            fontsize=TINY - 0.5, rotation=0 if n_patterns < 5 else 40,
        )  # fmt: skip
        ax.tick_params(axis="x", length=0, pad=2)
        ax.set_xlabel("Rows that have it", color=INK, fontsize=SMALL)

    def _title(self, missing, n_shown: int) -> str:
        n_rows, n_columns = missing.shape
        table = f"{n_rows:,} rows and {n_columns} columns"
        if not missing.any():
            title = f"No cell is missing: {table}"
        else:
            title = (
                f"{percent(missing.mean())} of the cells are missing, in "
                f"{int(missing.any(0).sum())} of {n_columns} columns and "
                f"{percent(missing.any(1).mean())} of {n_rows:,} rows"
            )
        return title if n_shown == n_columns else f"{title}; {n_shown} columns shown"


def _patterns(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, the commonest first, and how often each is there."""
    packed = np.ascontiguousarray(np.packbits(missing, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    fewest = missing[first].sum(1)
    order = np.lexsort((first, fewest, -counts))
    return missing[first[order]], counts[order]


def _squeezed(missing: np.ndarray) -> np.ndarray:
    """Shares of missing cells, ``(pixels, columns)``: neighbours are averaged if rows are many."""
    if len(missing) <= MAX_PIXELS:
        return missing.astype(float)
    edges = np.linspace(0, len(missing), MAX_PIXELS + 1).astype(int)
    sums = np.add.reduceat(missing, edges[:-1], axis=0, dtype=float)
    return sums / np.diff(edges)[:, None]


def _share(count: int, n_rows: int) -> str:
    if count >= 0.001 * n_rows:
        return percent(count / n_rows)
    return "1 row" if count == 1 else f"{count} rows"


def _integers(n: int):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n, integer=True)


def percent(share: float) -> str:
    """A share in per cent, without claiming that few are none or most are all."""
    if share in (0, 1) or 0.0995 <= share <= 0.99:
        return f"{share:.0%}"
    return "<0.1%" if share < 0.001 else ">99.9%" if share > 0.999 else f"{share:.1%}"
