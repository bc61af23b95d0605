"""What refines imputations: the normal distribution, smooth ridge regression, trees."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import SimpleImputer

from skvae import VAEImputer
from skvae.imputation.gaussian import NOISE, ROOM, Gaussian
from skvae.imputation.layout import Layout
from skvae.imputation.refinement import numeric_weights
from skvae.imputation.regression import ALPHAS, N_TREES, Ridge, SmoothRidge, Trees
from skvae.imputation.residuals import Spread


def numbers(d):
    return Layout((("continuous", (1,) * d),))


def correlated(n, seed=0, d=5):
    loadings = np.random.default_rng(0).normal(size=(d, 2))
    covariance = loadings @ loadings.T + 0.2 * np.eye(d)
    X = np.random.default_rng(seed).multivariate_normal(np.arange(d), covariance, n)
    return X, covariance


def fitted(X, mask, seed=0):
    completed = np.where(mask, X, np.nanmean(np.where(mask, X, np.nan), axis=0))
    normal = Gaussian(numbers(X.shape[1]), np.random.RandomState(seed))
    return completed, normal.fit(completed, mask)


@pytest.mark.parametrize("observed", [True, False])
def test_conditional_moments_are_those_of_the_schur_complement(observed):
    X, _ = correlated(300)
    mask = np.random.default_rng(1).uniform(size=X.shape) > 0.3
    completed, normal = fitted(X, mask)
    mask[:, 0] = observed
    mean, variance = normal.without_each(completed, mask)
    for i in range(40):
        seen = np.flatnonzero(mask[i])
        seen = seen[seen != 0]
        C, white = normal.covariance, (completed[i] - normal.loc) / normal.scale
        gain = np.linalg.solve(C[np.ix_(seen, seen)], C[seen, 0])
        given = normal.mean[0] + gain @ (white - normal.mean)[seen]
        expected = np.clip(normal.loc[0] + normal.scale[0] * given, normal.low[0], normal.high[0])
        assert_allclose(mean[i, 0], expected, rtol=1e-8)
        left = normal.scale[0] ** 2 * (C[0, 0] - gain @ C[seen, 0])
        assert_allclose(variance[i, 0], left, rtol=1e-7)


def test_em_finds_the_covariance_from_a_table_with_gaps():
    X, covariance = correlated(2000)
    mask = np.random.default_rng(1).uniform(size=X.shape) > 0.3
    completed, normal = fitted(X, mask)
    found = normal.covariance * np.outer(normal.scale, normal.scale)
    off = ~np.eye(len(covariance), dtype=bool)
    error = np.abs(found - covariance)[off].mean()
    # A control: the completed table underrates how columns hang together.
    by_mean = np.abs(np.cov(completed.T) - covariance)[off].mean()
    assert error < 0.35 * by_mean


def test_an_all_missing_row_gets_the_mean_and_all_of_the_variance():
    X, _ = correlated(300)
    mask = np.ones(X.shape, dtype=bool)
    completed, normal = fitted(X, mask)
    mean, variance = normal.without_each(completed[:1], ~mask[:1])
    assert_allclose(mean[0], normal.loc + normal.scale * normal.mean)
    assert_allclose(variance[0], normal.scale**2 * np.diag(normal.covariance))


def test_copies_of_a_column_do_no_harm():
    x = np.random.default_rng(0).normal(size=(200, 1))
    X = np.hstack([x, x, -x, np.ones_like(x)])
    mask = np.random.default_rng(1).uniform(size=X.shape) > 0.3
    completed, normal = fitted(X, mask)
    mean, variance = normal.without_each(completed, mask)
    assert np.isfinite(mean).all() and (variance > 0).all()
    known = mask[:, 1] & mask[:, 2]
    assert np.abs(mean - X)[known, 0].mean() < 3 * np.sqrt(NOISE)


def test_numbers_come_before_categories_where_there_is_no_room():
    layout = Layout((("continuous", (1, 1)), ("categorical", (ROOM, 3))))
    kept = Gaussian(layout, None)._kept()
    assert kept.tolist() == [0, 1, 2 + ROOM, 3 + ROOM, 4 + ROOM]


def test_wide_tables_do_without_the_normal_distribution(monkeypatch):
    monkeypatch.setattr("skvae.imputation.refinement.WIDEST", 3)
    X = correlated(80)[0]
    hidden = np.where(np.random.default_rng(1).uniform(size=X.shape) < 0.2, np.nan, X)
    imputer = VAEImputer(max_iter=1, n_members=2, random_state=0).fit(hidden)
    assert imputer._completion.refinement.normal is None
    assert np.isfinite(imputer.transform(hidden)).all()


def test_smooth_ridge_bends_and_predicts_each_row_by_the_others():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 2))
    y = np.sin(2 * A[:, 0]) + A[:, 1] ** 2 + 0.1 * rng.normal(size=400)
    new = rng.normal(size=(400, 2))
    truth = np.sin(2 * new[:, 0]) + new[:, 1] ** 2
    smooth = SmoothRidge(np.random.RandomState(0))
    left_out = smooth.fit_left_out(A, y)(A, np.arange(400)).mean[:, 0]
    error = np.std(smooth.predict(new).mean[:, 0] - truth)
    line = np.std(Ridge().fit(A, y).predict(new)[:, 0] - truth)
    assert error < 0.4 * line
    # Leaving out tells the error on new rows, which a fit to the rows themselves does not.
    expected = np.hypot(error, 0.1)
    assert 0.6 * expected < np.std(left_out - y) < 1.5 * expected


def test_smooth_ridge_is_a_straight_line_where_the_truth_is():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(300, 4))
    y = A @ [1.0, -2.0, 0.5, 0.0]
    smooth = SmoothRidge(np.random.RandomState(0)).fit(A, y)
    inside = np.random.default_rng(1).uniform(-1.2, 1.2, size=(200, 4))
    assert np.abs(smooth.predict(inside).mean[:, 0] - inside @ [1.0, -2.0, 0.5, 0.0]).max() < 0.1


def test_only_numbers_are_told_by_the_normal_distribution():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    layout = Layout((("continuous", (1,)), ("categorical", (2,))))
    table = np.column_stack([x, x > 0, x <= 0]).astype(float)
    mask = np.ones((200, 2), dtype=bool)
    mean, variance = Gaussian(layout, rng).fit(table, mask).without_each(table, mask)
    assert np.corrcoef(mean[:, 0], x)[0, 1] > 0.6 and (variance[:, 0] > 0).all()
    assert not mean[:, 1:].any() and not variance[:, 1:].any()


@pytest.mark.parametrize("n_classes", [None, 4])
def test_trees_answer_as_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(300, 4))
    y = A[:, 0] + 0.3 * rng.normal(size=300)
    kind, options, told = ExtraTreesRegressor, {"max_features": 0.7}, "oob_prediction_"
    if n_classes:
        y = np.digitize(y, [-0.5, 0.5]) + 1
        kind, options = ExtraTreesClassifier, {"min_samples_leaf": 2, "max_features": 1.0}
        told = "oob_decision_function_"
    trees = Trees(n_classes, np.random.RandomState(0))
    ask = trees.fit_left_out(A, y)
    found = ask(A, np.arange(300))
    theirs = kind(N_TREES, bootstrap=True, oob_score=True, random_state=trees.seed, **options).fit(
        A, y
    )
    left_out = getattr(theirs, told).reshape(300, -1)
    assert_allclose(found.mean[:, -left_out.shape[1] :], left_out)
    new = rng.normal(size=(50, 4))
    answer = trees.predict(new)
    if n_classes:
        # The class that fit never saw.
        assert not answer.mean[:, 0].any()
        assert_allclose(answer.mean[:, 1:], theirs.predict_proba(new))
        return
    assert_allclose(answer.mean[:, 0], theirs.predict(new))
    each = np.stack([tree.predict(new) for tree in theirs.estimators_])
    assert_allclose(answer.variance, each.var(0, ddof=1))
    assert not answer.excess.any()
    # With other features a row is left to the same trees.
    rows, unseen = np.arange(50), np.ones((N_TREES, 50))
    for who, seen in zip(unseen, trees.forest.estimators_samples_):
        who[seen[seen < 50]] = 0.0
    by_trees = np.stack([tree.predict(new) for tree in trees.forest.estimators_])
    assert_allclose(ask(new, rows).mean[:, 0], np.average(by_trees, axis=0, weights=unseen))
    # A third of the trees are asked about a row of their own.
    share = (found.excess / found.variance).mean()
    assert 0.3 < N_TREES * share / (1 / 0.37 - 1) < 3


def test_error_that_averages_out_takes_no_weight():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2000)
    noise = rng.normal(size=(2000, 2))
    # The second is the better one, but for noise that all of its trees would not have.
    parts = np.column_stack([truth + 0.4 * noise[:, 0], truth + 0.5 * noise[:, 1]])
    excess = np.array([0.0, 2000 * (0.5**2 - 0.2**2)])
    assert numeric_weights(parts, truth, excess)[1] > 0.65
    assert numeric_weights(parts, truth)[1] < 0.5


def test_spread_grows_with_doubts_beyond_those_of_held_out_cells():
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=(400, 1)))
    guesses = np.hstack([np.ones((400, 1)), scale**2])
    spread = Spread(guesses, scale[:, 0] * rng.normal(size=400))
    far = spread(np.array([[1.0, 100.0], [1.0, 1.0]]))
    assert 6 < far[0] / far[1] < 12
    # A file of an earlier version, without floor, that knew one guess.
    spread.__dict__.pop("floor")
    spread.powers = spread.powers[:1]
    assert np.isfinite(spread(guesses)).all()


def test_intervals_hold_where_gaps_depend_on_what_spreads_errors(monkeypatch):
    rng = np.random.default_rng(0)
    level = rng.uniform(size=1200)
    X = np.column_stack([level, 3 * level + 2 * level**2 * rng.normal(size=1200)])
    X = np.hstack([X, rng.normal(size=(1200, 2))])
    gone = rng.uniform(size=1200) < 0.8 * level**2
    hidden = X.copy()
    hidden[gone, 1] = np.nan

    def covered():
        lower, upper = VAEImputer(random_state=0).fit(hidden).predict_interval(hidden)
        return ((lower <= X) & (X <= upper))[gone, 1].mean()

    assert 0.85 < covered() < 0.95
    # A control: by the variances of ensemble and normal distribution alone.
    monkeypatch.setattr(
        "skvae.imputation.refinement.ColumnModel.doubts",
        lambda model, parts, of_trees: np.ones((len(of_trees), 2)),
    )
    assert covered() < 0.85


def test_rows_with_other_features_are_still_left_out_of_smooth_ridge():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 3))
    y = A @ [1.0, -1.0, 0.5] + rng.normal(size=60)
    asked, rows = np.where(rng.uniform(size=A.shape) < 0.3, 0.0, A), np.arange(0, 60, 3)
    smooth = SmoothRidge(np.random.RandomState(0))
    found = smooth.fit_left_out(A, y)(asked[rows], rows).mean[:, 0]
    # The same penalty and the same functions, whatever is left out.
    ridge = smooth.ridge
    centred, other = (smooth._features(smooth._white(part)) - ridge.loc for part in (A, asked))

    def solved(alpha, kept):
        design = np.hstack([np.ones((60, 1)), centred])[kept]
        penalty = alpha * np.diag(np.arange(design.shape[1]) > 0)
        return np.linalg.solve(design.T @ design + penalty, design.T @ y[kept])

    everywhere = np.ones(60, dtype=bool)
    alphas = ALPHAS * len(A) / 1000
    apart = [np.abs(solved(alpha, everywhere)[1:] - ridge.coefficient).max() for alpha in alphas]
    assert min(apart) < 1e-8
    alpha = alphas[np.argmin(apart)]
    one_by_one = [np.r_[1.0, other[i]] @ solved(alpha, np.delete(np.arange(60), i)) for i in rows]
    assert_allclose(found, np.clip(one_by_one, y.min(), y.max()), atol=1e-8)
    near = smooth.predict(asked[rows]).mean[:, 0]
    assert np.abs(found - near).mean() > 0.01, "negative control"


def test_intervals_hold_in_new_rows_after_a_table_without_gaps(monkeypatch):
    def table(seed):
        rng = np.random.default_rng(seed)
        z = rng.uniform(-2, 2, size=(800, 2))
        X = np.hstack([z, z**2, np.sin(2 * z), z[:, :1] * z[:, 1:]])
        return X + 0.1 * rng.normal(size=X.shape)

    X, new = table(0), table(1)
    holes = np.random.default_rng(2).uniform(size=new.shape) < 0.3
    hidden = np.where(holes, np.nan, new)

    def covered():
        lower, upper = VAEImputer(random_state=0).fit(X).predict_interval(hidden)
        return ((lower <= new) & (new <= upper))[holes].mean()

    assert 0.86 < covered() < 0.95
    # A control: errors of cells in rows without other gaps.
    monkeypatch.setattr("skvae.imputation.refinement.some_hidden", lambda mask, rng: mask)
    assert covered() < 0.8


def test_missing_values_indicator_and_empty_columns_as_in_scikit_learn():
    X = np.random.default_rng(0).normal(size=(60, 4))
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.3] = -9.0
    X[:, 2], X[:, 3] = -9.0, np.arange(60)
    options = {"missing_values": -9.0, "add_indicator": True, "keep_empty_features": True}
    imputer = VAEImputer(max_iter=1, n_members=2, random_state=0, **options).fit(X)
    other = SimpleImputer(**options).fit(X)
    mine, theirs = imputer.transform(X), other.transform(X)
    assert list(imputer.get_feature_names_out()) == list(other.get_feature_names_out())
    assert mine.shape == theirs.shape
    assert_allclose(mine[:, 2:], theirs[:, 2:])
