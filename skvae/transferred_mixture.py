"""A mixture that is seen in one score and asked for by another."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression

from .score_mixture import ScoreMixture, quantile


class TransferredMixture:
    """Outliers among scores that are ranks, by scores of the same rows that have a shape.

    Where a score is the surprise of its own rank among the rows, its distribution is the same
    whatever the rows are, and says nothing of how many outliers there are.  The share is then
    that of another score, and the probability of a row the mean of those that the other score
    gives to rows of its rank.

    Attributes
    ----------
    share_ : float
        Estimated share of outliers.

    References
    ----------
    Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability
    estimates, 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.transferred_mixture import TransferredMixture
    >>> rng = np.random.RandomState(0)
    >>> shaped = -np.concatenate([rng.gamma(5.0, size=950), rng.uniform(20.0, 40.0, size=50)])
    >>> ranks = np.log((1 + shaped.argsort().argsort()) / 1000)
    >>> mixture = TransferredMixture().fit(ranks, shaped)
    >>> round(mixture.share_, 2)
    0.05
    >>> mixture.probability(np.log([0.5, 0.001])).round(2)
    array([0., 1.])
    """

    def fit(
        self,
        scores: np.ndarray,
        shaped: np.ndarray,
        weights: np.ndarray | None = None,
        share: float | None = None,
    ) -> TransferredMixture:
        """Look at both scores of the same rows.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Higher is more normal.
        shaped : ndarray of shape (n_samples,)
            Likewise, with a distribution that shows an excess of outliers.
        weights : ndarray of shape (n_samples,), default=None
            Of the rows.
        share : float, default=None
            Share of outliers, where it is known.

        Returns
        -------
        self : TransferredMixture
            The fitted mixture.
        """
        mixture = ScoreMixture().fit(shaped, weights, share)
        self.share_ = mixture.share_
        probability = mixture.probability(shaped)
        falling = IsotonicRegression(increasing=False, out_of_bounds="clip")
        self.transfer_ = falling.fit(scores, probability, sample_weight=weights)
        # Where no row of the table has been, how far out a row is says it.
        self.beyond_ = ScoreMixture().fit(scores, weights, 0.0)
        return self

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a row is an outlier, given its score.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Scores.

        Returns
        -------
        probability : ndarray of shape (n_samples,)
            Falls with the score.
        """
        return np.maximum(self.transfer_.predict(scores), self.beyond_.probability(scores))

    def threshold(self, scores: np.ndarray, weights=None, false_alarms: float = 0.01) -> float:
        """Score below which rows are to be called outliers.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Those of ``fit``.
        weights : ndarray of shape (n_samples,), default=None
            Those of ``fit``.
        false_alarms : float, default=0.01
            Share of the normal rows to call outliers.

        Returns
        -------
        threshold : float
            In the unit of the scores.
        """
        called = self.share_ + (1.0 - self.share_) * false_alarms
        return float(quantile(scores, called, weights))
