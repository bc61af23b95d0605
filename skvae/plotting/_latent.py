"""LatentDisplay: where the rows lie in code space."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ._density import Density, are_clear, class_places
from ._latents import nats_of
from ._style import (
    FAINT,
    FEW,
    INK,
    MANY,
    QUIET,
    SEQUENTIAL,
    axes,
    number,
    pyplot,
    write_legend,
    write_title,
)

RADII = (1, 2, 3)
# Shares of the rows inside the contours, of all rows and of a class.
SHARES, CLASS_SHARE = (0.95, 0.75, 0.5), 0.85
FEWEST_FOR_DENSITY, FEWEST_OF_CLASS = 200, 30
LABEL_SIZE = 11.0
# In diameters of N(0, I): where codes reach so far, its circles say nothing of them.
FAR = 2.5
LABELS = ("auto", "inside", "legend")
MAX_CLASSES = len(MANY)


class LatentDisplay:
    """Two latents of the codes of rows, with their density and the names of their classes.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Posterior means.
    y : array-like of shape (n_samples,), default=None
        What colours the rows: classes get names amid their rows where these are legible, else
        a legend; other numbers, and dates, a colour bar.
    components : tuple of int, default=(0, 1)
        Latents on the two axes, counted from 0.
    kl_per_latent : array-like of shape (n_components,), default=None
        Nats that each latent carries, for the title.
    covariance : array-like of shape (n_components, n_components), default=None
        Of the prior in training, N(0, I), on the axes of the codes; None is the identity.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the codes.
    figure_ : matplotlib Figure
        Figure of the axes.
    scatter_ : matplotlib PathCollection
        The codes, in an order that is mixed so that no class covers the others.
    circles_ : list of matplotlib Ellipse
        One, two and three standard deviations of N(0, I), the prior in training; empty where
        the codes reach far beyond.
    contours_ : list of matplotlib QuadContourSet
        Edges of the densest regions: of 50, 75 and 95 % of all rows, or of 85 % of each
        class.
    labels_ : list of matplotlib Text
        Names of the classes amid their rows; empty where there is a legend instead.
    legend_ : matplotlib Legend or None
        Classes and their colours.
    colorbar_ : matplotlib Colorbar or None
        Scale of a continuous ``y``.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import LatentDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = LatentDisplay.from_estimator(vae, X, y)
    >>> display.ax_.get_xlabel()
    'Latent 0'
    """

    def __init__(
        self,
        *,
        codes,
        y=None,
        components=(0, 1),
        kl_per_latent=None,
        covariance=None,
        estimator_name=None,
    ):
        self.codes = codes
        self.y = y
        self.components = components
        self.kl_per_latent = kl_per_latent
        self.covariance = covariance
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        components=(0, 1),
        density="auto",
        labels="auto",
        ax=None,
        name=None,
        **kwargs,
    ):
        """Draw the codes that a fitted estimator gives to rows.

        Parameters
        ----------
        estimator : VAETransformer or Pipeline that ends in one
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            What colours them.  Words, booleans, categories and up to ten whole numbers or dates
            are classes; the name of a Series becomes that of the legend.
        components : tuple of int, default=(0, 1)
            Latents on the two axes, counted from 0.
        density : bool or "auto", default="auto"
            Whether to draw contours of a kernel density of the codes; ``"auto"`` does from 200
            rows on.
        labels : {"auto", "inside", "legend"}, default="auto"
            Where classes are named: amid their rows, or in a legend; ``"auto"`` names them
            inside where each name stands among rows of its class and clear of the others.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.scatter``.

        Returns
        -------
        display : LatentDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        final = estimator[-1] if hasattr(estimator, "named_steps") else estimator
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"{cls.__name__} draws what transform gives, and {type(final).__name__} has "
                "none. Pass a VAETransformer, or the part of the pipeline that ends in it."
            )
        axes = getattr(final, "_axes", None)
        display = cls(
            codes=np.asarray(estimator.transform(X)),
            y=y,
            components=components,
            kl_per_latent=nats_of(final),
            covariance=None if axes is None else axes.covariance,
            estimator_name=name,
        )
        return display.plot(ax, density=density, labels=labels, **kwargs)

    def plot(self, ax=None, *, density="auto", labels="auto", name=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        density : bool or "auto", default="auto"
            Whether to draw contours of a kernel density of the codes; ``"auto"`` does from 200
            rows on.
        labels : {"auto", "inside", "legend"}, default="auto"
            Where classes are named: amid their rows, or in a legend; ``"auto"`` names them
            inside where each name stands among rows of its class and clear of the others.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.scatter``.

        Returns
        -------
        display : LatentDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        if labels not in LABELS:
            raise ValueError(f"{caller} expects labels to be one of {LABELS}, got {labels!r}.")
        codes = self._chosen_codes()
        ax = axes(caller, ax, (6.0, 5.2))
        self.ax_, self.figure_ = ax, ax.figure
        self.legend_ = self.colorbar_ = None
        self.labels_, self.contours_, self._where = [], [], labels
        self._density = len(codes) >= FEWEST_FOR_DENSITY if density == "auto" else density
        order = np.random.RandomState(0).permutation(len(codes))
        style = _point_style(len(codes)) | kwargs
        if self.y is None:
            self._draw_density(codes)
            self.scatter_ = ax.scatter(*codes[order].T, **{"color": FEW[0]} | style)
        else:
            check_consistent_length(codes, self.y)
            y = pd.Series(self.y).reset_index(drop=True)
            draw = self._draw_classes if _is_discrete(y) else self._draw_numbers
            draw(codes[order], y.iloc[order], style)
        self._draw_prior()
        plain = self.circles_ and np.allclose(self._prior(), np.eye(2))
        unit = " (sd of the prior)" if plain else ""
        for axis, component in zip((ax.xaxis, ax.yaxis), self.components):
            axis.set_label_text(f"Latent {component}{unit}", color=INK)
        write_title(ax, self._title(), self.estimator_name if name is None else name)
        return self

    def _chosen_codes(self) -> np.ndarray:
        n_components = self.codes.shape[1]
        if n_components < 2:
            raise ValueError(
                f"LatentDisplay draws a plane of codes, and these have {n_components} component. "
                "Fit a model with n_components=2, or draw a histogram of the codes."
            )
        components = list(self.components)
        known = all(0 <= c < n_components for c in components)
        if not known or len(components) != 2 or components[0] == components[1]:
            raise ValueError(
                "LatentDisplay expects components to be two different numbers from 0 to "
                f"{n_components - 1}, as the codes have {n_components} of them; got "
                f"{self.components!r}."
            )
        return self.codes[:, components]

    def _draw_classes(self, codes, y, style) -> None:
        names, colors, place = _classes(y)
        if "c" not in style and "color" not in style:
            style = {"c": [colors[k] for k in place]} | style
        self.scatter_ = self.ax_.scatter(*codes.T, **style)
        self._draw_class_densities(codes, place, colors)
        self._draw_labels(codes, names, colors, place)
        if self.labels_:
            return
        handles = [
            self.ax_.plot([], [], "o", color=color, markersize=6, label=name)[0]
            for name, color in zip(names, colors)
        ]
        style = {"handles": handles, "title": y.name, "handletextpad": 0.2}
        self.legend_ = write_legend(self.ax_, **style)

    def _draw_numbers(self, codes, y, style) -> None:
        dates = pd.api.types.is_datetime64_any_dtype(y)
        values = _days(y) if dates else y.to_numpy(dtype=float, na_value=np.nan)
        shades = pyplot("LatentDisplay").get_cmap(SEQUENTIAL).with_extremes(bad=FAINT)
        self.scatter_ = self.ax_.scatter(
            *codes.T, **{"c": values, "cmap": shades, "plotnonfinite": True} | style
        )
        self.colorbar_ = self.figure_.colorbar(self.scatter_, ax=self.ax_, shrink=0.8)
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.set_label("" if y.name is None else str(y.name), color=INK)
        if dates:
            _write_dates(self.colorbar_.ax.yaxis)

    def _draw_density(self, codes) -> None:
        found = Density.of(codes) if self._density else None
        if found is None:
            return
        levels = [found.height_around(share) for share in SHARES]
        shades = [str(shade) for shade in np.linspace(0.95, 0.80, len(levels))]
        x, y, heights = found.grid()
        fill = {"colors": shades, "zorder": 0.5}
        lines = {"colors": "0.3", "linewidths": 0.6, "zorder": 3}
        self.contours_ = [
            self.ax_.contourf(x, y, heights, [*levels, np.inf], **fill),
            self.ax_.contour(x, y, heights, levels, **lines),
        ]

    def _draw_class_densities(self, codes, place, colors) -> None:
        for which, color in enumerate(colors):
            rows = codes[place == which]
            enough = self._density and len(rows) >= FEWEST_OF_CLASS
            found = Density.of(rows) if enough else None
            if found is not None:
                levels = [found.height_around(CLASS_SHARE), np.inf]
                fill = {"colors": [color], "alpha": 0.16, "zorder": 0.5}
                self.contours_.append(self.ax_.contourf(*found.grid(), levels, **fill))

    def _draw_labels(self, codes, names, colors, place) -> None:
        if self._where == "legend" or len(names) < 2:
            return
        spots = class_places(codes, place, len(names))
        if spots is None and self._where == "inside":
            spots = np.array([np.median(codes[place == k], 0) for k in range(len(names))])
        if spots is None:
            return
        box = self.ax_.get_window_extent().transformed(self.figure_.dpi_scale_trans.inverted())
        scale = 72.0 * np.array([box.width, box.height]) / np.maximum(np.ptp(codes, axis=0), 1e-9)
        if self._where == "auto" and not are_clear(spots, names, LABEL_SIZE, scale.min()):
            return
        from matplotlib.patheffects import withStroke

        halo = [withStroke(linewidth=3.0, foreground="white")]
        style = {"ha": "center", "va": "center", "fontsize": LABEL_SIZE, "fontweight": "bold"}
        self.labels_ = [
            self.ax_.text(*spot, name, color=_darker(color), path_effects=halo, zorder=4, **style)
            for spot, name, color in zip(spots, names, colors)
        ]

    def _prior(self) -> np.ndarray:
        """Covariance of N(0, I) in the plane that is shown."""
        n_components = self.codes.shape[1]
        whole = np.eye(n_components) if self.covariance is None else np.asarray(self.covariance)
        return whole[np.ix_(self.components, self.components)]

    def _draw_prior(self) -> None:
        from matplotlib.patches import Ellipse

        ax, prior = self.ax_, self._prior()
        ax.set_aspect("equal", adjustable="datalim")
        reach = np.quantile(np.abs(self._chosen_codes()), 0.99, axis=0)
        self.circles_ = []
        if (reach > FAR * 2.0 * np.sqrt(np.diag(prior))).any():
            return
        variance, direction = np.linalg.eigh(prior)
        height, width = 2.0 * np.sqrt(np.maximum(variance, 0.0))
        angle = np.degrees(np.arctan2(*direction[::-1, -1]))
        style: dict = {"fill": False, "color": FAINT, "linewidth": 1.0, "zorder": 0}
        self.circles_ = [
            # No patch of the axes, whose limits are those of the codes.
            ax.add_artist(Ellipse((0, 0), r * width, r * height, angle=angle, **style))
            for r in RADII
        ]

    def _title(self) -> str:
        n_components = self.codes.shape[1]
        # The nats are those against N(0, I), of which codes far beyond it know nothing.
        if self.kl_per_latent is None or not self.circles_:
            return f"{len(self.codes):,} rows, {n_components} latents"
        kl, chosen = np.asarray(self.kl_per_latent), list(self.components)
        if n_components == 2:
            return f"The two latents carry {number(kl.sum())} nats per row"
        return (
            f"Latents {chosen[0]} and {chosen[1]} of {n_components} carry "
            f"{number(kl[chosen].sum())} of {number(kl.sum())} nats"
        )


def _point_style(n_rows: int) -> dict:
    """Small and sheer where rows are many."""
    return {
        "s": float(np.clip(20_000 / max(n_rows, 1), 4, 26)),
        "alpha": float(np.clip(1500 / max(n_rows, 1), 0.35, 0.85)),
        "linewidths": 0,
        "rasterized": n_rows > 5000,
    }


def _darker(color: str, share: float = 0.6):
    from matplotlib.colors import to_rgb

    return tuple(share * part for part in to_rgb(color))


def _days(y: pd.Series) -> np.ndarray:
    """Dates as days, in the hours of their zone; NaN where there is none."""
    times = y.dt.tz_localize(None).to_numpy("datetime64[us]")
    days = times.astype(np.int64) / (24 * 3600 * 1e6)
    return np.where(np.isnat(times), np.nan, days)


def _write_dates(axis) -> None:
    """Ticks where months, days or hours begin."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=6)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator))


def _is_discrete(y: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(y):
        return y.nunique() <= MAX_CLASSES
    if not pd.api.types.is_numeric_dtype(y) or pd.api.types.is_bool_dtype(y):
        return True
    values = y.dropna().unique()
    return len(values) <= MAX_CLASSES and bool((values == np.round(values)).all())


def _classes(y: pd.Series):
    """Names and colours of the classes, and the class of each row as a place among them."""
    counts = y.value_counts(sort=False)
    names = list(y.cat.categories) if isinstance(y.dtype, pd.CategoricalDtype) else None
    if names is None:
        names = sorted(counts.index, key=lambda v: (str(type(v)), v))
    kept = [name for name in names if counts.get(name, 0)]
    if len(kept) > MAX_CLASSES:
        common = set(counts.nlargest(MAX_CLASSES - 1).index)
        kept = [name for name in kept if name in common]
    place = pd.Index(kept).get_indexer(pd.Index(y))
    palette = FEW if len(kept) <= len(FEW) else MANY
    labels, colors = [_label(name) for name in kept], list(palette[: len(kept)])
    missing, rest = y.isna().to_numpy(), place < 0
    for label, rows in (("others", rest & ~missing), ("missing", missing)):
        if rows.any():
            place[rows] = len(labels)
            labels.append(label)
            colors.append(QUIET if label == "others" else FAINT)
    return labels, colors, place


def _label(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
