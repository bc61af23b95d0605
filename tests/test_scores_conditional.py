"""The conditional score: planted conditionals, exact sums, and no other row's doing."""

import pickle

import numpy as np
import pandas as pd
import pytest

from skvae import VAEOutlierDetector
from skvae.cellwise.scaling import RobustScale
from skvae.scores import SCORES, ConditionalScore

N_TRAIN, N_TEST = 1500, 400


def detector(**settings):
    quick = {"n_components": 2, "max_iter": 10, "random_state": 0}
    return VAEOutlierDetector(**({"score_function": "conditional"} | quick | settings))


class LinearGaussian:
    """Rows of a normal of known precision, and the closed form of each cell's conditional."""

    def __init__(self):
        rng = np.random.RandomState(3)
        mix = rng.randn(4, 4)
        self.precision = np.linalg.inv(mix @ mix.T / 4 + 0.1 * np.eye(4))
        self.scale = np.array([1.0, 10.0, 0.1, 3.0])
        self.root = np.linalg.cholesky(np.linalg.inv(self.precision))
        self.train, self.test = (self.rows(n, rng) for n in (N_TRAIN, N_TEST))

    def rows(self, n, rng):
        return rng.randn(n, 4) @ self.root.T * self.scale

    def log_prob(self, X):
        """Of each cell given all others."""
        Z = X / self.scale
        variance = 1 / np.diag(self.precision)
        residual = Z @ self.precision * variance
        log_norm = np.log(2 * np.pi * variance) / 2 + np.log(self.scale)
        return -0.5 * residual**2 / variance - log_norm


@pytest.fixture(scope="module")
def gaussian():
    planted = LinearGaussian()
    planted.detector = detector().fit(planted.train)
    return planted


@pytest.fixture(scope="module")
def mixed():
    """A number and a flag that a category tells, with noise, and holes."""
    rng = np.random.RandomState(0)
    n = 1500
    kind = rng.randint(3, size=n)
    other = np.where(rng.rand(n) < 0.9, kind, rng.randint(3, size=n))
    size = np.array([-5.0, 0.0, 5.0])[kind] + 0.5 * rng.randn(n)
    X = pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kind, ["a", "b", "c"]),
            "size": size,
            "flag": kind == 1,
            "same": 1.0,
            "other": pd.Categorical.from_codes(other, ["x", "y", "z"]),
        }
    )
    X.loc[rng.rand(n) < 0.1, "size"] = np.nan
    return X, detector().fit(X)


def rmse(found, exact):
    return np.sqrt(np.mean((found - exact) ** 2))


def test_has_a_name():
    assert SCORES["conditional"] is ConditionalScore


def test_conditionals_of_a_normal_are_those_of_the_closed_form(gaussian):
    exact = gaussian.log_prob(gaussian.test)
    found = gaussian.detector.score_.cells(gaussian.detector, gaussian.test)
    assert rmse(found, exact) < 0.3
    assert np.corrcoef(found.sum(1), exact.sum(1))[0, 1] > 0.9
    assert abs(np.mean(found - exact)) < 0.06
    # What the margins alone would say, as a model does that learned from shuffled columns.
    rng = np.random.RandomState(0)
    shuffled = np.column_stack([rng.permutation(column) for column in gaussian.train.T])
    blind = detector().fit(shuffled)
    assert rmse(blind.score_.cells(blind, gaussian.test), exact) > 0.45


def test_a_missing_cell_is_integrated_out(gaussian):
    X = gaussian.test.copy()
    X[:, 1] = np.nan
    found = gaussian.detector.score_.cells(gaussian.detector, X)
    assert (found[:, 1] == 0).all()
    kept = [0, 2, 3]
    exact = LinearGaussian()
    exact.scale = exact.scale[kept]
    exact.precision = np.linalg.inv(np.linalg.inv(exact.precision)[np.ix_(kept, kept)])
    expected = exact.log_prob(X[:, kept])
    assert rmse(found[:, kept], expected) < 0.3
    # With the cell the answers are others.
    assert rmse(gaussian.log_prob(gaussian.test)[:, kept], expected) > 0.3


def test_categories_have_the_planted_probabilities(mixed):
    X, fitted = mixed
    cells = fitted.score_.cells(fitted, X)
    seen = X["size"].notna().to_numpy()
    agrees = X["kind"].cat.codes == X["other"].cat.codes
    likely = np.exp(cells[:, 4])
    assert likely[agrees].mean() == pytest.approx(0.9 + 0.1 / 3, abs=0.04)
    assert likely[~agrees].mean() == pytest.approx(0.1 / 3, abs=0.03)
    assert (cells[:, 3] == 0).all()
    assert (cells[~seen, 1] == 0).all()
    # The density of a number is one in its own unit.
    assert cells[seen, 1].mean() == pytest.approx(-0.5 * np.log(2 * np.pi * np.e / 4), abs=0.15)


def test_a_wrong_cell_is_the_least_likely_of_its_row(mixed):
    X, fitted = mixed
    wrong = X.iloc[:200].copy()
    wrong["size"] = np.roll([-5.0, 0.0, 5.0], 1)[X["kind"].cat.codes[:200]]
    cells = fitted.score_.cells(fitted, wrong)[:, [0, 1, 2, 4]]
    assert (cells.argmin(1) != 3).mean() > 0.98
    untouched = fitted.score_samples(X.iloc[:200].fillna({"size": 0}).assign(size=X["size"]))
    assert np.mean(fitted.score_samples(wrong) < untouched.min()) > 0.5
    assert np.mean(fitted.score_samples(wrong) < np.median(untouched)) > 0.98


def test_scores_are_the_sums_of_cells(gaussian):
    scores = gaussian.detector.score_samples(gaussian.test)
    cells = gaussian.detector.score_.cells(gaussian.detector, gaussian.test)
    np.testing.assert_array_equal(scores, cells.sum(1))


def test_a_row_is_scored_alike_in_any_company(gaussian, mixed):
    for fitted, X in ((gaussian.detector, gaussian.test), mixed[::-1]):
        whole = fitted.score_samples(X)
        np.testing.assert_array_equal(fitted.score_samples(X[:1]), whole[:1])
        np.testing.assert_array_equal(fitted.score_samples(X[5:105]), whole[5:105])
        np.testing.assert_array_equal(fitted.score_samples(X[::-1]), whole[::-1])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(X), whole)


def test_the_seed_decides(gaussian):
    again = detector().fit(gaussian.train).score_samples(gaussian.test[:5])
    np.testing.assert_array_equal(again, gaussian.detector.score_samples(gaussian.test[:5]))


def test_no_training_rows_are_kept(gaussian):
    small = pickle.dumps(detector().fit(gaussian.train[:300]).score_)
    assert abs(len(pickle.dumps(gaussian.detector.score_)) - len(small)) < 2000


def test_unit_errors_leave_the_other_rows_alone(gaussian):
    train = gaussian.train.copy()
    train[:30, 1] *= 1000
    poisoned = detector().fit(train)
    exact = gaussian.log_prob(gaussian.test)
    found = poisoned.score_.cells(poisoned, gaussian.test)
    assert rmse(found, exact) < 0.4
    assert np.mean(poisoned.score_samples(train[:30]) < np.quantile(found.sum(1), 0.01)) > 0.9


def test_wide_tables_hide_columns_in_blocks(monkeypatch):
    rng = np.random.RandomState(0)
    X, new = (rng.randn(500, 1) + 0.5 * rng.randn(500, 12) for _ in range(2))
    fitted = detector().fit(X)
    one_by_one = fitted.score_.cells(fitted, new)
    monkeypatch.setattr("skvae.cellwise.leave_one_out.MOST_PASSES", 4)
    in_blocks = fitted.score_.cells(fitted, new)
    assert (in_blocks != one_by_one).any()
    # Three of twelve are hidden: the other nine say nearly as much as eleven do.
    assert in_blocks.mean() == pytest.approx(one_by_one.mean(), abs=0.03)
    assert in_blocks.mean() > -0.5 * np.log(2 * np.pi * np.e * 1.25)


def test_counts_and_all_missing_rows():
    rng = np.random.RandomState(0)
    rate = rng.choice([2.0, 20.0], 500)
    X = pd.DataFrame(rng.poisson(rate[:, None], (500, 3)), columns=list("abc")).astype(float)
    X.iloc[0] = np.nan
    fitted = detector(column_kinds=dict.fromkeys("abc", "count")).fit(X)
    scores = fitted.score_samples(X)
    assert scores[0] == 0
    # A probability of a whole number is at most 1, and the noise of a lattice is half a step.
    cells = fitted.score_.cells(fitted, X)
    assert cells.max() < 0.3
    swapped = X.iloc[1:].copy()
    swapped["a"] = np.where(swapped["a"] > 10, 2, 20)
    assert np.mean(fitted.score_samples(swapped) < scores[1:]) > 0.95


def test_robust_scale_is_one_to_one_with_the_slope_it_says():
    rng = np.random.RandomState(0)
    cells = np.column_stack([rng.standard_cauchy(2000) * 5, np.repeat([0.0, 7.0], [1900, 100])])
    scale = RobustScale(cells, np.ones(cells.shape, bool), 0.05)
    scaled, log_slope = scale.forward(cells)
    np.testing.assert_allclose(scale.backward(scaled), cells, rtol=2e-5, atol=2e-5)
    assert np.abs(scaled).max() < 15
    step = 1e-3
    numeric = (scale.backward(scaled + step) - scale.backward(scaled - step)) / (2 * step)
    np.testing.assert_allclose(log_slope, np.log(numeric), atol=2e-2)


def test_trim_has_bounds():
    with pytest.raises(ValueError, match="trim"):
        detector(score_function=ConditionalScore(trim=0.7)).fit(np.eye(30))
