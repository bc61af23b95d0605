"""Small multiples: a grid of axes in a new figure, in the place of an axes, or as given."""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from ._style import INK, axes, pyplot

SMALL, TINY = 8.5, 7.5
# That of titles, widths of a letter on average, and of what a legend has beside its letters,
# both in font sizes.
MEDIUM, WIDTH_OF_LETTER, WIDTH_OF_HANDLE = 10.0, 0.56, 4.0
FEWEST_LETTERS = 20  # in a line
MAX_PER_ROW = 4
PANEL_WIDTH = 2.05
LETTERS = 20  # of the name of a panel, clear of the next one's


class Place(NamedTuple):
    """What may be divided: all of a new figure, or the place of an axes in another's."""

    figure: Any
    spec: Any
    heading: Any  # axes that hold nothing but title and legend; None in an own figure
    footer: Any

    @property
    def is_own(self) -> bool:
        """Whether the figure was made for this picture."""
        return self.spec is not None and self.heading is None

    def write_title(self, title: str, name: str | None) -> None:
        """Above all panels, a name in a line of its own; nowhere if the axes were given."""
        where = self.figure if self.is_own else self.heading
        if where is None:
            return
        title = fill(
            title, max(int(72 * _inches(where) / (MEDIUM * WIDTH_OF_LETTER)), FEWEST_LETTERS)
        )
        text = f"{name}\n{title}" if name else title
        if self.is_own:
            where.suptitle(text, x=0.008, ha="left", fontsize="medium", color=INK)
        else:
            where.set_title(text, loc="left", fontsize="medium", color=INK)

    def write_legend(self, panels, handles, ncols: int = 3):
        """One legend for all panels, below them; in the first of axes that were given.

        ``ncols`` is how many handles there are in a line at most, where there is room.
        """
        style = {"frameon": False, "labelcolor": INK, "fontsize": SMALL, "handlelength": 1.6}
        if self.spec is None:
            return panels[0].legend(handles=handles, loc="best", **style)
        longest = max(len(handle.get_label()) for handle in handles)
        inches = _inches(self.figure if self.is_own else self.footer)
        room = 72 * inches / (SMALL * (WIDTH_OF_LETTER * longest + WIDTH_OF_HANDLE))
        n_lines = math.ceil(len(handles) / max(min(int(room), ncols), 1))
        ncols = math.ceil(len(handles) / n_lines)
        if self.is_own:
            where = {"loc": "outside lower left", "ncols": ncols}
            return self.figure.legend(handles=handles, **where, **style)
        where = {"loc": "upper left", "ncols": ncols, "borderaxespad": 0.0}
        return self.footer.legend(handles=handles, **where, **style)


def place(caller: str, ax, size: tuple[float, float]) -> Place:
    """A new figure where ``ax`` is None, else the place of that axes."""
    plt = pyplot(caller)
    if ax is None:
        figure = plt.figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
        return Place(figure, figure.add_gridspec(1, 1)[0], None, None)
    spec = ax.get_subplotspec()
    if spec is None:
        raise ValueError(
            f"{caller} divides the place of ax among several axes, and this one is in no grid. "
            "Make it with plt.subplots, or leave ax out."
        )
    ax.set_axis_off()
    above, middle, below = spec.subgridspec(3, 1, height_ratios=(0.01, 1.0, 0.01))
    heading, footer = ax.figure.add_subplot(above), ax.figure.add_subplot(below)
    heading.set_axis_off()
    footer.set_axis_off()
    return Place(ax.figure, middle, heading, footer)


def small_multiples(caller: str, ax, n: int, height: float = 1.75):
    """A place and ``n`` bare axes in it; ``ax`` may be None, an axes or an array of axes."""
    if ax is None or hasattr(ax, "get_subplotspec"):
        n_rows, n_columns = shape_of(n)
        where = place(caller, ax, (PANEL_WIDTH * max(n_columns, 2), height * n_rows + 0.7))
        return where, divided(caller, where.figure, where.spec, n)
    given = np.asarray(ax, dtype=object).ravel()
    if len(given) < n:
        raise ValueError(f"{caller} needs {n} axes, one per panel; ax holds {len(given)}.")
    for spare in given[n:]:
        spare.set_axis_off()
    panels = np.array([axes(caller, each, (0, 0)) for each in given[:n]], dtype=object)
    return Place(panels[0].figure, None, None, None), panels


def shape_of(n: int) -> tuple[int, int]:
    """Rows and columns for ``n`` panels, the last row as full as may be."""
    n_columns = 3 if n in (5, 6, 9) else min(n, MAX_PER_ROW)
    return math.ceil(n / n_columns), n_columns


def divided(caller: str, figure, spec, n: int) -> np.ndarray:
    """``n`` bare axes in one place of a figure."""
    n_rows, n_columns = shape_of(n)
    grid = spec.subgridspec(n_rows, n_columns)
    made = [figure.add_subplot(grid[divmod(j, n_columns)]) for j in range(n)]
    return np.array([axes(caller, each, (0, 0)) for each in made], dtype=object)


def _inches(where) -> float:
    """Width of a figure or of axes."""
    return where.bbox.width / where.figure.dpi
