"""VAEImputer: what it must keep, what it must reach, and what it must refuse."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge as LinearModel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAEImputer, pool
from skvae.imputation.ensemble import WarmSettings
from skvae.imputation.folds import KEPT, CellRows, cell_folds
from skvae.imputation.masks import RandomMask
from skvae.imputation.refinement import categorical_weights, numeric_weights
from skvae.imputation.regression import Ridge
from skvae.imputation.residuals import Residuals
from skvae.likelihoods import Columnwise, TokenSequence
from skvae.noise import Noise


def quick(**params):
    """An imputer that is fitted in no time."""
    return VAEImputer(
        **{"max_iter": 1, "n_members": 2, "refine": None, "random_state": 0} | params
    )


def gaps(shape, rate=0.3, seed=1):
    return np.random.default_rng(seed).uniform(size=shape) < rate


def mixed(n=120, seed=0):
    """A frame of every kind of column, with gaps in most."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "single": x.astype(np.float32),
            "double": 2 * x + rng.normal(size=n),
            "whole": pd.array(rng.poisson(np.exp(0.5 * x)), dtype="Int64"),
            "flag": pd.array(x > 0, dtype="boolean"),
            "level": pd.Categorical.from_codes(
                np.digitize(x, [0.0, 1.0]), ["low", "mid", "high"], ordered=True
            ),
            "text": np.where(x > 0.3, "yes", "no"),
            "full": rng.integers(0, 5, size=n),
        }
    )
    holes = gaps((n, 6), 0.2, seed)
    for j in range(6):
        frame.isetitem(j, frame.iloc[:, j].mask(holes[:, j]))
    return frame


# -- scikit-learn ---------------------------------------------------------------------------


@parametrize_with_checks([VAEImputer(max_iter=1, n_members=2)])
def test_estimator_checks(estimator, check):
    check(estimator)


def test_pipeline_grid_and_column_transformer():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.mask(gaps(X.shape))[:100]
    chosen = make_column_transformer((quick(), ["bmi", "bp", "age"]), remainder="drop")
    pipeline = make_pipeline(chosen, LinearModel())
    grid = {"columntransformer__vaeimputer__n_components": [2, 4]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y[:100])
    assert np.isfinite(search.best_score_)
    names = pipeline.set_output(transform="pandas").fit(X, y[:100])[0].transform(X).columns
    assert list(names) == ["vaeimputer__bmi", "vaeimputer__bp", "vaeimputer__age"]


def test_nested_likelihood_parameters_are_those_of_the_object():
    imputer = quick(likelihood=Columnwise(continuous="student_t"))
    X = np.where(gaps((60, 3)), np.nan, np.random.default_rng(0).normal(size=(60, 3)))
    assert np.isfinite(imputer.fit_transform(X)).all()
    assert not list(imputer.likelihood.parameters())


@pytest.mark.parametrize("likelihood", ["token_sequence", TokenSequence()])
def test_a_likelihood_without_means_is_refused_before_training(likelihood):
    with pytest.raises(ValueError, match="token_sequence|each cell a mean. Use likelihood='auto'"):
        quick(likelihood=likelihood).fit(np.random.default_rng(0).integers(3, size=(40, 3)))


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial", "bernoulli", "student_t"])
def test_other_likelihoods(likelihood):
    rng = np.random.default_rng(0)
    X = (rng.uniform(size=(80, 4)) < 0.4).astype(float)
    hidden = np.where(gaps(X.shape), np.nan, X)
    imputer = quick(likelihood=likelihood, refine="auto").fit(hidden)
    lower, upper = imputer.predict_interval(hidden)
    assert np.isfinite(imputer.transform(hidden)).all() and (lower <= upper).all()
    (drawn,) = imputer.impute(hidden, 1)
    if likelihood != "student_t":
        assert_array_equal(drawn, np.rint(drawn))
        assert drawn.min() >= 0


# -- tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("refine", [None, "auto"])
def test_observed_cells_are_bit_identical(dtype, refine):
    rng = np.random.default_rng(0)
    X = (
        rng.normal(size=(80, 4)) * [1e-8, 1.0, 1e6, 1e300 if dtype == np.float64 else 1e30]
    ).astype(dtype)
    X[gaps(X.shape)] = np.nan
    before = X.copy()
    imputer = quick(refine=refine).fit(X)
    for out in (imputer.transform(X), *imputer.impute(X, 2), *imputer.predict_interval(X)):
        assert out.dtype == dtype and np.isfinite(out).all()
        seen = ~np.isnan(X)
        assert_array_equal(out[seen].view(np.uint8), X[seen].view(np.uint8))
    assert_array_equal(X, before)


@pytest.mark.parametrize("refine", [None, "auto"])
def test_frames_keep_container_dtypes_and_cells(refine):
    frame = mixed()
    before = frame.copy()
    imputer = quick(refine=refine).fit(frame)
    tables = [imputer.transform(frame), *imputer.impute(frame, 2)]
    for out in (*tables, *imputer.predict_interval(frame)):
        assert list(out.columns) == list(frame.columns)
        assert_array_equal(out.index, frame.index)
        assert (out.dtypes == frame.dtypes).all()
        assert not out.isna().any().any()
        for name in frame:
            seen = frame[name].notna()
            pd.testing.assert_series_equal(out[name][seen], frame[name][seen])
    pd.testing.assert_frame_equal(frame, before)


def test_an_odd_index_survives():
    frame = mixed().set_index(pd.Index(range(500, 620), name="id"))
    assert_array_equal(quick().fit_transform(frame).index, frame.index)


def test_polars_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "x": [1.0, 2.0, None, 4.0] * 10,
            "n": [1, None, 3, 4] * 10,
            "f": [True, None, False, True] * 10,
            "s": ["a", "b", None, "a"] * 10,
        }
    )
    out = quick(add_indicator=True).fit_transform(frame)
    assert out.columns[:4] == frame.columns and out.schema["n"] == frame.schema["n"]
    assert out.null_count().to_numpy().sum() == 0
    assert out.columns[4:] == [f"missingindicator_{name}" for name in frame.columns]


def test_set_output_and_names():
    X = np.where(gaps((40, 3)), np.nan, np.random.default_rng(0).normal(size=(40, 3)))
    X[:, 1] = np.nan
    with pytest.warns(UserWarning, match="without any observed cell"):
        imputer = quick(add_indicator=True).fit(X)
    names = ["x0", "x2", "missingindicator_x0", "missingindicator_x2"]
    assert list(imputer.get_feature_names_out()) == names
    assert list(imputer.get_feature_names_out(["a", "b", "c"]))[:2] == ["a", "c"]
    out = imputer.set_output(transform="pandas").transform(X)
    assert list(out.columns) == names
    assert_array_equal(out["missingindicator_x2"].astype(bool), np.isnan(X[:, 2]))


@pytest.mark.parametrize("placeholder", [-1, 0])
def test_placeholders(placeholder):
    X = np.random.default_rng(0).integers(1, 9, size=(60, 3))
    holes = gaps(X.shape)
    X[holes] = placeholder
    out = quick(missing_values=placeholder).fit_transform(X)
    assert out.dtype == X.dtype
    assert_array_equal(out[~holes], X[~holes])
    same = quick().fit_transform(np.where(holes, np.nan, X))
    assert_array_equal(out[holes], np.rint(same[holes]))
    frame = pd.DataFrame({"s": ["a", "?", "b", "a"] * 10, "x": [1.0, 2.0, 3.0, 4.0] * 10})
    filled = quick(missing_values="?").fit_transform(frame)
    assert set(filled["s"]) == {"a", "b"}
    with pytest.raises(ValueError, match="contains NaN"):
        quick(missing_values=placeholder).fit(np.where(holes, np.nan, X))


def test_pickle_and_clone_give_the_same_bits():
    frame = mixed()
    imputer = quick(refine="auto").fit(frame)
    expected = imputer.transform(frame)
    for other in (pickle.loads(pickle.dumps(imputer)), copy.deepcopy(imputer)):
        pd.testing.assert_frame_equal(other.transform(frame), expected)
        again, drawn = (
            other.impute(frame, 2, random_state=3),
            imputer.impute(frame, 2, random_state=3),
        )
        for left, right in zip(again, drawn):
            pd.testing.assert_frame_equal(left, right)


# -- randomness -----------------------------------------------------------------------------


def test_same_seed_same_bits_and_global_generators_rest():
    X = np.where(gaps((90, 4)), np.nan, np.random.default_rng(0).normal(size=(90, 4)))
    np.random.seed(5)
    torch.manual_seed(5)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    fits = [quick(refine="auto").fit(X) for _ in range(2)]
    assert_array_equal(*[fit.transform(X) for fit in fits])
    assert_array_equal(*[np.stack(fit.impute(X, 3)) for fit in fits])
    assert_array_equal(np.random.get_state()[1], state)
    assert_array_equal(torch.get_rng_state(), torch_state)
    other = quick(refine="auto", random_state=1).fit_transform(X)
    assert (other != fits[0].transform(X)).any()
    assert (np.stack(fits[0].impute(X, 1, random_state=9)) != np.stack(fits[0].impute(X, 1))).any()


def test_a_row_is_imputed_alike_alone_and_among_others():
    X = np.where(gaps((300, 5)), np.nan, np.random.default_rng(0).normal(size=(300, 5)))
    imputer = quick(refine="auto").fit(X)
    whole = imputer.transform(X)
    assert_allclose(imputer.transform(X[:7]), whole[:7], rtol=1e-6)
    assert_allclose(imputer.transform(X[::-1])[::-1], whole, rtol=1e-6)


# -- how good it is -------------------------------------------------------------------------


def linear_gaussian(n, seed=0, d=8, k=3):
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(d, k))
    mean, covariance = rng.normal(size=d), loadings @ loadings.T + 0.3 * np.eye(d)
    return np.random.default_rng(seed).multivariate_normal(mean, covariance, n), mean, covariance


def conditional_means(X, holes, mean, covariance):
    out = np.where(holes, mean, X)
    for row, hidden in zip(out, holes):
        seen = ~hidden
        if hidden.any() and seen.any():
            gain = np.linalg.solve(
                covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, hidden)]
            )
            row[hidden] += (row[seen] - mean[seen]) @ gain
    return out


def rmse(guess, truth, holes):
    return np.sqrt(np.mean((guess - truth)[holes] ** 2))


@pytest.fixture(scope="module")
def gaussian():
    X, mean, covariance = linear_gaussian(1000)
    holes = gaps(X.shape)
    fitted = VAEImputer(random_state=0).fit(np.where(holes, np.nan, X))
    return fitted, X, holes, mean, covariance


@pytest.mark.parametrize("new", [False, True])
def test_linear_gaussian_table_reaches_the_oracle(gaussian, new):
    imputer, X, holes, mean, covariance = gaussian
    if new:
        X = linear_gaussian(700, seed=9)[0]
        holes = gaps(X.shape, seed=8)
    hidden = np.where(holes, np.nan, X)
    oracle = rmse(conditional_means(X, holes, mean, covariance), X, holes)
    assert rmse(imputer.transform(hidden), X, holes) < 1.1 * oracle
    lower, upper = imputer.predict_interval(hidden, coverage=0.9)
    assert 0.87 < ((lower <= X) & (X <= upper))[holes].mean() < 0.93
    # A control: half the width does not hold them.
    middle = 0.5 * (lower + upper)
    assert ((0.5 * (lower + middle) <= X) & (X <= 0.5 * (upper + middle)))[holes].mean() < 0.7


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
def test_half_of_a_table_of_rank_three_is_told_by_the_other_half(seed):
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(3, 10))
    X = rng.normal(size=(500, 3)) @ loadings + 0.2 * rng.normal(size=(500, 10))
    holes = rng.random(X.shape) < 0.5
    hidden = np.where(holes, np.nan, X)
    covariance = loadings.T @ loadings + 0.04 * np.eye(10)
    oracle = rmse(conditional_means(X, holes, np.zeros(10), covariance), X, holes) ** 2
    imputer = VAEImputer(random_state=0).fit(hidden)
    # Over five seeds at most 1.09, and at least 7.3 for the means of columns.
    assert rmse(imputer.transform(hidden), X, holes) ** 2 < 1.3 * oracle
    by_mean = rmse(SimpleImputer().fit_transform(hidden), X, holes) ** 2
    assert by_mean > 5 * oracle, "negative control"
    lower, upper = imputer.predict_interval(hidden, coverage=0.9)
    assert 0.85 < ((lower <= X) & (X <= upper))[holes].mean() < 0.95
    assert np.stack(imputer.impute(hidden, 20)).var(0)[holes].min() > 0


def test_draws_have_the_spread_and_the_correlations_of_the_table(gaussian):
    imputer, X, holes, mean, covariance = gaussian
    hidden = np.where(holes, np.nan, X)
    draws = np.stack(imputer.impute(hidden, 20))
    best = imputer.transform(hidden)
    # Truth and draw are exchangeable: their distances to the best value agree.
    ratio = rmse(draws, best[None].repeat(20, 0), holes[None].repeat(20, 0)) / rmse(best, X, holes)
    assert 0.93 < ratio < 1.12
    truth = np.corrcoef(X.T)
    assert np.mean([np.abs(np.corrcoef(draw.T) - truth).mean() for draw in draws]) < 0.05
    # Rows of which nothing is visible hang together as well, if less closely.
    drawn = np.concatenate(imputer.impute(np.full((1000, X.shape[1]), np.nan), 4))
    error = np.abs(np.corrcoef(drawn.T) - truth).mean()
    assert error < 0.6 * np.abs(np.eye(X.shape[1]) - truth).mean()


def test_an_all_missing_row_gives_the_mean(gaussian):
    imputer, X, _, mean, covariance = gaussian
    row = imputer.transform(np.full((1, X.shape[1]), np.nan))[0]
    assert (np.abs(row - mean) < 0.35 * np.sqrt(np.diag(covariance))).all()


def test_categories_reach_the_oracle():
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 3, size=900)
    # Given its kind, columns are independent: the best guess follows from Bayes' rule.
    tables = rng.dirichlet(np.full(4, 0.2), size=(6, 3))
    cells = np.stack([[rng.choice(4, p=t[k]) for k in kind] for t in tables], 1)
    holes = gaps(cells.shape)
    likelihood = np.stack([t[:, c].T for t, c in zip(tables, cells.T)], 1)
    log_kind = np.where(holes[..., None], 0.0, np.log(likelihood + 1e-12)).sum(1)
    posterior = np.exp(log_kind - log_kind.max(1, keepdims=True))
    best = np.stack([(posterior @ t).argmax(1) for t in tables], 1)
    oracle = (best == cells)[holes].mean()
    frame = pd.DataFrame(np.array(list("abcd"))[cells]).rename(columns=str).astype("category")
    hidden = frame.mask(holes)
    out = VAEImputer(random_state=0, max_iter=6).fit_transform(hidden)
    accuracy = (out.to_numpy() == frame.to_numpy())[holes].mean()
    mode = SimpleImputer(strategy="most_frequent").fit_transform(hidden)
    assert accuracy > oracle - 0.03
    assert oracle - 0.03 > (mode == frame.to_numpy())[holes].mean() + 0.15


@pytest.mark.parametrize("loader, share", [(load_diabetes, 0.9), (load_breast_cancer, 0.6)])
def test_better_than_the_mean(loader, share):
    X = loader().data
    X = (X - X.mean(0)) / X.std(0)
    holes = gaps(X.shape)
    hidden = np.where(holes, np.nan, X)
    by_mean = rmse(SimpleImputer().fit_transform(hidden), X, holes)
    alone = rmse(
        VAEImputer(refine=None, max_iter=4, random_state=0).fit_transform(hidden), X, holes
    )
    assert alone < share * by_mean


def test_nothing_is_learned_from_columns_without_ties():
    """A control: independent columns are imputed no better than by their means."""
    X = np.random.default_rng(0).normal(size=(500, 4))
    holes = gaps(X.shape)
    hidden = np.where(holes, np.nan, X)
    out = VAEImputer(random_state=0, max_iter=3).fit_transform(hidden)
    by_mean = rmse(SimpleImputer().fit_transform(hidden), X, holes)
    assert 0.97 * by_mean < rmse(out, X, holes) < 1.06 * by_mean


# -- bad tables -----------------------------------------------------------------------------


def test_empty_columns():
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[:, 1] = np.nan
    with pytest.warns(UserWarning, match="without any observed cell"):
        assert quick().fit_transform(X).shape == (40, 2)
    kept = quick(keep_empty_features=True).fit(X).transform(X)
    assert_array_equal(kept[:, 1], 0.0)


def test_constant_columns_and_tables():
    X = np.array([[1.0, np.nan], [np.nan, 5.0], [1.0, np.nan], [np.nan, 5.0]])
    imputer = quick().fit(X)
    assert_array_equal(imputer.transform(X), np.tile([1.0, 5.0], (4, 1)))
    assert_array_equal(imputer.impute(X, 2)[1], imputer.transform(X))
    assert_array_equal(imputer.predict_interval(X)[0], imputer.transform(X))
    Z = np.random.default_rng(0).normal(size=(30, 2))
    Z[1:, 1], Z[0, 1] = np.nan, 7.0
    assert_array_equal(quick().fit_transform(Z)[:, 1], 7.0)


def test_one_observed_cell():
    X = np.full((5, 2), np.nan)
    X[2, 0] = 3.0
    out = quick(keep_empty_features=True).fit_transform(X)
    assert_array_equal(out, np.tile([3.0, 0.0], (5, 1)))


@pytest.mark.parametrize("n", [2, 3, 12])
def test_tiny_tables(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    X[0, 0] = np.nan
    imputer = VAEImputer(max_iter=1, random_state=0).fit(X)
    assert np.isfinite(imputer.transform(X)).all()
    assert np.isfinite(imputer.predict_interval(X)).all()


@pytest.mark.parametrize("refine", [None, "auto"])
def test_gaps_that_fit_has_not_seen(refine):
    X = linear_gaussian(300)[0]
    imputer = VAEImputer(max_iter=4, refine=refine, random_state=0).fit(X)
    assert_array_equal(imputer.transform(X), X)
    holes = gaps(X.shape)
    out = imputer.transform(np.where(holes, np.nan, X))
    assert rmse(out, X, holes) < 0.9 * rmse(X.mean(0), X, holes)


def test_refusals():
    X = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ValueError, match="infinity"):
        quick().fit(np.where(gaps(X.shape), np.inf, X))
    with pytest.raises(ValueError, match="1 sample"):
        quick().fit(X[:1])
    imputer = quick().fit(X)
    with pytest.raises(ValueError, match="3 features"):
        imputer.transform(X[:, :2])
    with pytest.raises(ValueError, match="string"):
        quick().fit(
            X.astype(object) + "a" if False else np.array([["a", 1.0], ["b", 2.0]], object)
        )
    with pytest.raises(ValueError, match="coverage"):
        imputer.predict_interval(X, coverage=1.0)
    with pytest.raises(ValueError, match="n_imputations"):
        imputer.impute(X, 0)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        quick(hidden_layer_sizes=()).fit(X)
    frame = mixed()
    fitted = quick().fit(frame)
    frame["text"] = "never seen"
    with pytest.raises(ValueError, match="unseen"):
        fitted.transform(frame)
    kept = quick(unknown="missing").fit(mixed()).transform(frame)
    assert (kept["text"] == "never seen").all()


@pytest.mark.parametrize("rate", [0.2, 0.0], ids=["gaps", "whole"])
def test_cells_are_held_out_also_where_they_stop_nobody(rate):
    X = np.random.default_rng(0).normal(size=(150, 2)) @ np.ones((2, 3)) + gaps((150, 3), 0.5)
    X[gaps(X.shape, rate)] = np.nan
    params = {"refine": "auto", "max_iter": 3}
    full, stopped = (quick(early_stopping=on, **params).fit(X) for on in (False, True))
    assert full.n_iter_ == 3 and "validation_bound" not in full.history_
    assert "validation_bound" in stopped.history_
    new = np.where(gaps(X.shape), np.nan, X)
    bounds = full.predict_interval(new)
    # The errors of no cells would be those of a normal distribution of 20 quantiles.
    residuals = [imputer._completion.refinement.residuals(0).errors for imputer in (full, stopped)]
    assert len(residuals[0]) == len(residuals[1]) != 20
    assert (bounds[0] < bounds[1])[np.isnan(new)].all()


@pytest.mark.parametrize("seed", range(6))
def test_tables_of_which_hardly_a_cell_is_held_out(seed):
    rows = np.array([[0.0, 1.0], [1.0, 3.0]])
    quick(random_state=seed, n_members=4).fit(rows).predict_interval(rows * [1.0, np.nan])
    folds = cell_folds(np.ones((9, 4), bool), 2, 1e-3, np.random.RandomState(seed))
    assert ((folds >= 0).sum(0) == 1).all()


# -- parts ----------------------------------------------------------------------------------


def test_folds_are_disjoint_shares_of_observed_cells():
    mask = ~gaps((200, 5))
    folds = cell_folds(mask, 4, 0.1, np.random.RandomState(0))
    assert (folds[~mask] == KEPT).all()
    for e in range(4):
        share = (folds == e).sum(0) / mask.sum(0)
        assert (np.abs(share - 0.1) < 0.02).all()


def test_no_member_is_shown_a_cell_that_it_holds_out():
    mask = ~gaps((50, 3))
    values = np.where(mask, np.random.default_rng(0).normal(size=mask.shape), 0).astype(np.float32)
    folds = cell_folds(mask, 2, 0.2, np.random.RandomState(0))
    rows = CellRows.of(values, mask, folds, 2, "cpu")
    for start, judged in ((0, False), (100, True)):
        index = torch.stack([torch.arange(50) + start + e * 50 for e in range(2)])
        batch = rows.take(index)
        for e in range(2):
            shown, targets = batch.inputs[e, 0].numpy() > 0, batch.mask[e, 0].numpy()
            assert_array_equal(shown, mask & (folds != e))
            assert_array_equal(targets, folds == e if judged else shown)
            assert_array_equal(batch.values[e, 0], values)


def test_random_masks_show_no_hidden_cell_and_meet_every_rate():
    seen = torch.as_tensor(~gaps((2, 1, 4000, 6)), dtype=torch.float32)
    visible = RandomMask()(seen, Noise([0, 1]))
    assert (visible <= seen).all()
    rates = visible.sum(-1) / seen.sum(-1).clamp_min(1)
    assert (rates < 0.2).float().mean() > 0.05 and (rates > 0.8).float().mean() > 0.05


def test_hand_written_gradients_equal_automatic_ones():
    from skvae._component import Shapes
    from skvae.imputation.encoding import CellEncoding
    from skvae.imputation.model import ConditionalBound, ConditionalVAE
    from skvae.imputation.network import ConditionalNetwork
    from skvae.training.flat import FlatAdam

    mask = ~gaps((40, 4))
    values = np.random.default_rng(0).integers(0, 2, size=mask.shape).astype(np.float32)
    rows = CellRows.of(values, mask, np.full(mask.shape, KEPT), 2, "cpu")
    shapes = Shapes(4, 3, (("continuous", (1, 1)), ("binary", (1,)), ("categorical", (2,))))
    vae = ConditionalVAE(ConditionalNetwork((16, 8)), Columnwise(), CellEncoding(), RandomMask())
    vae.build(shapes, Noise([1, 2]))
    vae.encoding.learn(rows.values, torch.as_tensor(mask), 2)
    batch = rows.take(torch.stack([torch.arange(40), torch.arange(40) + 40]))
    bound, optimizer = ConditionalBound(), FlatAdam(vae, 0.0, None)
    optimizer.differentiate(bound(vae(batch, Noise([5, 6]), 1, optimizer.by_hand), 1.0, 2).sum())
    by_hand = [optimizer.gradient_of(p).clone() for p in vae.parameters()]
    loss = bound(vae(batch, Noise([5, 6]), 1), 1.0, 2).sum()
    for mine, theirs in zip(by_hand, torch.autograd.grad(loss, list(vae.parameters()))):
        assert_allclose(mine, theirs, atol=2e-5 * max(float(theirs.abs().max()), 1.0))


def test_ridge_predicts_each_row_by_the_others():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(25, 4))
    y = A @ [1.0, -1.0, 0.5, 0.0] + 0.3 * rng.normal(size=25)
    ridge = Ridge()
    left_out = ridge.fit_left_out(A, y)(A, np.arange(25))[:, 0]
    near = ridge.predict(A)[:, 0]
    one_by_one = [
        Ridge().fit(np.delete(A, i, 0), np.delete(y, i)).predict(A[i : i + 1])[0, 0]
        for i in range(25)
    ]
    # The penalty may differ where one row tips the scale.
    assert np.quantile(np.abs(left_out - one_by_one), 0.9) < 1e-3
    assert np.quantile(np.abs(left_out - near), 0.9) > 1e-2


def test_weights_favour_what_is_right():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    parts = np.stack([truth + 0.1 * rng.normal(size=200), rng.normal(size=200)], 1)
    weights = numeric_weights(parts, truth)
    assert abs(weights.sum() - 1) < 1e-9 and weights[0] > 0.9 and (weights >= 0).all()
    hot = np.eye(3)[rng.integers(0, 3, 200)]
    assert_allclose(categorical_weights([hot, np.full_like(hot, 1 / 3)], hot), [1.0, 0.0])


def test_residual_quantiles_cover():
    errors = stats.t(4).rvs(400, random_state=0)
    low, high = Residuals(errors).central(0.9)
    new = stats.t(4).rvs(4000, random_state=1)
    assert 0.88 < ((new > low) & (new < high)).mean() < 0.93
    low, high = Residuals(np.array([])).central(0.9)
    assert 1.4 < high < 2.1 and -2.1 < low < -1.4


def test_warm_settings_rise_and_fall():
    settings = WarmSettings(max_iter=10, batch_size=8, learning_rate=1.0)
    rates = [settings.rate(epoch) for epoch in (0.0, 0.4, 0.8, 5.0, 9.9)]
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4]


# -- pooling --------------------------------------------------------------------------------


def test_rubins_rules_on_a_worked_example():
    # By hand: W = 0.0424, B = 0.004, T = W + 1.2 B = 0.0472, r = 0.0048 / 0.0424.
    estimates, errors = [0.40, 0.50, 0.42, 0.54, 0.44], [0.19, 0.21, 0.20, 0.22, 0.21]
    estimates = np.array(estimates)
    pooled = pool(estimates, np.square(errors))
    within, between = np.mean(np.square(errors)), np.var(estimates, ddof=1)
    assert_allclose(pooled.estimate, 0.46)
    assert_allclose(between, 0.0034)
    assert_allclose(pooled.variance, within + 1.2 * 0.0034)
    r = 1.2 * between / within
    assert_allclose(pooled.df, 4 * (1 + 1 / r) ** 2)
    assert_allclose(pooled.missing_information, (r + 2 / (pooled.df + 3)) / (r + 1))


def test_pooling_shapes_limits_and_refusals():
    pooled = pool(np.ones((3, 2)), np.ones((3, 2)))
    assert_allclose(pooled.variance, 1.0)
    assert_allclose(pooled.missing_information, 0.0)
    assert np.isinf(pooled.df).all()
    few = pool([1.0, 2.0], [1.0, 1.0], complete_df=10)
    assert few.df < pool([1.0, 2.0], [1.0, 1.0]).df and few.df < 10
    assert all(isinstance(number, float) for number in few)
    for bad in (
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0]),
        ([1.0, np.nan], [1.0, 1.0]),
        ([1.0, 2.0], [1.0, -1.0]),
    ):
        with pytest.raises(ValueError, match="pool expects"):
            pool(*bad)
    for df in ("x", 0.0, np.nan, [3.0]):
        with pytest.raises(ValueError, match="complete_df to be a positive number"):
            pool([1.0, 2.0], [1.0, 1.0], complete_df=df)


def test_pooled_intervals_cover(gaussian):
    """The mean of a column with gaps, from ten imputed tables."""
    imputer, X, holes, mean, covariance = gaussian
    tables = np.stack(imputer.impute(np.where(holes, np.nan, X), 10))
    n = len(X)
    pooled = pool(tables.mean(1), tables.var(1, ddof=1) / n)
    z = (pooled.estimate - mean) / np.sqrt(pooled.variance)
    assert (np.abs(z) < 3.5).all() and (pooled.missing_information > 0.001).all()
    assert (pooled.variance > tables.var(1, ddof=1).mean(0) / n).all()


def test_no_warning_on_an_ordinary_fit():
    X = np.where(gaps((60, 3)), np.nan, np.random.default_rng(0).normal(size=(60, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(refine="auto").fit(X).predict_interval(X)
