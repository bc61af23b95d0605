"""Normal rows and outliers among scores: how many of each, and which is which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln
from scipy.stats import gamma

# Levels of the normal rows that the shape of their scores is read off: first below what a fifth
# of outliers would move, and nearer to the tail once their share is known.
BULK, WIDE = (0.1, 0.45, 0.75), (0.1, 0.5, 0.9)
SHAPES = np.geomspace(0.15, 400.0, 64)
# How far an excess in the tail must stand out, in the bounds of the iterated logarithm: the
# null distribution is itself estimated.
CAUTION = 2.0
LARGEST_TAIL, MOST_OUTLIERS = 0.25, 0.5
N_STEPS, TOLERANCE = 60, 1e-5
# Fewer values have no shape.
FEWEST_DISTINCT = 20
# Surprises of outliers: a gamma distribution of this shape, and one row that says where they
# lie where nothing else does.
OUTLIER_SHAPE, PRIOR_SURPRISE = 3.0, 10.0


class NormalRows(NamedTuple):
    """A shifted gamma distribution of how unlikely normal rows are.

    Sums of squares have it, and so have exponential tails: that is what likelihoods and tail
    probabilities are, up to their units.

    Parameters
    ----------
    shape, loc, scale : float
    """

    shape: float
    loc: float
    scale: float

    @classmethod
    def through(cls, quantiles: np.ndarray, levels) -> NormalRows:
        """The one with these three quantiles, or as near as there is."""
        low, middle, high = quantiles
        standard = gamma.ppf(np.asarray(levels)[:, None], SHAPES)
        ratio = np.log(standard[2] - standard[1]) - np.log(standard[1] - standard[0])
        asked = np.log(high - middle) - np.log(middle - low)
        shape = float(np.exp(np.interp(-asked, -ratio, np.log(SHAPES))))
        low, middle_, high_ = gamma.ppf(levels, shape)
        scale = float((high - middle) / (high_ - middle_))
        return cls(shape, float(middle - scale * middle_), scale)

    def surprise(self, odd: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the share of normal rows that are as odd, in nats."""
        # Far out the share is 0 in floating point.
        with np.errstate(divide="ignore"):
            log_share = gamma.logsf((odd - self.loc) / self.scale, self.shape)
        return np.minimum(-log_share, 700.0)

    def quantile(self, share: float) -> float:
        """Where this share of the normal rows is as odd."""
        return float(self.loc + self.scale * gamma.isf(share, self.shape))


class ScoreMixture:
    """The scores of a table as those of normal rows and of outliers.

    The bulk of the scores says what those of normal rows look like, and how far their tail
    should reach; what lies in the tail beyond that, by more than chance allows, are outliers.
    Only the shape of the scores matters, not their unit.  Where outliers are no less likely
    than normal rows, nothing in the scores tells, and none are found.

    Attributes
    ----------
    share_ : float
        Estimated share of outliers.
    normal_ : NormalRows
        Distribution of minus the score of normal rows.
    prior_ : float
        Share that probabilities start from: never 0.
    rate_ : float
        Of the surprise of outliers, per nat.

    References
    ----------
    Efron, Large-scale simultaneous hypothesis testing: the choice of a null hypothesis, 2004;
    Meinshausen and Rice, Estimating the proportion of false null hypotheses among a large
    number of independently tested hypotheses, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.score_mixture import ScoreMixture
    >>> rng = np.random.RandomState(0)
    >>> scores = -np.concatenate([rng.gamma(5.0, size=950), rng.uniform(20.0, 40.0, size=50)])
    >>> mixture = ScoreMixture().fit(scores)
    >>> round(mixture.share_, 2)
    0.05
    >>> mixture.probability(np.array([-5.0, -30.0])).round(3)
    array([0., 1.])
    """

    def fit(
        self, scores: np.ndarray, weights: np.ndarray | None = None, share: float | None = None
    ) -> ScoreMixture:
        """Look at scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Higher is more normal.
        weights : ndarray of shape (n_samples,), default=None
            Of the rows.
        share : float, default=None
            Share of outliers, where it is known.

        Returns
        -------
        self : ScoreMixture
            The fitted mixture.
        """
        weights = np.ones(len(scores)) if weights is None else weights
        order = np.argsort(-scores, kind="stable")
        odd, weights = -scores[order], weights[order] / weights.sum()
        n_rows = 1.0 / (weights**2).sum()
        bulk = _Quantiles(odd, weights)
        self.share_ = self._estimate(odd, weights, bulk, n_rows) if share is None else share
        self.normal_ = bulk.normal_rows(WIDE, self.share_)
        self.prior_ = max(self.share_, 1.0 / (n_rows + 1.0))
        self._fit_outliers(odd, weights * n_rows)
        return self

    @staticmethod
    def _estimate(odd, weights, bulk: _Quantiles, n_rows: float) -> float:
        as_odd = 1.0 - np.cumsum(weights) + weights
        log_log = np.log(max(np.log(max(n_rows, 16.0)), 1.0))
        share = 0.0
        for step in range(N_STEPS):
            tail = np.exp(-bulk.normal_rows(BULK, share).surprise(odd))
            spread = np.sqrt(np.maximum(tail * (1.0 - tail), 1.0 / n_rows) / n_rows)
            excess = as_odd - tail - CAUTION * np.sqrt(2.0 * log_log) * spread
            found = np.where(tail < LARGEST_TAIL, excess / np.maximum(1.0 - tail, 0.5), 0.0)
            update = float(np.clip(found.max(), 0.0, MOST_OUTLIERS))
            if abs(update - share) < TOLERANCE:
                break
            # Steps go half the way once they might go back and forth.
            share = update if step < 10 else 0.5 * (share + update)
        return share

    def _fit_outliers(self, odd, counts) -> None:
        """The rate by expectation and maximisation, the share held."""
        surprise = self.normal_.surprise(odd)
        self.rate_ = OUTLIER_SHAPE / PRIOR_SURPRISE
        for _ in range(N_STEPS):
            part = counts * self._posterior(surprise)
            total = PRIOR_SURPRISE + part @ surprise
            self.rate_ = float(min(OUTLIER_SHAPE * (1.0 + part.sum()) / total, 0.9))

    def _posterior(self, surprise: np.ndarray) -> np.ndarray:
        # Of a rate below that of normal rows, so that the odds rise with the surprise.
        log_density = (
            OUTLIER_SHAPE * np.log(self.rate_)
            - gammaln(OUTLIER_SHAPE)
            + (OUTLIER_SHAPE - 1.0) * np.log(np.maximum(surprise, 1e-300))
            - self.rate_ * surprise
        )
        prior = np.log(self.prior_) - np.log1p(-self.prior_)
        return expit(prior + log_density + surprise)

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a row is an outlier, given its score.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Scores.

        Returns
        -------
        probability : ndarray of shape (n_samples,)
            One minus the local false discovery rate; falls with the score.
        """
        return self._posterior(self.normal_.surprise(-scores))

    def threshold(self, scores: np.ndarray, weights=None, false_alarms: float = 0.01) -> float:
        """Score below which rows are to be called outliers.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Those of ``fit``.
        weights : ndarray of shape (n_samples,), default=None
            Those of ``fit``.
        false_alarms : float, default=0.01
            Share of the normal rows to call outliers, at most, both as the fitted tail has it
            and among the rows at hand.

        Returns
        -------
        threshold : float
            In the unit of the scores.
        """
        called = self.share_ + (1.0 - self.share_) * false_alarms
        return min(-self.normal_.quantile(false_alarms), float(quantile(scores, called, weights)))


class _Quantiles:
    """Quantiles of ordered values, those of the values that differ where too many are equal."""

    def __init__(self, odd: np.ndarray, weights: np.ndarray):
        self.odd, self.weights, self.distinct = odd, weights, np.unique(odd)

    def normal_rows(self, levels, share: float) -> NormalRows:
        """The distribution of all but the share that is oddest."""
        at = np.asarray(levels) * (1.0 - share)
        uniform = np.ptp(self.weights) == 0
        quantiles = quantile(self.odd, at, None if uniform else self.weights)
        if np.diff(quantiles).min() <= 0 and len(self.distinct) >= FEWEST_DISTINCT:
            quantiles = np.quantile(self.distinct, at)
        # Rows that are all the same are as likely as one another, and others unlikely.
        least = 1e-9 * max(abs(quantiles[1]), 1e-9)
        low, middle, high = quantiles
        low, high = min(low, middle - least), max(high, middle + least)
        return NormalRows.through(np.array([low, middle, high]), levels)


def quantile(scores, share, weights):
    """Quantiles of scores, of which some may count more than others."""
    if weights is None:
        return np.quantile(scores, share)
    return np.quantile(scores, share, weights=weights, method="inverted_cdf")
