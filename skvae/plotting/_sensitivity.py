"""SensitivityDisplay: which columns move with which latent."""

from __future__ import annotations

import numpy as np

from ..table.slopes import is_nominal
from ._grid import SMALL, TINY
from ._latents import NOTABLE, chosen_components, fitted_with, names_of, nats_of
from ._style import INK, QUIET, axes, pyplot, write_title
from ._tables import shortened

MAX_COLUMNS, MAX_LATENTS = 30, 16
SIGNED, UNSIGNED = "RdBu_r", "Greys"
# What is left of the mean of a change of which a quarter is against the rest.
TURNING = 0.5
MOST_NUMBERS, FAINTEST = 200, 0.15
DARK = 0.62  # share of the scale from which white is read better than black
# Columns for which there is room, and from which the unit is written in full beside the scale.
FEWEST_ROWS, ROWS_FOR_WORDS = 5, 9


class SensitivityDisplay:
    """Heat map of columns by latents: how far an expected cell moves with a code.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    mean, rms : ndarray of shape (n_components, n_features)
        Mean and root mean square of the derivatives, in standard deviations of the column per
        standard deviation of the code.
    names : list
        Names of the columns.
    absolute : ndarray of shape (n_components, n_features), default=None
        Mean of the absolute derivatives, in the same unit; None takes ``rms`` in its place.
    nominal : array-like of bool, shape (n_features,), default=None
        Columns of categories without an order, whose sensitivities have no sign.
    columns : list of str or int, default=None
        Columns to draw, by name or place, in this order; None takes the 30 that move the most.
    components : list of int, default=None
        Latents to draw, counted from 0; None takes the 16 that carry the most nats.
    kl_per_latent : array-like of shape (n_components,), default=None
        Nats that each latent carries.
    estimator_name : str, default=None
        Name for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the map.
    figure_ : matplotlib Figure
        Figure of the axes.
    image_, nominal_image_ : matplotlib AxesImage
        Signed and unsigned cells; the other's cells are left out of each.
    colorbar_ : matplotlib Colorbar
        Scale of the signed cells.
    columns_ : list
        Columns drawn, from top to bottom: by the latent that moves them the most, from those
        that rise with it to those that fall.
    components_ : list of int
        Latents drawn, from left to right.
    turning_ : matplotlib Line2D or None
        Rings on cells where a column rises at some codes and falls at others.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import SensitivityDisplay
    >>> X = load_wine(as_frame=True).data
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = SensitivityDisplay.from_estimator(vae)
    >>> len(display.columns_), display.components_
    (13, [0, 1])
    """

    def __init__(
        self,
        *,
        mean,
        rms,
        names,
        absolute=None,
        nominal=None,
        columns=None,
        components=None,
        kl_per_latent=None,
        estimator_name=None,
    ):
        self.mean = mean
        self.rms = rms
        self.names = names
        self.absolute = absolute
        self.nominal = nominal
        self.columns = columns
        self.components = components
        self.kl_per_latent = kl_per_latent
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, columns=None, components=None, ax=None, name=None
    ):
        """Draw the sensitivities of a fitted estimator.

        Parameters
        ----------
        estimator : VAETransformer
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features), default=None
            Rows at whose codes the derivatives are taken; None takes codes from the prior.
        columns : list of str or int, default=None
            Columns to draw, in this order; None takes the 30 that move the most.
        components : list of int, default=None
            Latents to draw; None takes the 16 that carry the most nats.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title.

        Returns
        -------
        display : SensitivityDisplay
            The display, drawn.
        """
        fitted_with(f"{cls.__name__}.from_estimator", estimator, "sensitivities")
        mean, rms, absolute = (
            estimator.sensitivities(X, statistic=statistic, standardize=True)
            for statistic in ("mean", "rms", "absolute")
        )
        display = cls(
            mean=mean,
            rms=rms,
            names=names_of(estimator),
            absolute=absolute,
            nominal=[is_nominal(column) for column in estimator.codec_.columns_],
            columns=columns,
            components=components,
            kl_per_latent=nats_of(estimator),
            estimator_name=name,
        )
        return display.plot(ax)

    def plot(self, ax=None, *, name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title; None takes ``estimator_name``.

        Returns
        -------
        display : SensitivityDisplay
            The display itself.
        """
        caller = f"{type(self).__name__}.plot"
        n_latents = len(self.mean)
        self.components_ = chosen_components(
            caller, n_latents, self.components, self.kl_per_latent, MAX_LATENTS
        )
        rows = self._rows(caller)
        self.columns_ = [self.names[j] for j in rows]
        absolute = self.rms if self.absolute is None else self.absolute
        mean, rms, moved = (
            part[self.components_][:, rows].T for part in (self.mean, self.rms, absolute)
        )
        size = (2.9 + 0.52 * len(self.components_), 1.35 + 0.235 * max(len(rows), FEWEST_ROWS))
        self.ax_ = ax = axes(caller, ax, size)
        self.figure_ = ax.figure
        nominal = np.zeros(len(self.names), bool) if self.nominal is None else self.nominal
        nominal = np.asarray(nominal, dtype=bool)[rows]
        self._draw(mean, nominal)
        self.turning_ = None
        turns = (rms > NOTABLE) & (np.abs(mean) < TURNING * moved) & ~nominal[:, None]
        if turns.any():
            down, across = np.nonzero(turns)
            style = {"markersize": 4.5, "markeredgewidth": 0.9, "markeredgecolor": "0.3"}
            (self.turning_,) = ax.plot(across, down, "o", markerfacecolor="none", **style)
        if mean.size <= MOST_NUMBERS:
            self._write_numbers(np.where(turns, 0.0, mean))
        self._write_axes(mean.shape, bool(nominal.any()), bool(turns.any()))
        write_title(ax, self._title(), self.estimator_name if name is None else name)
        return self

    def _rows(self, caller: str) -> list[int]:
        if self.columns is not None:
            places = [
                self.names.index(c) if c in self.names else c if isinstance(c, int) else -1
                for c in self.columns
            ]
            for asked, place in zip(self.columns, places):
                if not 0 <= place < len(self.names):
                    raise ValueError(
                        f"{caller} found no column {asked!r}; there are "
                        f"{', '.join(map(repr, self.names))}."
                    )
            self._groups: set = set()
            return places
        rms = self.rms[self.components_]
        most = np.sort(np.argsort(-rms.max(0), kind="stable")[:MAX_COLUMNS])
        first = rms[:, most].argmax(0)
        signed = self.mean[self.components_][:, most][first, np.arange(len(most))]
        order = np.lexsort((-signed, first))
        self._groups = set(np.flatnonzero(np.diff(first[order])) + 1)
        return most[order].tolist()

    def _draw(self, mean, nominal) -> None:
        most = np.abs(mean).max(initial=0.0)
        limit = float(np.clip(np.ceil(most * 5) / 5, 0.2, None))
        plt = pyplot("SensitivityDisplay")
        self.limit_ = limit
        kinds = ((SIGNED, nominal, -limit), (UNSIGNED, ~nominal, 0.0))
        images = []
        for shades, hidden, low in kinds:
            cells = np.ma.array(mean, mask=np.broadcast_to(hidden[:, None], mean.shape))
            colors = plt.get_cmap(shades)
            image = self.ax_.imshow(
                cells, cmap=colors, vmin=low, vmax=limit, aspect="auto", interpolation="nearest"
            )
            images.append(image)
        self.image_, self.nominal_image_ = images
        self.colorbar_ = self.figure_.colorbar(
            self.image_, ax=self.ax_, shrink=min(1.0, 8.0 / len(mean)), aspect=18, pad=0.03
        )
        self.colorbar_.outline.set_visible(False)
        self.colorbar_.ax.tick_params(labelsize=TINY, length=2, color=QUIET)
        self.colorbar_.ax.locator_params(nbins=5)
        text = "standard deviations of the column\nper standard deviation of the code"
        if len(mean) < ROWS_FOR_WORDS:
            text = "sd of the column\nper sd of the code"
        self.colorbar_.set_label(text, color=INK, fontsize=SMALL)

    def _write_numbers(self, shown) -> None:
        for (down, across), value in np.ndenumerate(shown):
            if abs(value) < FAINTEST:
                continue
            color = "white" if abs(value) > DARK * self.limit_ else INK
            text = f"{value:.1f}".replace("-", "\N{MINUS SIGN}")
            self.ax_.text(
                across, down, text, ha="center", va="center", fontsize=TINY - 0.5, color=color
            )

    def _write_axes(self, shape, has_nominal: bool, has_turning: bool) -> None:
        ax = self.ax_
        n_down, n_across = shape
        ax.spines[:].set_visible(False)
        size = SMALL if n_down <= 20 else TINY
        ax.set_yticks(range(n_down), [shortened(c, 24) for c in self.columns_], fontsize=size)
        nats = self.kl_per_latent
        below = "" if nats is None else ", and the nats that it carries"
        labels = [str(c) for c in self.components_]
        if nats is not None:
            labels = [f"{c}\n{nats[c]:.1f}" for c in self.components_]
        ax.set_xticks(range(n_across), labels, fontsize=SMALL)
        ax.tick_params(length=0, pad=3)
        for edge in np.arange(1, n_down) - 0.5:
            ax.axhline(edge, color="white", linewidth=4.0 if edge + 0.5 in self._groups else 1.2)
        for edge in np.arange(1, n_across) - 0.5:
            ax.axvline(edge, color="white", linewidth=1.2)
        notes = [f"Latent{below}"]
        if has_turning:
            notes.append("rings: up at some codes, down at others")
        if has_nominal:
            notes.append("grey: categories, which have no sign")
        ax.set_xlabel("\n".join(notes), fontsize=SMALL, color=INK)

    def _title(self) -> str:
        n_latents, n_columns = self.mean.shape
        title = "What moves with which latent"
        if len(self.columns_) < n_columns:
            title += f": {len(self.columns_)} of {n_columns} columns"
        if len(self.components_) < n_latents:
            title += f", {len(self.components_)} of {n_latents} latents"
        return title
