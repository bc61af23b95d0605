"""What a detector can promise of its scores: p-values, and selections with few false ones."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.base import clone
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import _make_indexable, _num_samples, check_is_fitted

from ._contamination import ContaminationMixin
from ._sources import by_parts
from .conformal import conformal_p_values
from .drift import ScoreDrift, score_drift

# Fewer are no table.
FEWEST_ROWS = 2
CONSTRAINTS: dict = {
    "fdr": [Interval(Real, 0, 1, closed="neither")],
    "ties": [StrOptions({"conservative", "random"})],
    "random_state": ["random_state"],
}


class PromisesMixin(ContaminationMixin):
    """P-values and what follows from them, for detectors with ``score_samples``."""

    # -- in fit ---------------------------------------------------------------------------

    def _keep_aside(self, X, sample_weight):
        """Rows to train on, their weights, and the rows that training must not see."""
        X = _make_indexable(X)
        if sample_weight is not None:
            # Rows of weight 0 are no rows, for whatever looks at them.
            X, sample_weight, _ = self._check_weights(X, sample_weight)
        if self.conformal is None:
            return X, sample_weight, None
        if self.warm_start and hasattr(self, "vae_"):
            raise ValueError(
                f"conformal={self.conformal!r} of {type(self).__name__} keeps rows aside that "
                "training has never seen, and with warm_start=True the model at hand may have "
                "seen any. Set warm_start=False, or conformal=None and pass rows to p_values "
                "as reference=."
            )
        n_rows = _num_samples(X)
        folds = isinstance(self.conformal, Integral)
        if folds and self.conformal > n_rows:
            raise ValueError(
                f"conformal={self.conformal} of {type(self).__name__} asks for as many "
                f"folds, and there are {n_rows} rows. Ask for fewer folds."
            )
        n_aside = math.ceil(n_rows / self.conformal if folds else self.conformal * n_rows)
        if n_rows - n_aside < FEWEST_ROWS:
            repair = "Ask for more folds" if folds else "Lower it"
            raise ValueError(
                f"conformal={self.conformal} of {type(self).__name__} leaves fewer than "
                f"{FEWEST_ROWS} of {n_rows} rows to train on. {repair}, or set conformal=None."
            )
        if folds:
            return X, sample_weight, None
        generator = check_random_state(self.random_state)
        split = ShuffleSplit(1, test_size=self.conformal, random_state=_seed(generator))
        train, aside = next(split.split(np.empty(n_rows)))
        weights = None if sample_weight is None else sample_weight[train]
        return _safe_indexing(X, train), weights, _safe_indexing(X, aside)

    def _calibrate_scores(self, X, sample_weight, aside) -> None:
        """Score the rows kept aside, or each fold by a model of the others."""
        self.fold_detectors_: list = []
        self.calibration_scores_: list = []
        if aside is not None:
            self.calibration_scores_ = [self.score_samples(aside)]
        elif self.conformal is not None:
            generator = check_random_state(self.random_state)
            folds = KFold(self.conformal, shuffle=True, random_state=_seed(generator))
            for train, fold in folds.split(np.empty(_num_samples(X))):
                detector = clone(self).set_params(
                    conformal=None, warm_start=False, random_state=_seed(generator)
                )
                # A callback follows one fit, epoch by epoch.
                vars(detector).pop("_skl_callbacks", None)
                weights = None if sample_weight is None else sample_weight[train]
                detector._fit_scored(_safe_indexing(X, train), weights, detector._fit_quietly)
                self.fold_detectors_.append(detector)
                self.calibration_scores_.append(detector.score_samples(_safe_indexing(X, fold)))

    # -- afterwards -----------------------------------------------------------------------

    @by_parts
    def p_values(self, X, reference=None, *, ties="conservative", random_state=None):
        """How often a normal row would score as low as each of these.

        If a row is like those of the calibration (exchangeable with them), its p-value is at
        most ``a`` with probability at most ``a``, whatever the model and its scores are
        worth: a poor model costs power, not validity.  That is on average over calibrations;
        with one of ``n`` rows the rate of false alarms at ``a`` varies about ``a`` by
        ``sqrt(a (1 - a) / n)``.  Outliers among the rows of the calibration make p-values
        larger.  With folds the bound is twice as large in theory, and not in practice.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows that were neither trained on nor kept aside.
        reference : array-like or DataFrame of shape (n_reference, n_features), default=None
            Rows known to be normal and not trained on, to compare with; None takes those
            that ``fit`` kept aside, see ``conformal``.
        ties : {"conservative", "random"}, default="conservative"
            Whether a score that equals others counts as above them all, or has a random place
            among them.
        random_state : int, RandomState instance or None, default=None
            Breaks ties, if they are random; None takes that of the constructor.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In (0, 1]; small for outliers, and not below ``1 / (n + 1)`` with ``n`` rows to
            compare with, but for random ties.

        Raises
        ------
        ValueError
            If there are no rows to compare with.

        References
        ----------
        Bates, Candes, Lei, Romano and Sesia, Testing for outliers with conformal p-values,
        2023.
        """
        self._check_parameters("p_values", ties=ties, random_state=random_state)
        calibration, scores = self._compared(X, reference, "p_values")
        uniform = None
        if ties == "random":
            chosen = self.random_state if random_state is None else random_state
            uniform = check_random_state(chosen).random_sample(len(scores[0]))
        return conformal_p_values(calibration, scores, uniform)

    def select(self, X, fdr=0.05, reference=None):
        """Rows to look at, of which a share ``fdr`` at most is expected to be normal.

        The procedure of Benjamini and Hochberg on ``p_values``.  Which rows are selected
        depends on all rows of the call.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows that were neither trained on nor kept aside.
        fdr : float in (0, 1), default=0.05
            Expected share of normal rows among those selected, at most.
        reference : array-like or DataFrame of shape (n_reference, n_features), default=None
            As in ``p_values``.

        Returns
        -------
        selected : ndarray of bool of shape (n_samples,)
            Whether the row is selected.

        Raises
        ------
        ValueError
            If there are no rows to compare with, or so few that no row could be selected.

        References
        ----------
        Benjamini and Hochberg, Controlling the false discovery rate, 1995.
        """
        self._check_parameters("select", fdr=fdr)
        calibration, scores = self._compared(X, reference, "select")
        n_rows = sum(map(len, calibration))
        if fdr * (n_rows + 1) < 1:
            raise ValueError(
                f"select of {type(self).__name__} with fdr={fdr} can find nothing: with "
                f"{n_rows} rows to compare with, no p-value is below {1 / (n_rows + 1):.3g}. "
                f"Keep at least {int(np.ceil(1 / fdr)) - 1} aside (conformal=), pass as many "
                "as reference=, or allow a larger fdr."
            )
        return false_discovery_control(conformal_p_values(calibration, scores)) <= fdr

    def score_drift(self, X) -> ScoreDrift:
        """Whether rows score, as a whole, as those of the training did.

        Compares with the rows kept aside (``conformal``), or else with those that stopped the
        training.  It says nothing of changes that leave scores as they are: columns
        that move within what the model expects, or rows of one kind that become fewer.  Where
        no row was held out (``early_stopping=False``) it compares with the training rows,
        which score higher than new ones, and finds drift where there is none.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            New rows; rows that depend on one another, as in a series, look more certain than
            they are.

        Returns
        -------
        drift : ScoreDrift
            ``p_value``, ``effect`` (probability that a new row scores lower; 0.5 without
            drift), and the shares ``beyond`` the threshold of new and of held-out rows.
        """
        check_is_fitted(self)
        return score_drift(self._scores_of_unseen(), self.score_samples(X), self.offset_)

    def _scores_of_unseen(self) -> np.ndarray:
        """By the model that scores, of rows that it was not trained on, if there are any."""
        if self.calibration_scores_ and not self.fold_detectors_:
            return self.calibration_scores_[0]
        return self.held_out_scores_

    def _check_parameters(self, method: str, **params) -> None:
        validate_parameter_constraints(CONSTRAINTS, params, f"{type(self).__name__}.{method}")

    def _compared(self, X, reference, caller: str) -> tuple[list, list]:
        """Scores to compare with and those of ``X``, by each model that has some."""
        check_is_fitted(self)
        if reference is not None:
            return [self.score_samples(reference)], [self.score_samples(X)]
        if not self.calibration_scores_:
            raise ValueError(
                f"{caller} of {type(self).__name__} compares with rows that training has not "
                "seen, and fit kept none. Set conformal, as in conformal=0.2 for a share of "
                "the rows or conformal=5 for folds, and fit again, or pass rows known to be "
                "normal as reference=."
            )
        judges = self.fold_detectors_ or [self]
        return self.calibration_scores_, [judge.score_samples(X) for judge in judges]


def _seed(generator: np.random.RandomState) -> int:
    return generator.randint(np.iinfo(np.int32).max)
