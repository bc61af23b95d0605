"""The base of the scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..cellwise.evidence import Evidence


class Score(BaseEstimator):
    """Base of the scores: higher is more normal, and a row's score depends on that row alone.

    A score is fitted after the model of its detector, to the same rows, and may keep what it
    needs of them.
    """

    # As in scikit-learn: name to allowed values, checked when a detector is fitted.
    _parameter_constraints: dict = {}

    def fit(self, model: Any, X, held_out: np.ndarray) -> Score:
        """Look at the training rows, the model being fitted.

        Parameters
        ----------
        model : VAEOutlierDetector
            Fitted but for its threshold.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The training rows.
        held_out : ndarray of int
            Places of the rows that the model was judged by, or of all rows where none were.

        Returns
        -------
        self : Score
            The fitted score.
        """
        return self

    def fit_rows(self, model: Any, X, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit, and score as many training rows as stand for the table.

        Parameters are those of ``fit``.

        Returns
        -------
        places : ndarray of int
            Which rows, in rising order.
        scores : ndarray
            Theirs.
        """
        scores = self.fit(model, X, held_out).rows(model, X)
        return np.arange(len(scores)), scores

    def rows(self, model: Any, X) -> np.ndarray:
        """Score of each row.

        Parameters
        ----------
        model : VAEOutlierDetector
            That of ``fit``.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats; higher is more normal.
        """
        raise NotImplementedError

    def shaped(self, model: Any, X) -> np.ndarray | None:
        """Scores whose distribution shows how many outliers there are, where ``rows`` do not.

        Parameters
        ----------
        model : VAEOutlierDetector
            That of ``fit``.
        X : array-like or DataFrame of shape (n_samples, n_features)
            The training rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or None
            None takes those of ``rows``.
        """
        return None

    def evidence(self, model: Any) -> Evidence | None:
        """What tells the cells of a row apart, or None if the score knows of none.

        Parameters
        ----------
        model : VAEOutlierDetector
            That of ``fit``.

        Returns
        -------
        evidence : Evidence or None
            Its terms sum to the score where the score is a sum; None has the detector fit a
            conditional model.
        """
        return None
