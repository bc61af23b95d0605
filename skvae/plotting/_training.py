"""TrainingDisplay: the bound over the epochs."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._style import BLUE, INK, QUIET, VERMILION, axes, number, pyplot, write_legend, write_title

# A fall by less than this share of the range of the curve is not seen.
LEAST_FALL = 0.1


class TrainingDisplay:
    """The bound on log p(x) over the epochs, on training and on held-out rows.

    Make it with :meth:`from_estimator`.  The bound is at weight 1, whatever ``beta``, so that
    both curves say the same; training rows may lie lower, as their encoder sees the noise of
    ``view``.

    Parameters
    ----------
    bound : array-like of shape (n_epochs,)
        Bound on the training rows, nats per row.
    validation_bound : array-like of shape (n_validated,), default=None
        Bound on the held-out rows in the last ``n_validated`` epochs.
    best_epoch : int, default=None
        Epoch whose weights were kept, counted from 1; None if those of the last were.
    estimator_name : str, default=None
        Name for the title.
    beta : float, default=1.0
        Weight of the KL term in what was trained on; the title says so where it lets the bound
        fall.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        The curve of the training rows and, where rows were held out, theirs.
    best_ : matplotlib Line2D or None
        Mark of the best epoch.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.plotting import TrainingDisplay
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(n_components=2, max_iter=10, random_state=0).fit(X)
    >>> display = TrainingDisplay.from_estimator(vae)
    >>> display.ax_.get_ylabel()
    'Bound on log p(x) (nats per row)'
    """

    def __init__(
        self, *, bound, validation_bound=None, best_epoch=None, estimator_name=None, beta=1.0
    ):
        self.bound = bound
        self.beta = beta
        self.validation_bound = validation_bound
        self.best_epoch = best_epoch
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs):
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : VAETransformer or VAEOutlierDetector
            Fitted; with ``n_members`` above 1 its best member is drawn.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to ``matplotlib.axes.Axes.plot`` for the curves.

        Returns
        -------
        display : TrainingDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        history = getattr(estimator, "history_", None)
        if not history:
            raise ValueError(
                f"{cls.__name__} draws history_, and this {type(estimator).__name__} has none. "
                "Pass the VAE itself: pipeline[-1], or best_estimator_ of a search."
            )
        if not hasattr(estimator, "best_epoch_"):
            raise ValueError(
                f"{cls.__name__} draws the bound on log p(x) of a VAETransformer or "
                f"VAEOutlierDetector, and a {type(estimator).__name__} learns parts of rows given "
                "others. What it has learned by is in its history_, a dict of numbers per epoch."
            )
        bound = np.asarray(history["bound"])
        validation_bound = best_epoch = None
        if "validation_bound" in history:
            validation_bound = np.asarray(history["validation_bound"])
            best_epoch = estimator.best_epoch_
        display = cls(
            bound=bound,
            validation_bound=validation_bound,
            best_epoch=best_epoch,
            estimator_name=name,
            beta=getattr(getattr(estimator, "objective_", None), "beta", 1.0),
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
            Passed to ``matplotlib.axes.Axes.plot`` for the curves.

        Returns
        -------
        display : TrainingDisplay
            The display itself.
        """
        ax = axes(f"{type(self).__name__}.plot", ax, (7.6, 4.0))
        style = {"linewidth": 1.6, "solid_capstyle": "round"} | kwargs
        epochs = np.arange(1, len(self.bound) + 1)
        label = "training rows"
        self.lines_ = ax.plot(epochs, self.bound, **{"color": QUIET, "label": label} | style)
        self.best_ = None
        title = f"Bound {number(self.bound[-1])} after {_count(len(epochs))}"
        if self.validation_bound is not None:
            held_out = epochs[-len(self.validation_bound) :]
            self.lines_ += ax.plot(
                held_out,
                self.validation_bound,
                **{"color": BLUE, "label": "held-out rows"} | style,
            )
            title = f"Held-out bound {number(self.validation_bound[-1])} at the end"
        if self.best_epoch is not None and self.validation_bound is not None:
            best = self.validation_bound[self.best_epoch - held_out[0]]
            (self.best_,) = ax.plot(
                self.best_epoch, best, "o", color=VERMILION, markersize=7, zorder=3,
                markeredgecolor="white", markeredgewidth=0.8, clip_on=False,
                label=f"kept: epoch {self.best_epoch}",
            )  # fmt: skip
            # The best by what was minimised, which may weigh the bound otherwise.
            kept = f"epoch {self.best_epoch} of {len(epochs)}"
            title = f"Held-out bound {number(best)}, kept from {kept}"
            top = np.max(self.validation_bound[: self.best_epoch - held_out[0] + 1])
            if self.beta < 1.0 and top - best > LEAST_FALL * np.ptp(self.validation_bound):
                title += (
                    f"\nIt falls as codes tell more: the KL term counts {self.beta:g} in training"
                    " and 1 here"
                )
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("Epoch", color=INK)
        ax.set_ylabel("Bound on log p(x) (nats per row)", color=INK)
        write_title(ax, title, self.estimator_name if name is None else name)
        write_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _count(n_epochs: int) -> str:
    return "1 epoch" if n_epochs == 1 else f"{n_epochs} epochs"
