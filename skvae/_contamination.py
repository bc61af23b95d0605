"""How many outliers the training rows hold, where the threshold lies, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .score_mixture import ScoreMixture, quantile
from .transferred_mixture import TransferredMixture


class ContaminationMixin:
    """Threshold and probabilities, for detectors with ``score_samples``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _set_threshold(self, X, weights, held_out: np.ndarray, scores: np.ndarray) -> None:
        """Set it by ``contamination`` and the scores of the training rows."""
        self.held_out_scores_ = scores[held_out]
        given = None if self.contamination == "auto" else float(self.contamination)
        shaped = self.score_.shaped(self, X)
        if shaped is None:
            as_new = _as_new(scores, weights, held_out)
            self.score_mixture_: Any = ScoreMixture().fit(as_new, weights, given)
        else:
            as_new, shaped = scores, _as_new(shaped, weights, held_out)
            self.score_mixture_ = TransferredMixture().fit(scores, shaped, weights, given)
        self.contamination_ = self.score_mixture_.share_
        if given is None:
            self.offset_ = self.score_mixture_.threshold(as_new, weights)
        else:
            self.offset_ = float(quantile(scores, given, weights))

    def outlier_probability(self, X):
        """Probability that each row is an outlier, given its score.

        By the mixture of normal rows and outliers that the scores of the training rows show:
        one minus the local false discovery rate.  New rows are taken to hold a share
        ``contamination_`` of outliers, as the training rows did.  It says how far the score
        stands out, not how good the score is: an outlier that scores as normal rows do has a
        probability near 0.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        probability : ndarray of shape (n_samples,)
            In [0, 1]; the lower the score, the higher.

        References
        ----------
        Efron, Large-scale simultaneous hypothesis testing: the choice of a null hypothesis,
        2004.
        """
        check_is_fitted(self)
        return self.score_mixture_.probability(self.score_samples(X))


def _as_new(scores, weights, held_out: np.ndarray) -> np.ndarray:
    """Scores with those of rows that were trained on lowered to the median of the others."""
    trained = np.ones(len(scores), dtype=bool)
    trained[held_out] = False
    if not trained.any():
        return scores
    parts = [None if weights is None else weights[rows] for rows in (trained, held_out)]
    middle = quantile(scores[trained], 0.5, parts[0])
    shift = quantile(scores[held_out], 0.5, parts[1]) - middle
    return np.where(trained, scores + shift, scores)
