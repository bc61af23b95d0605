"""Detectors by the conventions of PyOD, which this module does not import."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.stats import binom, norm
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._outlier_detector import VAEOutlierDetector

__all__ = ["PyODDetector"]


class PyODDetector(BaseEstimator):
    """An outlier detector with the names, signs and labels of PyOD.

    Scores are higher for outliers, and labels are 1 for outliers and 0 for inliers; of
    scikit-learn's detectors the opposite holds.  Otherwise it is the detector it is given.

    Parameters
    ----------
    detector : VAEOutlierDetector or None, default=None
        What finds the outliers; None is one of the default settings.  ``fit`` trains a clone.
        Any detector of scikit-learn that scores new rows by ``score_samples`` will do.
    contamination : float in (0, 0.5] or "auto", default=0.1
        Share of the training rows to call outliers, in the place of that of ``detector``.
        ``"auto"`` is its own rule.

    Attributes
    ----------
    decision_scores_ : ndarray of shape (n_samples,)
        Scores of the training rows, in nats.
    threshold_ : float
        Rows whose score is above this are outliers.
    labels_ : ndarray of int of shape (n_samples,)
        0 or 1 for each training row.
    detector_ : VAEOutlierDetector
        The fitted detector.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are strings.

    References
    ----------
    Zhao, Nasrullah and Li, PyOD: A Python Toolbox for Scalable Outlier Detection, 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEOutlierDetector
    >>> from skvae.pyod import PyODDetector
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = PyODDetector(VAEOutlierDetector(random_state=0), contamination=0.05).fit(X)
    >>> int(detector.labels_.sum())
    9
    >>> detector.predict(X[:1] + 10 * X.std(axis=0))
    array([1])
    """

    _parameter_constraints: dict = {
        "detector": [None, HasMethods(["fit", "score_samples", "set_params"])],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(self, detector=None, contamination=0.1):
        self.detector = detector
        self.contamination = contamination

    # The detector checks its own parameters.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit a clone of the detector, and score and label its rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self : PyODDetector
            The fitted detector.

        Raises
        ------
        ValueError
            If ``contamination`` is outside (0, 0.5], or as the detector says.
        """
        detector = VAEOutlierDetector() if self.detector is None else clone(self.detector)
        self.detector_ = detector.set_params(contamination=self.contamination).fit(X)
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = -float(self.detector_.offset_)
        self.labels_ = self._label(self.decision_scores_)
        return self

    def decision_function(self, X):
        """How outlying each row is.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            ``-score_samples`` of the detector: nats, higher for outliers, not centred at the
            threshold.
        """
        check_is_fitted(self)
        return -self.detector_.score_samples(X)

    def predict(self, X, return_confidence=False):
        """Tell inliers (0) from outliers (1).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        return_confidence : bool, default=False
            Whether to give ``predict_confidence`` as well.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            0 or 1.
        confidence : ndarray of shape (n_samples,)
            Only if asked for.
        """
        scores = self.decision_function(X)
        return self._with_confidence(self._label(scores), scores, return_confidence)

    def predict_proba(self, X, method="linear", return_confidence=False):
        """Scores brought to [0, 1] as PyOD does.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        method : {"linear", "unify"}, default="linear"
            ``"linear"``: the place between the least and the largest score of the training
            rows.  ``"unify"``: Gaussian scaling by their mean and standard deviation, 0 below
            the mean.
        return_confidence : bool, default=False
            Whether to give ``predict_confidence`` as well.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, 2)
            Of inlier and of outlier.  A scale, not a calibrated frequency.
        confidence : ndarray of shape (n_samples,)
            Only if asked for.

        Raises
        ------
        ValueError
            If there is no such method.

        References
        ----------
        Kriegel, Kröger, Schubert and Zimek, Interpreting and Unifying Outlier Scores, 2011.
        """
        if method not in SCALINGS:
            raise ValueError(
                f"PyODDetector.predict_proba expects method to be one of {sorted(SCALINGS)}, "
                f"got {method!r}."
            )
        scores = self.decision_function(X)
        outlier = np.clip(SCALINGS[method](scores, self.decision_scores_), 0, 1)
        return self._with_confidence(np.c_[1 - outlier, outlier], scores, return_confidence)

    def predict_confidence(self, X):
        """How likely the same label is after fitting to other rows of the same kind.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        confidence : ndarray of shape (n_samples,)
            In [0, 1].

        References
        ----------
        Perini, Vercruyssen and Davis, Quantifying the Confidence of Anomaly Detectors in Their
        Example-Wise Predictions, 2020.
        """
        return self._confidence(self.decision_function(X))

    def fit_predict(self, X, y=None):
        """Fit, and give ``labels_``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            0 or 1.
        """
        return self.fit(X, y).labels_

    def _label(self, scores):
        return (scores > self.threshold_).astype(int)

    def _with_confidence(self, answer, scores, wanted):
        return (answer, self._confidence(scores)) if wanted else answer

    def _confidence(self, scores):
        n_rows = len(self.decision_scores_)
        n_below = np.searchsorted(np.sort(self.decision_scores_), scores, side="right")
        share = self.contamination
        n_outliers = self.labels_.sum() if share == "auto" else int(n_rows * share)
        # The row is an outlier of another training table where enough of that are below it.
        outlier = binom.sf(n_rows - n_outliers, n_rows, (1 + n_below) / (2 + n_rows))
        return np.where(self._label(scores) == 1, outlier, 1 - outlier)

    @property
    def n_features_in_(self):
        return self.detector_.n_features_in_

    @property
    def feature_names_in_(self):
        return self.detector_.feature_names_in_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "detector_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Scorers of rankings, as "roc_auc", ask detectors for their decision function.
        tags.estimator_type = "outlier_detector"
        inner = VAEOutlierDetector() if self.detector is None else self.detector
        tags.input_tags = inner.__sklearn_tags__().input_tags
        return tags


def _linear(scores, known):
    lowest = known.min()
    return (scores - lowest) / ((known.max() - lowest) or 1.0)


def _unify(scores, known):
    return 2 * norm.cdf(scores, known.mean(), known.std() or 1.0) - 1


SCALINGS = {"linear": _linear, "unify": _unify}
