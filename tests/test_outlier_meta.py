"""VAEOutlierDetector as a step and as a candidate of scikit-learn's meta-estimators."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.inspection import permutation_importance
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    permutation_test_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skvae import VAEOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
MAP = np.random.default_rng(0).normal(size=(2, 5))
rng = np.random.default_rng(1)
inlier = np.arange(240) % 8 != 3
X = rng.normal(size=(240, 2)) @ MAP + 0.3 * rng.normal(size=(240, 5))
# Outliers break the relations of the columns.
X[~inlier] = 2 * rng.normal(size=(30, 5)) * X.std(0)
y = np.where(inlier, 1, -1)
FRAME = pd.DataFrame(X, columns=list("abcde")).assign(kind=np.where(X[:, 0] > 0, "u", "v"))
FOLDS = StratifiedKFold(2)


def small(**params):
    return VAEOutlierDetector(2, **{"max_iter": 15, "random_state": 0, **params})


@pytest.fixture(scope="module")
def alone():
    return small().fit(X)


def test_units_of_a_scaler_before_it_do_not_matter():
    alone = small(score_function="likelihood").fit(X)
    pipeline = make_pipeline(StandardScaler(), small(score_function="likelihood")).fit(X)
    nats = np.log(StandardScaler().fit(X).scale_).sum()
    assert_allclose(pipeline.score_samples(X), alone.score_samples(X) + nats, atol=1e-3)
    assert_allclose(pipeline.decision_function(X), alone.decision_function(X), atol=1e-3)
    assert np.mean(pipeline.predict(X) == alone.predict(X)) > 0.99
    assert_array_equal(clone(pipeline).fit_predict(X), pipeline.predict(X))


def test_a_function_of_the_columns_before_it(alone):
    positive = np.exp(X)
    pipeline = make_pipeline(FunctionTransformer(np.log), small()).fit(positive)
    assert_allclose(pipeline.decision_function(positive), alone.decision_function(X), atol=1e-3)
    # The columns as they are, declared continuous, are not the same question.
    kinds = {f"x{j}": "continuous" for j in range(5)}
    other = small(column_kinds=kinds).fit(positive)
    assert np.abs(other.decision_function(positive) - alone.decision_function(X)).max() > 1


@pytest.mark.parametrize("encoder", ["passthrough", OneHotEncoder(sparse_output=False)])
def test_columns_of_several_kinds_before_it(encoder):
    columns = ColumnTransformer(
        [("scaled", StandardScaler(), list("abcde")), ("kind", encoder, ["kind"])],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = Pipeline([("columns", columns), ("detector", small())]).fit(FRAME)
    assert roc_auc_score(inlier, pipeline.decision_function(FRAME)) > 0.9
    again = pipeline.score_samples(FRAME[list(reversed(FRAME.columns))])
    assert_array_equal(again, pipeline.score_samples(FRAME))


def test_a_selector_of_columns_before_it(alone):
    wide = np.c_[X, np.ones(240)]
    pipeline = make_pipeline(VarianceThreshold(), small()).fit(wide)
    assert_array_equal(pipeline.score_samples(wide), alone.score_samples(X))


def test_cross_validated_scores():
    found = cross_val_score(small(), X, y, scoring="roc_auc", cv=FOLDS)
    assert found.min() > 0.85
    assert_allclose(cross_val_score(small(), X, -y, scoring="roc_auc", cv=FOLDS), 1 - found)
    by_hand = [
        roc_auc_score(y[test], small().fit(X[train]).decision_function(X[test]))
        for train, test in FOLDS.split(X, y)
    ]
    assert_allclose(found, by_hand)


def test_several_scorers_at_once():
    precision = make_scorer(
        lambda y, decision: average_precision_score(y == -1, -decision),
        response_method="decision_function",
    )
    scorers = {"area": "roc_auc", "ap": precision, "f1": "f1_macro", "likelihood": _mean}
    found = cross_validate(small(), X, y, scoring=scorers, cv=FOLDS)
    # Guesses would have 1/8 and about a half.
    assert found["test_ap"].min() > 0.5 and found["test_f1"].min() > 0.6
    assert np.isfinite(found["test_likelihood"]).all()


def _mean(detector, X, y=None):
    return detector.score(X)


def test_out_of_fold_answers():
    labels = cross_val_predict(small(contamination=0.1), X, cv=2)
    scores = cross_val_predict(small(), X, cv=2, method="decision_function")
    assert set(labels) == {-1, 1} and scores.shape == (240,)
    assert roc_auc_score(inlier, scores) > 0.9


def test_a_search_with_labels():
    """Whatever it chooses among, the area is that of the outliers it was shown."""
    pipeline = make_pipeline(StandardScaler(), small())
    grid = {"vaeoutlierdetector__n_draws": [1, 16], "standardscaler": ["passthrough"]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=FOLDS).fit(X, y)
    best = small(n_draws=search.best_params_["vaeoutlierdetector__n_draws"])
    expected = cross_val_score(best, X, y, scoring="roc_auc", cv=FOLDS)
    assert search.best_score_ == pytest.approx(expected.mean())
    assert roc_auc_score(y, search.decision_function(X)) > 0.9


def test_a_search_without_labels_goes_by_the_likelihood_of_other_rows():
    """Planted: two latents, of which one alone explains less."""
    search = GridSearchCV(small(), {"n_components": [1, 2]}, cv=2).fit(X[inlier])
    assert search.best_params_ == {"n_components": 2}
    assert np.diff(search.cv_results_["mean_test_score"])[0] > 0.1


def test_a_permutation_test_of_the_scores():
    score, shuffled, p = permutation_test_score(
        small(max_iter=2), X, y, scoring="roc_auc", cv=2, n_permutations=9, random_state=0
    )
    assert p == 0.1 and score > 0.8 > shuffled.max()
    assert abs(shuffled.mean() - 0.5) < 0.1


def test_permutation_importance_of_columns():
    """A column that is unlike every other is of no use; one tied to others is."""
    wide = np.c_[X, np.random.default_rng(3).normal(size=240)]
    found = permutation_importance(
        small().fit(wide), wide, y, scoring="roc_auc", n_repeats=5, random_state=0
    ).importances_mean
    assert found[:5].max() > 0.05 and abs(found[5]) < 0.02
