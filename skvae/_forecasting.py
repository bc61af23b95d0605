"""What follows on rows that are sequences, by a model of sequences of one length."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted


class ForecastingMixin:
    """Steps behind the end of sequences, given those before."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def forecast(
        self, X, n_steps=1, n_imputations=None, *, method="miwae", n_draws=None, random_state=None
    ):
        """Steps that follow on sequences, drawn from or expected by the model given these.

        A sequence is moved to the left until its next steps have room among those that the
        model knows, and the room is filled by ``impute``: the exact conditional of the model, if
        sequences look alike wherever they begin.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Sequences, step after step.  One that is shorter than those of the model ends in NaN,
            and where all are, the last columns may be left out.
        n_steps : int, default=1
            How many steps to give, fewer than the model knows.
        n_imputations : int, default=None
            None gives expected values; a number that many drawn continuations.
        method, n_draws, random_state
            As in ``impute``.

        Returns
        -------
        steps : ndarray of shape (n_samples, n_steps * width), or list of them
            The steps behind the last observed one of each row, in the layout of ``X``; a step is
            as wide as ``sequence_shape`` of the network says, or one column.

        Raises
        ------
        ValueError
            If the model has conditions, if ``X`` is too wide or a row has no observed cell, or if
            ``n_steps`` leaves no step to go by.

        References
        ----------
        Mattei and Frellsen, MIWAE, 2019.
        """
        check_is_fitted(self)
        asker = f"{type(self).__name__}.forecast"
        if self.condition is not None:
            raise ValueError(
                f"{asker} moves cells from column to column, and columns that are conditions "
                "have no next step. Use impute, or fit with condition=None."
            )
        X = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X")
        width = self.vae_.network.step_width
        if X.shape[1] > self.n_features_in_ or X.shape[1] % width:
            raise ValueError(
                f"{asker} expects sequences of at most {self.n_features_in_} columns, in steps of "
                f"{width}; got {X.shape[1]} columns."
            )
        X = np.pad(X, [(0, 0), (0, self.n_features_in_ - X.shape[1])], constant_values=np.nan)
        n_known = X.shape[1] // width
        if not isinstance(n_steps, Integral) or not 0 < int(n_steps) < n_known:
            raise ValueError(
                f"{asker} expects n_steps to be a number from 1 to {n_known - 1}, as the model "
                f"knows sequences of {n_known} steps; got {n_steps!r}."
            )
        n_steps = int(n_steps)
        sequences = X.reshape(len(X), n_known, width)
        seen = ~np.isnan(sequences).all(2)
        if not seen.any(1).all():
            raise ValueError(
                f"{asker} got {int((~seen.any(1)).sum())} rows without an observed cell, which "
                "nothing follows. Leave them out."
            )
        length = n_known - np.argmax(seen[:, ::-1], 1)
        begin = np.maximum(length + n_steps - n_known, 0)
        room, after = moved(sequences, begin, length), length - begin
        filled = self.impute(
            room.reshape(len(X), -1), n_imputations, method=method, n_draws=n_draws,
            random_state=random_state,
        )  # fmt: skip
        place = (after[:, None] + np.arange(n_steps))[:, :, None]
        found = [
            np.take_along_axis(np.reshape(table, sequences.shape), place, 1).reshape(len(X), -1)
            for table in ([filled] if n_imputations is None else filled)
        ]
        return found[0] if n_imputations is None else found


def moved(sequences: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Each of ``sequences (rows, steps, width)`` from step ``begin`` to ``length``, then NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae._forecasting import moved
    >>> moved(np.arange(4.0).reshape(1, 4, 1), np.array([1]), np.array([3]))[0, :, 0]
    array([ 1.,  2., nan, nan])
    """
    place = begin[:, None] + np.arange(sequences.shape[1])
    there = place < length[:, None]
    taken = np.take_along_axis(sequences, np.where(there, place, 0)[:, :, None], 1)
    return np.where(there[:, :, None], taken, np.nan)
