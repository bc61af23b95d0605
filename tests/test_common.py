"""scikit-learn's checks of an estimator, and what replaces the one no random learner passes."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAEOutlierDetector, VAETransformer
from skvae.likelihoods import Normal

ESTIMATORS = [
    VAETransformer(),
    VAEOutlierDetector(),
    # Beside the defaults, a few epochs do.
    VAETransformer(n_members=2, max_iter=5),
    VAETransformer(n_components=2, init="random", max_iter=5),
    VAETransformer(likelihood="student_t", max_iter=5),
]
BOTH = [VAETransformer, VAEOutlierDetector]
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "no stochastic learner can pass 1e-7; replaced by test_sample_weight_counts_rows"
    )
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_no_tag_switches_a_check_off(estimator):
    tags = get_tags(estimator)
    assert tags.requires_fit and tags.input_tags.two_d_array and tags.input_tags.allow_nan
    assert not (tags.non_deterministic or tags.no_validation or tags._skip_test)


@pytest.mark.parametrize("cls", BOTH)
def test_array_api_dispatch_changes_nothing(cls):
    """What check_array_api_input asks, also where scikit-learn does not ask it (before 1.9)."""
    X = load_iris().data
    estimator = cls(2, max_iter=3, random_state=0)
    expected = estimator.fit(X).score_samples(X)
    with sklearn.config_context(array_api_dispatch=True):
        assert_array_equal(estimator.fit(X).score_samples(X), expected)


# ---------------------------------------------------------------------------- sample weights

SEEDS = range(12)
# Means over 24 seeds: weights and doubled rows differ by 0.01 +- 0.02 nats here (0.19 +- 0.07
# with a fitted prior), doubled and single rows by 1.4 +- 0.02.
TOLERANCE, EFFECT = 0.3, 1.0


def two_groups(n_common, n_rare, seed):
    rng = np.random.default_rng(seed)
    maps = np.random.default_rng(0).normal(size=(2, 2, 6))
    common = rng.normal(size=(n_common, 2)) @ maps[0]
    rare = rng.normal(size=(n_rare, 2)) @ maps[1] + 2.0
    noise = 0.3 * rng.normal(size=(n_common + n_rare, 6))
    return np.concatenate([common, rare]) + noise


def mean_score(prior, X, sample_weight=None):
    """Score of new rows of the rare group, over the seeds; the fit holds no rows out.

    The noise is given as one per column: scale="auto" asks cross-validation, where a doubled
    row sits in two folds at once.
    """
    rare = two_groups(0, 300, seed=2)
    scores = [
        VAETransformer(
            8, likelihood=Normal(scale="column"), prior=prior, hidden_layer_sizes=(16,),
            max_iter=20, batch_size=512, early_stopping=False, random_state=seed,
        ).fit(X, sample_weight=sample_weight).score(rare)
        for seed in SEEDS
    ]  # fmt: skip
    return np.mean(scores)


@pytest.mark.parametrize("prior", ["normal", "aggregate"])
def test_sample_weight_counts_rows(prior):
    X = two_groups(60, 30, seed=1)
    doubled = mean_score(prior, np.concatenate([X, X[60:]]))
    weighted = mean_score(prior, X, sample_weight=np.r_[np.ones(60), np.full(30, 2.0)])
    ignored = mean_score(prior, X)
    assert abs(weighted - doubled) < TOLERANCE
    assert doubled - ignored > EFFECT


@pytest.mark.parametrize("cls", BOTH)
def test_only_the_ratios_of_weights_count(cls):
    X = two_groups(60, 30, seed=1)
    weight = np.random.default_rng(3).integers(1, 4, len(X)).astype(float)
    fits = [cls(max_iter=3, random_state=0).fit(X, sample_weight=w) for w in (weight, 8 * weight)]
    assert_array_equal(*[fit.score_samples(X) for fit in fits])


@pytest.mark.parametrize("cls", BOTH)
def test_rows_of_weight_zero_are_no_rows(cls):
    X = two_groups(60, 30, seed=1)
    weight = np.ones(len(X))
    weight[::4] = 0.0
    with_zeros = cls(max_iter=3, random_state=0).fit(X, sample_weight=weight)
    without = cls(max_iter=3, random_state=0).fit(X[weight > 0], sample_weight=weight[weight > 0])
    assert_array_equal(with_zeros.score_samples(X), without.score_samples(X))
    assert getattr(with_zeros, "offset_", None) == getattr(without, "offset_", None)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_the_threshold_counts_rows_by_weight(level):
    X = two_groups(60, 30, seed=1)
    weight = np.ones(len(X))
    weight[60:] = level
    detector = VAEOutlierDetector(
        contamination=0.1, early_stopping=False, max_iter=3, random_state=0
    ).fit(X, sample_weight=weight)
    scores = np.repeat(detector.score_samples(X), weight.astype(int))
    assert abs(detector.offset_ - np.quantile(scores, 0.1, method="inverted_cdf")) < 1e-9


def test_recalibration_weighs_rows_as_fit_does():
    X = load_iris().data
    vae = VAETransformer(2, max_iter=3, random_state=0).fit(X)
    weights = np.r_[np.ones(100), np.zeros(50)]
    expected = vae.recalibrate(X[:100], sample_weight=weights[:100]).score_samples(X)
    assert_array_equal(vae.recalibrate(X, sample_weight=weights).score_samples(X), expected)
    with pytest.raises(ValueError, match="[Nn]egative"):
        vae.recalibrate(X, sample_weight=-weights)
