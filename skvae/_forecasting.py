"""What follows on rows that are sequences, by a model of sequences of one length."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .sequences import continuation
from .table import check_table
from .table.reach import within_reach

# Ways that a model of steps goes on by, unless told otherwise.
N_WAYS = 128


class ForecastingMixin:
    """Steps of sequences, given those before: how likely they are, and which follow."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def forecast(
        self, X, n_steps=1, n_imputations=None, *, method="miwae", n_draws=None, random_state=None
    ):
        """Steps that follow on sequences, drawn from or expected by the model given these.

        A sequence is moved to the left until its next steps have room among those that the
        model knows, and the room is filled by ``impute``: the exact conditional of the model, if
        sequences look alike wherever they begin.  ``network=VariationalRecurrent()`` goes on
        behind the end instead, by any number of steps: what it expects is averaged over ways of
        the codes, each of which goes on from its own best values.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Sequences, step after step.  One that is shorter than those of the model ends in NaN,
            and where all are, the last columns may be left out.
        n_steps : int, default=1
            How many steps to give; fewer than the model knows, unless it goes on by itself.
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
        TypeError
            If a column is one of labels or dates.
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
        labels = [c for c in self.codec_.columns_ if c.form.role in ("categorical", "datetime")]
        if labels:
            raise TypeError(
                f"{asker} takes columns for the steps of sequences of numbers, and column "
                f"{labels[0].name!r} held none in fit. Fit to sequences, or use impute."
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
        goes_on = self.vae_.n_steps > 1
        most = np.inf if goes_on else n_known - 1
        if not isinstance(n_steps, Integral) or not 0 < int(n_steps) <= most:
            upto = (
                "on" if goes_on else f"to {most}, as the model knows sequences of {n_known} steps"
            )
            raise ValueError(
                f"{asker} expects n_steps to be a number from 1 {upto}; got {n_steps!r}."
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
        if goes_on:
            self._check_method("forecast", method)
            behind = n_known - 1 - self.vae_.network.last_step
            if behind:
                raise ValueError(
                    f"{asker} goes on from the last step, and the last {behind} of {n_known} were "
                    "missing or constant in fit. Fit without their columns."
                )
            return self._continued(X, length, n_steps, n_imputations, n_draws, random_state)
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

    def _continued(self, X, length, n_steps: int, n_imputations, n_draws, random_state):
        """Further steps of a model that goes on by itself."""
        encoded, vae = self._encode(X), self._coder()
        with self._arithmetic():
            tables, _ = continuation.continued(
                vae, encoded, n_steps, int(n_draws or max(N_WAYS, n_imputations or 0)),
                n_imputations, self._noise_of(random_state),
            )  # fmt: skip
        if n_imputations is None:
            tables = within_reach(self.codec_, tables)
        shape = len(X), tables.shape[1], n_steps + 1, vae.n_steps, -1
        cells = self.codec_.decode(tables.reshape(-1, tables.shape[-1]), "numpy")
        cells = cells.reshape(shape)
        steps = np.concatenate([cells[:, :, 0], cells[:, :, 1:, -1]], 2)
        place = (length[:, None] + np.arange(n_steps))[:, None, :, None]
        found = np.take_along_axis(steps, place, 2).reshape(len(X), tables.shape[1], -1)
        return found[:, 0] if n_imputations is None else list(found.swapaxes(0, 1))

    def score_steps(self, X, n_draws=None):
        """Log p(x_t | earlier steps) of each step of sequences.

        Differences of the importance-weighted bounds of beginnings: over the steps of a row
        they add up to what ``score_samples`` gives.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Sequences, as in ``fit``.
        n_draws : int, default=None
            Draws from the posterior; None takes that of the constructor.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_steps)
            Nats in the original units; higher is more normal, and 0 where a step has no
            observed cell.

        Raises
        ------
        ValueError
            If the model has no codes of single steps.
        """
        check_is_fitted(self)
        if self.vae_.n_steps == 1:
            raise ValueError(
                f"{type(self).__name__}.score_steps needs a model that goes step by step, and "
                f"{self.vae_.network!r} sees a row at once. Use network=VariationalRecurrent(), "
                "or score_samples."
            )
        encoded = self.codec_.encode(check_table(self, X, reset=False))
        with self._arithmetic():
            found = continuation.step_scores(
                self.vae_, int(n_draws or self.n_draws), self._device(), encoded
            )
        unit = np.broadcast_to(self.codec_.log_scale_, encoded.values.shape)
        if encoded.mask is not None:
            unit = unit * encoded.mask
        if encoded.log_jacobian is not None:
            unit = unit + encoded.log_jacobian
        of_columns = np.zeros((len(unit), len(self.codec_.columns_)))
        of_columns[:, self.codec_.modelled_index_] = unit
        return found - of_columns.reshape(*found.shape, -1).sum(2)


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
