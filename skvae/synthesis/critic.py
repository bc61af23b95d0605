"""The critic: how much likelier a row is among the real ones than among the drawn ones."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from .features import Features
from .raking import Raking

# More categories than scikit-learn's histogram trees take are met as numbers.
MOST_CATEGORIES = 255
# Weights beyond this share of the drawn rows are cut: a few rows must not rule the rest.
CUT_SHARE = 0.95
# Classifiers whose log-odds are averaged, each of other real rows.
N_CLASSIFIERS = 3
# Shares of the log-odds that may be believed.
TRUSTS = np.linspace(0.0, 1.2, 13)


class Critic:
    """Gradient boosting that tells real rows from drawn ones; its odds are weights.

    A density ratio that is learned on rows of the model, and applied to new ones, corrects
    what the model gets wrong.  Rows are accepted with a probability in proportion to it.

    Parameters
    ----------
    features : Features
        What made the rows.
    seed : int
    n_threads : int
        Of the classifiers.

    References
    ----------
    Azadi et al., Discriminator Rejection Sampling, 2019.
    """

    def __init__(self, features: Features, seed: int, n_threads: int):
        self.features, self.seed, self.n_threads = features, seed, n_threads

    def fit(self, real: np.ndarray, drawn: np.ndarray, new: np.ndarray, rng) -> Critic:
        """Learn from real and drawn rows, as features; ``new`` ones set the largest weight."""
        gaps = np.isnan(real)
        if gaps.any():
            # Otherwise gaps alone would tell the real rows.
            drawn = np.where(gaps[rng.randint(len(real), size=len(drawn))], np.nan, drawn)
        raking = Raking(real, self.features.categorical)
        fold = rng.permutation(len(real)) % N_CLASSIFIERS
        self.models = [self._new_model(k) for k in range(N_CLASSIFIERS)]
        left_out = np.empty(len(real))
        with threadpool_limits(self.n_threads, user_api="openmp"):
            for k, model in enumerate(self.models):
                known = real[fold != k]
                X = np.vstack([known, drawn])
                y = np.r_[np.ones(len(known)), np.zeros(len(drawn))]
                model.fit(X, y, sample_weight=np.where(y > 0, 1.0, len(known) / len(drawn)))
                left_out[fold == k] = model.decision_function(real[fold == k])
        self.trust = 1.0
        log_odds = self._log_odds(new)
        self.trust = _trust(left_out, log_odds)
        log_odds *= self.trust
        # Shrunken trees lift what is real too little where much is not: margins would shift.
        self.raking = raking.fit(new, log_odds)
        self.largest = float(np.quantile(log_odds + raking.log_factors(new), CUT_SHARE))
        return self

    def log_weights(self, features: np.ndarray) -> np.ndarray:
        """Logarithm of the probability to accept each row."""
        return self._log_odds(features) + self.raking.log_factors(features) - self.largest

    def _new_model(self, k: int) -> HistGradientBoostingClassifier:
        kinds = zip(self.features.categorical, self.features.columns)
        categories = [code and column.size <= MOST_CATEGORIES for code, column in kinds]
        return HistGradientBoostingClassifier(
            max_iter=400,
            max_features=0.3,
            l2_regularization=2.0,
            early_stopping=True,
            validation_fraction=0.15,
            n_iter_no_change=15,
            categorical_features=categories,
            random_state=self.seed + k,
        )

    def _log_odds(self, features: np.ndarray) -> np.ndarray:
        with threadpool_limits(self.n_threads, user_api="openmp"):
            parts = [model.decision_function(features) for model in self.models]
        return self.trust * np.mean(parts, axis=0)


def _trust(real: np.ndarray, drawn: np.ndarray) -> float:
    """Share of the log-odds under which unseen real and drawn rows are told apart best."""
    losses = [
        np.logaddexp(0.0, -share * real).mean() + np.logaddexp(0.0, share * drawn).mean()
        for share in TRUSTS
    ]
    return float(TRUSTS[int(np.argmin(losses))])
