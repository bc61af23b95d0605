"""The score that is a sum over cells, each given the others."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ..cellwise.cells import CellModel
from ..cellwise.evidence import Evidence
from ._base import Score


class ConditionalScore(Score):
    """Sum over the observed cells of log p(cell | the other cells of its row), in nats.

    A cell is odd here if the others of its row do not go with it, however common its value is.
    The conditional model is one of its own, trained on the same rows; it keeps none of them.

    Parameters
    ----------
    trim : float in [0, 0.5], default=0.0
        Share of the rows of each batch of the training that are left out of it, those that it
        finds least likely, for rows that are contaminated.

    Attributes
    ----------
    cells_ : CellModel
        The trained conditional model.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEOutlierDetector
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = VAEOutlierDetector(score_function="conditional", random_state=0).fit(X)
    >>> detector.score_.cells(detector, X).shape
    (150, 4)

    References
    ----------
    Besag, Statistical Analysis of Non-Lattice Data, 1975.

    Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019.
    """

    _parameter_constraints = {"trim": [Interval(Real, 0, 0.5, closed="both")]}

    def __init__(self, trim=0.0):
        self.trim = trim

    def fit(self, model: Any, X, held_out: np.ndarray) -> ConditionalScore:
        """Train the conditional model on the rows that are not held out.

        Parameters
        ----------
        model : VAEOutlierDetector
            Fitted but for its threshold.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The training rows.
        held_out : ndarray of int
            Places of the rows that training is stopped by, or of all rows to train on all.

        Returns
        -------
        self : ConditionalScore
            The fitted score.
        """
        return self.fit_encoded(model, model._joined(X), held_out)

    def fit_encoded(self, model: Any, encoded: Any, held_out: np.ndarray) -> ConditionalScore:
        """The same for an encoded table."""
        rng = check_random_state(model.random_state)
        with model._arithmetic():
            self.cells_ = CellModel.fit(
                model.codec_, encoded, held_out, self.trim, model.max_iter, rng, model._device()
            )
        return self

    def evidence(self, model: Any) -> Evidence:
        """The conditional model."""
        return self.cells_

    def rows(self, model: Any, X) -> np.ndarray:
        """Sum over the cells of each row."""
        n_rows, parts = model._parts(X)
        found = np.empty(n_rows)
        for rows, encoded in parts:
            found[rows] = self.cells_encoded(model, encoded).sum(1)
        return found

    def cells(self, model: Any, X) -> np.ndarray:
        """Log-probability of each cell given the other observed cells of its row.

        Parameters
        ----------
        model : VAEOutlierDetector
            That of ``fit``.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        cells : ndarray of shape (n_samples, n_features)
            Nats in the units of the columns; 0 where a cell is missing or its column constant.
        """
        n_rows, parts = model._parts(X)
        found = np.zeros((n_rows, model.n_features_in_))
        for rows, encoded in parts:
            found[rows, model.codec_.modelled_index_] = self.cells_encoded(model, encoded)
        return found

    def cells_encoded(self, model: Any, encoded: Any) -> np.ndarray:
        """The same for an encoded table, of the modelled columns alone."""
        with model._arithmetic():
            return self.cells_.log_prob(encoded, model._device())
