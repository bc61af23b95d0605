"""TraversalDisplay: what becomes of a row while one latent moves."""

from __future__ import annotations

import numpy as np

from ._grid import LETTERS, SMALL, TINY, shape_of, small_multiples
from ._images import as_images, mosaic, pixel_limits, show_pixels
from ._latents import (
    NOTABLE,
    chosen_components,
    fitted_with,
    image_shape_of,
    names_of,
    nats_of,
    with_nats,
)
from ._margins import _few_ticks, _short_number
from ._style import FAINT, FEW, INK, axes, number, write_title
from ._tables import chosen_columns, frame_of, kind_of, labels_of, levels_of, shortened

MAX_PANELS, MAX_LINES, MAX_STRIPS = 8, 5, 10
N_STEPS, N_IMAGES = 41, 11
REACH = (0.02, 0.98)
N_DRAWN = 1000
INCHES_PER_IMAGE = 0.58
MARKS = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)))


class TraversalDisplay:
    """Rows along each latent, the others fixed: lines for tables, strips for images.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    values : ndarray of shape (n_traversals, n_steps)
        Where on its latent each row lies.
    rows : list of array-like or DataFrame of shape (n_steps, n_features)
        Decoded rows, one table per traversal.
    components : list of int
        The latent that moves in each traversal.
    columns : list of str or int, default=None
        Columns to draw, by name or place; None takes the first 8.
    image_shape : tuple of int, default=None
        Height and width, and perhaps channels, of rows that are images.
    limits : tuple of float, default=None
        Values of pixels that are drawn as nothing and as full; None takes the least and the
        largest.
    kl_per_latent : array-like of shape (n_components,), default=None
        Nats that each latent carries.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the axes.
    axes_ : ndarray of matplotlib Axes, shape (n_panels,)
        One per column; a single one with the strips of images.
    columns_ : list
        Columns drawn; empty for images.
    image_ : matplotlib AxesImage or None
        All strips in one picture.
    legend_ : matplotlib Legend or None
        Lines and their latents.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import TraversalDisplay
    >>> X = load_wine(as_frame=True).data
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = TraversalDisplay.from_estimator(vae, X)
    >>> len(display.columns_)
    8
    """

    def __init__(
        self,
        *,
        values,
        rows,
        components,
        columns=None,
        image_shape=None,
        limits=None,
        kl_per_latent=None,
        estimator_name=None,
    ):
        self.values = values
        self.rows = rows
        self.components = components
        self.columns = columns
        self.image_shape = image_shape
        self.limits = limits
        self.kl_per_latent = kl_per_latent
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X=None,
        *,
        start=None,
        components=None,
        columns=None,
        image_shape=None,
        n_steps=None,
        ax=None,
        name=None,
        **kwargs,
    ):
        """Draw traversals through the code space of a fitted estimator.

        Parameters
        ----------
        estimator : VAETransformer
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features), default=None
            Rows: each latent moves from the 2 % to the 98 % quantile of their codes.  None
            samples rows from the model.
        start : array-like or DataFrame of shape (1, n_features), default=None
            The row whose other latents are kept; None keeps them at the medians of the codes.
        components : list of int, default=None
            Latents that move; None takes those that carry the most nats, 5 for tables and 10
            for images.
        columns : list of str or int, default=None
            Columns to draw; None takes 8: those that each latent moves the most, in turn.
        image_shape : tuple of int, default=None
            Height and width, and perhaps channels, of rows that are images; None takes those of
            the network, unless ``columns`` are asked for.
        n_steps : int, default=None
            Rows per traversal; None takes 41 for tables and 11 for images.
        ax : matplotlib Axes or array of Axes, default=None
            Where to draw, or what place to divide; None makes a figure.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.plot``, or ``imshow`` for images.

        Returns
        -------
        display : TraversalDisplay
            The display, drawn.
        """
        caller = f"{cls.__name__}.from_estimator"
        fitted_with(caller, estimator, "inverse_transform", "sensitivities")
        X = estimator.sample(N_DRAWN, random_state=0) if X is None else X
        codes = np.asarray(estimator.transform(X), dtype=float)
        image_shape = image_shape_of(estimator, image_shape, columns)
        is_image = image_shape is not None
        nats = nats_of(estimator)
        chosen = chosen_components(
            caller, codes.shape[1], components, nats, MAX_STRIPS if is_image else MAX_LINES
        )
        origin = np.median(codes, axis=0)
        if start is not None:
            origin = np.asarray(estimator.transform(start), dtype=float)
            if len(origin) != 1:
                raise ValueError(f"{caller} expects start to be one row, got {len(origin)}.")
        n_steps = (N_IMAGES if is_image else N_STEPS) if n_steps is None else n_steps
        low, high = np.quantile(codes, REACH, axis=0)
        values = np.linspace(low[chosen], high[chosen], n_steps).T
        paths = np.repeat(np.atleast_2d(origin)[None], len(chosen), 0).repeat(n_steps, 1)
        for path, component, each in zip(paths, chosen, values):
            path[:, component] = each
        if columns is None and not is_image:
            columns = _most_moved(estimator, chosen)
        display = cls(
            values=values,
            rows=[estimator.inverse_transform(path) for path in paths],
            components=chosen,
            columns=columns,
            image_shape=image_shape,
            limits=pixel_limits(X) if is_image else None,
            kl_per_latent=nats,
            estimator_name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Where to draw, or what place to divide; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.plot``, or ``imshow`` for images.

        Returns
        -------
        display : TraversalDisplay
            The display itself.
        """
        self.columns_, self.image_, self.legend_ = [], None, None
        name = self.estimator_name if name is None else name
        draw = self._draw_lines if self.image_shape is None else self._draw_strips
        draw(f"{type(self).__name__}.plot", ax, name, kwargs)
        return self

    # -- tables ---------------------------------------------------------------------------

    def _draw_lines(self, caller, ax, name, kwargs) -> None:
        tables = [frame_of(rows) for rows in self.rows]
        self.columns_ = list(tables[0].columns)[:MAX_PANELS]
        if self.columns is not None:
            self.columns_ = chosen_columns(caller, tables[0], self.columns)
        where, self.axes_ = small_multiples(caller, ax, len(self.columns_))
        self.figure_ = where.figure
        for panel in self.axes_[-shape_of(len(self.columns_))[1] :]:
            panel.set_xlabel("code", fontsize=TINY, color=INK)
        for panel, column in zip(self.axes_, self.columns_):
            self._draw_panel(panel, column, [table[column] for table in tables], kwargs)
        labels = [self._label(component, " ") for component in self.components]
        handles = [
            self.axes_[0].plot([], [], label=label, **self._style(i) | kwargs)[0]
            for i, label in enumerate(labels)
        ]
        self.legend_ = where.write_legend(self.axes_, handles, ncols=len(handles))
        title = "What moves while one latent moves and the others stay"
        n_columns = tables[0].shape[1]
        if len(self.columns_) < n_columns:
            title += f": {len(self.columns_)} of {n_columns} columns"
        where.write_title(title, name)

    def _draw_panel(self, panel, column, lines, kwargs) -> None:
        panel.set_title(shortened(column, LETTERS), loc="left", fontsize=SMALL, color=INK)
        panel.tick_params(labelsize=TINY)
        kind = "category" if kind_of(lines[0]) == "category" and _is_label(lines[0]) else "number"
        heights = [line.to_numpy() for line in lines]
        if kind == "category":
            levels = levels_of(*lines)
            heights = [_places(line, levels) for line in lines]
            panel.set_yticks(range(len(levels)), [shortened(level, 12) for level in levels])
            panel.set_ylim(-0.5, len(levels) - 0.5)
        elif kind_of(lines[0]) == "date":
            from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

            locator = AutoDateLocator(minticks=2, maxticks=4)
            panel.yaxis.set_major_locator(locator)
            panel.yaxis.set_major_formatter(ConciseDateFormatter(locator))
        else:
            panel.yaxis.set_major_locator(_few_ticks(4))
            panel.yaxis.set_major_formatter(lambda value, _: _short_number(value))
        steps = {"drawstyle": "steps-mid"} if kind == "category" else {}
        n_lines = len(heights)
        for i, (x, height) in enumerate(zip(self.values, heights)):
            # Lines on the same level lie beside one another.
            shift = 0.12 * (i - (n_lines - 1) / 2) if kind == "category" else 0.0
            panel.plot(x, height + shift if shift else height, **steps | self._style(i) | kwargs)
        panel.xaxis.set_major_locator(_few_ticks(4))
        panel.xaxis.set_major_formatter(lambda value, _: _short_number(value))
        panel.grid(axis="y", color=FAINT, linewidth=0.5)
        panel.set_axisbelow(True)

    def _style(self, i: int) -> dict:
        return {
            "color": FEW[i % len(FEW)],
            "linestyle": MARKS[(i // len(FEW)) % len(MARKS)],
            "linewidth": 1.8,
            "solid_capstyle": "round",
        }

    def _label(self, component: int, between: str) -> str:
        label = f"Latent {component}"
        if self.kl_per_latent is None:
            return label
        return f"{label}{between}({number(float(self.kl_per_latent[component]))} nats)"

    # -- images ---------------------------------------------------------------------------

    def _draw_strips(self, caller, ax, name, kwargs) -> None:
        shape = tuple(self.image_shape)
        strips = np.stack([as_images(caller, rows, shape) for rows in self.rows])
        picture, places = mosaic(strips)
        n_strips, n_steps = strips.shape[:2]
        size = (1.1 + INCHES_PER_IMAGE * n_steps, 0.95 + INCHES_PER_IMAGE * n_strips)
        ax = axes(caller, ax, size)
        self.axes_, self.figure_ = np.array([ax], dtype=object), ax.figure
        self.image_ = show_pixels(ax, picture, self.limits, kwargs)
        ax.spines[:].set_visible(False)
        down, across = places
        labels = [with_nats(f"Latent {c}", c, self.kl_per_latent) for c in self.components]
        ax.set_yticks(down, labels, fontsize=SMALL)
        ends = [f"{share:.0%}" for share in REACH]
        middle = [""] * (n_steps - 2)
        ax.set_xticks(across, [ends[0], *middle, ends[1]] if n_steps > 1 else [""], fontsize=TINY)
        ax.set_xlabel("quantile of the latent, even steps between", fontsize=SMALL, color=INK)
        ax.tick_params(length=0, pad=3)
        write_title(ax, "One latent moves along each strip, the others stay", name)


def _most_moved(estimator, components) -> list:
    """Columns that each of these latents moves the most, in turn, then those that any moves."""
    moved = estimator.sensitivities(statistic="rms", standardize=True)[components]
    in_turn = np.argsort(-moved, axis=1, kind="stable").T.ravel()
    latent = np.arange(len(in_turn)) % len(moved)
    notable = in_turn[moved[latent, in_turn] >= NOTABLE]
    places = [*notable, *np.argsort(-moved.max(0), kind="stable")]
    names = names_of(estimator)
    return [names[j] for j in list(dict.fromkeys(places))[:MAX_PANELS]]


def _is_label(column) -> bool:
    """Whether cells are no numbers; a line of numbers may have but two values."""
    return not (column.dtype.kind in "fiu" if hasattr(column.dtype, "kind") else False)


def _places(column, levels: list) -> np.ndarray:
    place = {level: float(j) for j, level in enumerate(levels)}
    return labels_of(column).map(lambda label: place.get(label, len(levels) - 1.0)).to_numpy()
