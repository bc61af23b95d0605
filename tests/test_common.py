"""scikit-learn's checks of an estimator, and what replaces the one that no random learner passes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from skvae import VAEOutlierDetector, VAETransformer

ESTIMATORS = [
    VAETransformer(),
    VAETransformer(n_members=2),
    VAETransformer(n_components=2, init="random"),
    VAETransformer(likelihood="student_t"),
    VAEOutlierDetector(),
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


ARRAY_API = """
import sklearn, torch
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from skvae import VAEOutlierDetector, VAETransformer

torch.set_num_threads(1)
X = load_iris().data
for estimator in VAETransformer(2, max_iter=3), VAEOutlierDetector(2, max_iter=3):
    estimator.set_params(random_state=0)
    expected = estimator.fit(X).score_samples(X)
    with sklearn.config_context(array_api_dispatch=True):
        assert_array_equal(estimator.fit(X).score_samples(X), expected)
"""


@pytest.mark.xfail(
    parse_version(sklearn.__version__) >= parse_version("1.8"),
    strict=True,
    reason="the mixture of Aggregate asks scikit-learn for k-means, which array API dispatch "
    "refuses; config_context(array_api_dispatch=False) around it is enough",
)
def test_array_api_dispatch_changes_nothing():
    """What check_array_api_input asks; scipy reads its variable once, when it is imported."""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ARRAY_API], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------- sample weights

SEEDS = range(12)
# Means over 24 seeds: weights and doubled rows differ by 0.02 +- 0.02 nats here, doubled and
# single rows by 1.4 +- 0.02.
TOLERANCE, EFFECT = 0.3, 1.0


def two_groups(n_common, n_rare, seed):
    rng = np.random.default_rng(seed)
    maps = np.random.default_rng(0).normal(size=(2, 2, 6))
    common = rng.normal(size=(n_common, 2)) @ maps[0]
    rare = rng.normal(size=(n_rare, 2)) @ maps[1] + 2.0
    noise = 0.3 * rng.normal(size=(n_common + n_rare, 6))
    return np.concatenate([common, rare]) + noise


def mean_score(prior, X, sample_weight=None):
    """Score of new rows of the rare group, over the seeds; the fit holds no rows out."""
    rare = two_groups(0, 300, seed=2)
    scores = [
        VAETransformer(
            8, prior=prior, hidden_layer_sizes=(16,), max_iter=20, batch_size=512,
            early_stopping=False, random_state=seed,
        ).fit(X, sample_weight=sample_weight).score(rare)
        for seed in SEEDS
    ]  # fmt: skip
    return np.mean(scores)


KNOWS_NO_WEIGHTS = pytest.mark.xfail(
    strict=True, reason="Aggregate.calibrate knows no weights: -1.05 +- 0.06 nats (24 seeds)"
)


@pytest.mark.parametrize("prior", ["normal", pytest.param("aggregate", marks=KNOWS_NO_WEIGHTS)])
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


@pytest.mark.xfail(strict=True, reason="offset_ is a percentile without weights")
@pytest.mark.parametrize("contamination", ["auto", 0.1])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_the_threshold_counts_rows_by_weight(contamination, level):
    X = two_groups(60, 30, seed=1)
    weight = np.ones(len(X))
    weight[60:] = level
    detector = VAEOutlierDetector(contamination=contamination, max_iter=3, random_state=0)
    detector.fit(X, sample_weight=weight)
    scores = np.repeat(detector.score_samples(X), weight.astype(int))
    lower, upper = np.percentile(scores, [25, 75])
    offset = (
        lower - 1.5 * (upper - lower) if contamination == "auto" else np.percentile(scores, 10)
    )
    # A weighted percentile may sit one row away from that of the repeated rows.
    assert abs(detector.offset_ - offset) < 0.1 * (upper - lower)
