"""Scores of a detector by the function that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from . import inference
from ._sources import by_parts
from .context import deviations
from .scores import SCORES, Score
from .scores.gaps import Gaps, inputs_without_flags
from .table import check_table
from .table.codec import Encoded


class ScoringMixin:
    """Scores of rows, and of a model, for detectors with a ``score_function``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _resolve_score(self) -> Score:
        value = self.score_function
        if isinstance(value, str) and value == "auto" and self._sparse_kind() is not None:
            value = "likelihood"
        score = SCORES[value]() if isinstance(value, str) else clone(value)
        validate_parameter_constraints(
            score._parameter_constraints, score.get_params(deep=False), type(score).__name__
        )
        return score

    @by_parts
    def score_samples(self, X):
        """How normal each row is, by ``score_function``.

        A number or flag that differs from the one value that its column had in ``fit`` lowers
        the score by ``constants_.nats``, whatever the function.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows; missing cells are passed over.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Nats; higher is more normal.  A row's score depends on that row alone.
        """
        check_is_fitted(self)
        # Searches limit the threads of BLAS for all threads at once: within limits that are ours
        # they find nothing else to put back.
        with self._arithmetic():
            return self._less_departures(X, self.score_.rows(self, X))

    def _less_departures(self, X, scores: np.ndarray) -> np.ndarray:
        """Scores less what cells of constant columns take from them."""
        if not len(self.constants_.places):
            return scores
        X = check_table(self, X, reset=False)
        return scores - self.constants_.nats * self.constants_.departed(X).sum(1)

    def score(self, X, y=None):
        """Mean log-likelihood of rows, for model selection, whatever the score function.

        What ``score_samples`` gives may be a comparison with the training rows, by which models
        of other parameters or rows cannot be told apart.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Nats per row; higher is better.

        Raises
        ------
        ValueError
            If the posterior has no density.
        """
        check_is_fitted(self)
        self._check_has_scores()
        return float(np.mean(self._likelihoods(X)))

    def _without_gaps(self, encoded, gaps: Gaps | None) -> Encoded:
        """Rows whose missing cells are what is expected, so that nothing is odd there."""
        if encoded.mask is None or gaps is None:
            return encoded
        inputs, seen = inputs_without_flags(self.codec_, encoded)
        rows = np.flatnonzero(~encoded.mask.all(1))
        values, mask = encoded.values[rows], encoded.mask[rows]
        with self._arithmetic():
            inputs[rows] = inference.completed(
                self._coder(), values, mask, gaps(inputs[rows], seen[rows]),
                self._device(), self.codec_.inputs,
            )  # fmt: skip
        return Encoded(encoded.values, encoded.mask, inputs, encoded.log_jacobian)

    def _gaps(self, encoded) -> Gaps | None:
        """What fills the gaps of rows like these; under conditions nothing deviates there."""
        if self.vae_.n_conditions:
            return None
        with self._arithmetic():
            return Gaps().fit(*inputs_without_flags(self.codec_, encoded))

    def _compared_cells(self, encoded) -> np.ndarray:
        """What is compared of rows: encoded cells, or how they differ from what is usual there."""
        if not self.vae_.n_conditions:
            return encoded.inputs
        n_continuous = len(dict(self.codec_.blocks_).get("continuous", ()))
        with self._arithmetic():
            return deviations(self.vae_, n_continuous, self._device(), encoded)

    @by_parts
    def _likelihoods(self, X) -> np.ndarray:
        return self._score(X, self.n_draws)
