"""What the latents of a fitted model mean in terms of the columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from . import inference
from .sensitivity import Decoder
from .table.columns import MappedColumn
from .table.slopes import change, is_nominal, slopes, spread_of
from .table.targets import class_targets

STATISTICS = ("mean", "absolute", "rms")


class LatentsMixin:
    """Sensitivities of the columns to the latents, and directions among them."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def components_(self) -> np.ndarray:
        """Mean change of each column per unit of each latent, ``(n_components, n_features)``.

        ``sensitivities()``: the loadings where the model is linear.
        """
        return self.sensitivities()

    def categories(self, X):
        """Numbers of the discrete latents of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        categories : ndarray of int of shape (n_samples, n_discrete)
            The likeliest category for ``posterior="joint"``; for ``"vector_quantized"`` the
            numbers of the codes, level by level.

        Raises
        ------
        ValueError
            If the latents are all continuous.
        """
        check_is_fitted(self)
        if not self.vae_.posterior.is_discrete:
            raise ValueError(
                f"{type(self).__name__}.categories needs discrete latents, and those of "
                f"{self.vae_.posterior!r} are continuous. Use posterior='joint' or "
                "posterior='vector_quantized', or cluster what transform gives."
            )
        encoded = self._encode(X)
        with self._arithmetic():
            return inference.categories(self._coder(), encoded.inputs, self._device())

    def attribute_vector(self, X, y):
        """Direction in code space from rows without an attribute to rows with it.

        ``inverse_transform(transform(rows) + vector)`` gives rows the attribute and leaves the
        rest of their codes alone; half the vector goes half the way, and minus the vector back.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of both kinds.
        y : array-like of shape (n_samples,)
            Whether a row has the attribute: two classes, of which the second in sorted order has
            it, as True, 1 or "yes".  Rows where it is -1 or missing are left out.

        Returns
        -------
        vector : ndarray of shape (n_components,)
            Difference of the mean codes, in the units of ``transform``.  Categories of
            ``posterior="joint"``, which nothing lies between, have 0.

        Raises
        ------
        ValueError
            If ``y`` does not hold two classes, or all latents are discrete.

        References
        ----------
        Larsen, Sonderby, Larochelle and Winther, Autoencoding beyond pixels using a learned
        similarity metric, 2016.
        """
        check_is_fitted(self)
        owner = f"{type(self).__name__}.attribute_vector"
        classes, names = class_targets(y, owner)
        if len(names) != 2:
            raise ValueError(
                f"{owner} expects y to say of each row whether it has one attribute; got the "
                f"classes {names.tolist()}. Ask for one of them: y == {names.tolist()[-1]!r}."
            )
        codes = np.asarray(self.infer(X)[0], dtype=np.float64)
        check_consistent_length(codes, classes)
        numbers = self.vae_.posterior.continuous(codes)
        if numbers is None:
            raise ValueError(
                f"{owner}: the latents of {self.vae_.posterior!r} are discrete, and a direction "
                "between two of them leads nowhere. Use posterior='normal', or decode the codes "
                "of rows that have the attribute."
            )
        vector = np.zeros(codes.shape[1], dtype=np.float32)
        means = [numbers[classes == label].mean(0) for label in (0, 1)]
        vector[: numbers.shape[1]] = means[1] - means[0]
        return vector

    def sensitivities(self, X=None, *, statistic="mean", standardize=False):
        """Change of each expected cell per unit of each latent, the other latents fixed.

        Derivatives, taken over a tenth of a standard deviation of the code to each side, so
        that a decoder that jumps from one category to another is seen to do so.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features), default=None
            Rows at whose codes the derivatives are taken; None takes codes from the prior,
            the same at every call.
        statistic : {"mean", "absolute", "rms"}, default="mean"
            What is told of the derivatives at those codes: their mean, the mean of their
            absolute values, or their root mean square.  A column that rises here and falls
            there does not vanish in the latter two; where it never turns, the first two agree
            but for the sign.
        standardize : bool, default=False
            Whether to tell them in standard deviations of the column per standard deviation of
            the code, both as the model has them, so that columns and latents can be compared;
            else in units of the column per unit of what ``transform`` gives: days
            for date-times, levels for categories in an order, probabilities for booleans.

        Returns
        -------
        sensitivities : ndarray of shape (n_components, n_features)
            Categories without an order have no direction: theirs is the root mean square of
            the probability that moves from some categories to others (total variation), with
            any statistic.  0 for columns that were constant in ``fit``.

        Raises
        ------
        ValueError
            If ``statistic`` is unknown.
        """
        check_is_fitted(self)
        if statistic not in STATISTICS:
            raise ValueError(
                f"{type(self).__name__}.sensitivities expects statistic to be one of "
                f"{STATISTICS}, got {statistic!r}."
            )
        decoder = Decoder(self._coder())
        reference = decoder.reference
        codes = reference if X is None else self._infer(X, ["mean"])[0]
        scale = self._axes.outward(reference.astype(np.float64)).std(0)
        columns = [self.codec_.columns_[position] for position in self.codec_.modelled_index_]
        squared = np.array([statistic == "rms" or is_nominal(column) for column in columns])
        plain = np.abs if statistic == "absolute" else np.asarray
        with self._arithmetic():
            total = np.zeros((codes.shape[1], len(columns)))
            for part in decoder.chunks(codes):
                total += _sums(decoder, columns, part, squared, plain, self._axes.steps, scale)
            mean = total / max(len(codes), 1)
            found = np.where(squared, np.sqrt(np.maximum(mean, 0.0)), mean)
            if standardize:
                drawn = decoder.sample(reference)
                found /= [spread_of(*pair) for pair in zip(columns, drawn.T, strict=True)]
                found *= scale[:, None]
        out = np.zeros((codes.shape[1], len(self.codec_.columns_)))
        out[:, self.codec_.modelled_index_] = found
        return out


def _sums(
    decoder: Decoder, columns: list, codes: np.ndarray, squared: np.ndarray, plain: Callable,
    steps: np.ndarray, scale: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Sums over codes, by axis and column, of squares and of what ``plain`` makes of changes."""
    per_value = _cells_per_value(decoder, columns, codes)
    sums = []
    for blocks in decoder.derivatives(codes, steps, scale):
        parts = [part for block in blocks for part in block.swapaxes(0, 1)]
        moved = [change(*pair) for pair in zip(columns, parts, strict=True)]
        changes = np.stack(moved, 1) * per_value
        sums.append(np.where(squared, changes**2, plain(changes)).sum(0))
    return np.stack(sums)


def _cells_per_value(decoder: Decoder, columns: list, codes: np.ndarray) -> np.ndarray:
    """What a unit of each modelled value is worth in its column, by row or for all."""
    is_mapped = [isinstance(column, MappedColumn) for column in columns]
    if not any(is_mapped):
        return np.array([slopes(column, codes, codes) for column in columns])
    loc, sd = decoder.expected(codes)[0], decoder.spread(codes)
    worth = [
        slopes(column, loc[:, j], sd[:, j]) if mapped else slopes(column, codes, codes)
        for j, (column, mapped) in enumerate(zip(columns, is_mapped))
    ]
    return np.stack([np.broadcast_to(each, len(codes)) for each in worth], 1)
