"""PyODDetector: PyOD's names, signs and formulas, in PyOD's tools where they are installed."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAEOutlierDetector
from skvae.pyod import PyODDetector

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
ZERO_ONE = "PyOD's labels are 0 and 1, those of scikit-learn -1 and 1"
rng = np.random.default_rng(0)
MAP = rng.normal(size=(2, 5))


def rows(n_rows, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 2)) @ MAP + 0.3 * rng.normal(size=(n_rows, 5))


# One row in ten breaks the relations of the columns.
y = (np.arange(200) % 10 == 3).astype(int)
X = np.where(y[:, None], 2 * rng.normal(size=(200, 5)) * rows(999, 2).std(0), rows(200, 1))


def small(**params):
    return VAEOutlierDetector(2, **{"max_iter": 15, "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted():
    return PyODDetector(small(), contamination=0.1).fit(X)


@parametrize_with_checks(
    [PyODDetector(VAEOutlierDetector(max_iter=2, random_state=0))],
    expected_failed_checks=lambda estimator: dict.fromkeys(
        ["check_outliers_fit_predict", "check_outliers_train"], ZERO_ONE
    ),
)
def test_estimator_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------ names, signs, labels


def test_scores_are_those_of_the_detector_with_the_other_sign(fitted):
    detector = small(contamination=0.1).fit(X)
    new = rows(50, 3)
    assert_array_equal(fitted.decision_function(new), -detector.score_samples(new))
    assert_array_equal(fitted.decision_scores_, fitted.decision_function(X))
    assert fitted.threshold_ == -detector.offset_
    assert_array_equal(fitted.predict(new), (detector.predict(new) == -1).astype(int))
    assert roc_auc_score(y, fitted.decision_scores_) > 0.95
    # What a wrapper that forgets the sign would give.
    assert roc_auc_score(y, detector.score_samples(X)) < 0.05


@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.25, 0.5])
def test_contamination_is_the_share_of_labels(contamination):
    detector = PyODDetector(small(max_iter=3), contamination=contamination).fit(X)
    assert set(detector.labels_) == {0, 1} and detector.labels_.sum() == 200 * contamination
    assert detector.labels_.dtype.kind == "i"
    assert_array_equal(detector.predict(X), detector.labels_)
    assert_array_equal(clone(detector).fit_predict(X), detector.labels_)
    percentile = np.percentile(detector.decision_scores_, 100 * (1 - contamination))
    assert detector.threshold_ == pytest.approx(percentile, rel=1e-12)


def test_the_rule_of_the_detector(fitted):
    auto = PyODDetector(small(), contamination="auto").fit(X)
    assert auto.threshold_ == -small(contamination="auto").fit(X).offset_ != fitted.threshold_


def test_what_was_passed_stays_as_it_was(fitted):
    inner = small(contamination=0.4)
    detector = PyODDetector(inner, contamination=0.1).fit(X)
    assert inner.contamination == 0.4 and not hasattr(inner, "offset_")
    assert_array_equal(detector.decision_scores_, fitted.decision_scores_)


def test_parameters_of_the_detector_are_within_reach():
    detector = PyODDetector(small())
    detector.set_params(detector__n_draws=4, contamination=0.2)
    copy = clone(detector)
    assert copy.detector.n_draws == 4 and copy.get_params()["contamination"] == 0.2
    assert copy.detector is not detector.detector


def test_frames_with_gaps_and_categories():
    frame = pd.DataFrame(X, columns=list("abcde")).assign(kind=np.where(y, "x", "z"))
    frame.loc[::7, "b"] = np.nan
    detector = PyODDetector(small(max_iter=3)).fit(frame)
    assert detector.n_features_in_ == 6 and list(detector.feature_names_in_) == [*"abcde", "kind"]
    assert detector.predict_proba(frame).shape == (200, 2)


def test_a_copy_from_a_pickle_gives_the_same(fitted):
    other = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(other.decision_function(X), fitted.decision_scores_)
    assert_array_equal(other.predict_confidence(X), fitted.predict_confidence(X))


def test_detectors_of_scikit_learn():
    detector = PyODDetector(IsolationForest(random_state=0), contamination=0.1).fit(X)
    assert detector.labels_.sum() == 20
    assert_array_equal(detector.decision_scores_, -detector.detector_.score_samples(X))


def test_scorers_of_scikit_learn_take_outliers_as_the_positive_class():
    found = cross_val_score(PyODDetector(small()), X, y, scoring="roc_auc", cv=3)
    assert found.min() > 0.85
    other = cross_val_score(PyODDetector(small()), X, 1 - y, scoring="roc_auc", cv=3)
    assert_allclose(found + other, 1)
    assert cross_val_score(PyODDetector(small()), X, y, scoring="f1", cv=3).min() > 0.4


@pytest.mark.parametrize("contamination", [0, -0.1, 0.51, 1, 2.0, "some", None])
def test_contamination_outside_its_range(contamination):
    message = r"'contamination' parameter of PyODDetector must be .*auto.*\(0.0, 0.5\]. Got"
    with pytest.raises(ValueError, match=message):
        PyODDetector(small(), contamination=contamination).fit(X)


def test_other_bad_arguments(fitted):
    with pytest.raises(ValueError, match=r"method to be one of \['linear', 'unify'\], got 'log'"):
        fitted.predict_proba(X, method="log")
    with pytest.raises(ValueError, match="'detector' parameter of PyODDetector must be .*fit"):
        PyODDetector("knn").fit(X)


# -------------------------------------------------------------------------------------- formulas


def test_probabilities(fitted):
    new = np.concatenate([X[::9], 50 * X[:2], rows(20, 3)])
    known, scores = fitted.decision_scores_, fitted.decision_function(new)
    for method, expected in {
        "linear": [(s - min(known)) / (max(known) - min(known)) for s in scores],
        "unify": [math.erf((s - known.mean()) / (known.std() * 2**0.5)) for s in scores],
    }.items():
        probabilities = fitted.predict_proba(new, method=method)
        assert_allclose(probabilities[:, 1], np.clip(expected, 0, 1), atol=1e-12)
        assert_allclose(probabilities.sum(1), 1, atol=1e-15)
    assert_array_equal(fitted.predict_proba(new), fitted.predict_proba(new, "linear"))
    assert fitted.predict_proba(50 * X[:2])[:, 1].tolist() == [1, 1]  # cut


@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.5])
def test_confidence(contamination):
    """The chance that a training table of as many rows puts enough of them below a row."""
    detector = PyODDetector(small(max_iter=3), contamination=contamination).fit(X)
    n_rows, known = 200, detector.decision_scores_
    new = np.concatenate([X[::20], rows(10, 3)])
    for row, confidence in zip(new, detector.predict_confidence(new)):
        score = detector.decision_function(row[None])[0]
        p = (1 + sum(known <= score)) / (2 + n_rows)
        n_inliers = n_rows - int(n_rows * contamination)
        pmf = [math.comb(n_rows, k) * p**k * (1 - p) ** (n_rows - k) for k in range(n_rows + 1)]
        outlier = 1 - sum(pmf[: n_inliers + 1])
        expected = outlier if score > detector.threshold_ else 1 - outlier
        assert confidence == pytest.approx(expected, abs=1e-10)


def test_confidence_is_low_at_the_threshold_and_high_away_from_it(fitted):
    confidence = fitted.predict_confidence(X)
    near = np.argsort(np.abs(fitted.decision_scores_ - fitted.threshold_))
    assert confidence[near[:3]].max() < 0.75 and confidence[near[-50:]].min() > 0.95


def test_confidence_beside_the_answer(fitted):
    for ask, expected in ((fitted.predict, fitted.labels_), (fitted.predict_proba, None)):
        answer, confidence = ask(X, return_confidence=True)
        assert_array_equal(answer, ask(X) if expected is None else expected)
        assert_array_equal(confidence, fitted.predict_confidence(X))


# ---------------------------------------------------------------------------------- PyOD itself


@pytest.fixture(scope="module")
def pyod():
    return pytest.importorskip("pyod")


@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.5])
def test_the_same_as_the_base_class_of_pyod(pyod, contamination):
    from pyod.models.base import BaseDetector

    class Scored(BaseDetector):
        """PyOD's treatment of given scores; its rows are their places."""

        def __init__(self, scores, contamination):
            super().__init__(contamination)
            self.scores = scores

        def fit(self, X, y=None):
            self._set_n_classes(None)
            self.decision_scores_ = self.scores
            return self._process_decision_scores()

        def decision_function(self, X):
            return self.scores[X[:, 0].astype(int)]

    ours = PyODDetector(small(max_iter=3), contamination=contamination).fit(X)
    places = np.arange(len(X), dtype=float)[:, None]
    theirs = Scored(ours.decision_scores_, contamination).fit(places)
    assert_array_equal(ours.labels_, theirs.labels_)
    assert_array_equal(ours.predict(X), theirs.predict(places))
    assert ours.threshold_ == pytest.approx(theirs.threshold_, rel=1e-12)
    assert_allclose(ours.predict_confidence(X), theirs.predict_confidence(places), atol=1e-12)
    for method in ("linear", "unify"):
        expected = theirs.predict_proba(places, method=method)
        assert_allclose(ours.predict_proba(X, method=method), expected, atol=1e-12)


def test_ensembles_of_pyod(pyod):
    from pyod.models.feature_bagging import FeatureBagging
    from pyod.models.knn import KNN
    from pyod.models.lscp import LSCP

    detectors = [PyODDetector(small()), KNN()]
    ensemble = LSCP(detectors, local_region_size=20, random_state=0).fit(X)
    assert roc_auc_score(y, ensemble.decision_scores_) > 0.9
    bagging = FeatureBagging(PyODDetector(small()), n_estimators=3, random_state=0).fit(X)
    assert roc_auc_score(y, bagging.decision_function(X)) > 0.85
    assert len({part.detector.random_state for part in bagging.estimators_}) == 3


def test_a_pool_of_pyod(pyod):
    pytest.importorskip("suod")
    from pyod.models.knn import KNN
    from pyod.models.suod import SUOD

    pool = SUOD([KNN(), PyODDetector(small())], n_jobs=2, verbose=False).fit(X)
    assert roc_auc_score(y, pool.decision_function(X)) > 0.9


def test_series_by_the_windows_of_pyod(pyod):
    """It asks for its own base class, which a wrapper can be registered with."""
    from pyod.models.base import BaseDetector
    from pyod.models.ts_od import TimeSeriesOD

    BaseDetector.register(PyODDetector)
    values = np.sin(np.arange(300) / 5) + 0.1 * np.random.default_rng(0).normal(size=300)
    values[200:205] = 0.0
    series = TimeSeriesOD(PyODDetector(small()), window_size=20).fit(values)
    assert 180 < series.decision_function(values).argmax() < 225
