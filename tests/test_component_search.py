"""n_components="auto": how many latents a planted table has, and the fit of that number."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvae import VAEOutlierDetector, VAETransformer
from skvae._component_search import ComponentSearch
from skvae.exceptions import PosteriorCollapseWarning, UnusedLatentsWarning
from skvae.model_selection import StackedGridSearchCV

ESTIMATORS = [VAETransformer, VAEOutlierDetector]
LINEAR = {"hidden_layer_sizes": (), "random_state": 0}
SHORT = LINEAR | {"max_iter": 3}


def planted(rank, n_samples=700, n_features=20, seed=0):
    """Rows of a linear factor model with so many factors."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_samples, rank)) @ rng.normal(size=(rank, n_features))
    return factors + 0.5 * rng.normal(size=(n_samples, n_features))


def table(estimator):
    return estimator.diagnostics_["n_components"]


# ------------------------------------------------------------------------------- planted numbers


@pytest.mark.parametrize(("rank", "allowed"), [(1, {1}), (3, {3}), (12, {12, 16})])
def test_planted_rank_is_found(rank, allowed):
    vae = VAETransformer("auto", **LINEAR).fit(planted(rank))
    assert vae.n_components_ in allowed


def test_planted_rank_is_found_by_networks():
    assert VAETransformer("auto", random_state=0).fit(planted(3)).n_components_ in (3, 4)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_independent_columns_have_the_least():
    X = np.random.default_rng(1).normal(size=(700, 20))
    assert VAETransformer("auto", **LINEAR).fit(X).n_components_ == 1


def test_table_of_candidates_says_why():
    X = planted(3)
    vae = VAETransformer("auto", **LINEAR).fit(X)
    numbers, bounds, errors, chosen = map(np.array, table(vae).values())
    assert list(table(vae)) == ["n_components", "bound", "standard_error", "chosen"]
    assert (np.diff(numbers) > 0).all() and 3 <= len(numbers) <= 6
    assert_array_equal(numbers[chosen], [vae.n_components_])
    assert errors[bounds.argmax()] == 0 and (np.delete(errors, bounds.argmax()) > 0).all()
    as_good = bounds.max() - bounds <= np.maximum(errors, 0.01 * X.shape[1])
    assert as_good[chosen] and not as_good[: chosen.argmax()].any()
    # In the unit of scores, of rows that were not trained on.
    assert_allclose(bounds[chosen], vae.score(X), atol=1)


def test_verbose_tells_each_number_and_the_choice(capsys):
    vae = VAETransformer("auto", verbose=1, **SHORT).fit(planted(3, 200))
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("[VAETransformer] n_components=")]
    numbers, bounds, _, _ = table(vae).values()
    assert len(told) == len(numbers) + 1
    for number, bound in zip(numbers, bounds):
        line = f"[VAETransformer] n_components={number}: bound {bound:.3f} nats/row on "
        assert any(each.startswith(line) for each in told)
    assert f"n_components={vae.n_components_}, the smallest of" in told[-1]
    VAETransformer("auto", **SHORT).fit(planted(3, 200))
    assert capsys.readouterr().out == ""


def test_rows_held_out_are_asked_for_before_training(monkeypatch):
    monkeypatch.setattr(ComponentSearch, "_fit", lambda *args: pytest.fail("trained"))
    with pytest.raises(ValueError, match="early_stopping=False"):
        VAETransformer("auto", early_stopping=False).fit(planted(3))


def test_bounds_promise_no_more_than_the_truth():
    """Independent columns, of which no latent can tell anything."""
    X = np.random.default_rng(0).normal(size=(2000, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorCollapseWarning)
        vae = VAETransformer("auto", **LINEAR).fit(X)
    entropy = 0.5 * 12 * np.log(2 * np.pi * np.e)
    assert len(table(vae)["bound"]) > 2 and max(table(vae)["bound"]) < -entropy + 0.3


# ------------------------------------------------------------------------ the fit of that number


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_fit_is_that_of_the_number_alone(kind, n_members):
    X = planted(3, 300, 12)
    found = kind("auto", random_state=0, max_iter=5, n_members=n_members).fit(X)
    alone = kind(found.n_components_, random_state=0, max_iter=5, n_members=n_members).fit(X)
    assert_array_equal(found.score_samples(X), alone.score_samples(X))
    assert found.history_ == alone.history_
    if kind is VAETransformer:
        assert_array_equal(found.transform(X), alone.transform(X))
    else:
        assert found.offset_ == alone.offset_
    other = kind(found.n_components_, random_state=1, max_iter=5, n_members=n_members).fit(X)
    assert (other.score_samples(X) != found.score_samples(X)).any()


def test_generator_goes_on_as_after_one_fit():
    X = planted(3, 300, 12)
    first, second = np.random.RandomState(5), np.random.RandomState(5)
    found = VAETransformer("auto", **SHORT | {"random_state": first}).fit(X)
    alone = VAETransformer(found.n_components_, **SHORT | {"random_state": second}).fit(X)
    assert_array_equal(found.transform(X), alone.transform(X))
    assert first.randint(1 << 30) == second.randint(1 << 30)


def test_number_is_always_told():
    X = planted(3, 100, 6)
    assert VAETransformer(2, **SHORT).fit(X).n_components_ == 2
    vae = VAETransformer("auto", **SHORT).fit(X)
    assert vae.get_params()["n_components"] == "auto" == clone(vae).n_components
    assert vae.transform(X).shape == (100, vae.n_components_)
    assert len(vae.get_feature_names_out()) == vae.n_components_
    again = pickle.loads(pickle.dumps(vae))
    assert_array_equal(again.transform(X), vae.transform(X))
    assert table(again) == table(vae)


# ------------------------------------------------------------------------------- kinds of tables


def with_holes(X):
    return np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)


def as_frame(X):
    frame = pd.DataFrame(X).rename(columns="c{}".format)
    return frame.assign(kind=pd.Categorical(np.where(X[:, 0] > 0, "high", "low")))


def as_counts(X):
    return sparse.csr_matrix(np.random.default_rng(0).poisson(np.exp(X / 4)))


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("make", [with_holes, as_frame, as_counts, np.ndarray.tolist])
def test_every_kind_of_table(make):
    X = make(planted(2, 120, 6))
    likelihood = "negative_binomial" if sparse.issparse(X) else "auto"
    vae = VAETransformer("auto", likelihood=likelihood, **SHORT).fit(X)
    assert vae.transform(X).shape == (120, vae.n_components_)


def test_small_tables_have_few_candidates():
    for X, most in ((planted(2, 60, 20), 6), (planted(2, 300, 4), 4)):
        vae = VAETransformer("auto", **SHORT).fit(X)
        assert max(table(vae)["n_components"]) <= most


def test_rows_without_weight_do_not_count():
    X, weight = planted(2, 300, 10), np.repeat([1.0, 2.0, 0.0], 100)
    vae = VAETransformer("auto", **SHORT).fit(X, sample_weight=weight)
    kept = VAETransformer("auto", **SHORT).fit(X[:200], sample_weight=weight[:200])
    assert table(vae) == table(kept)
    plain = VAETransformer("auto", **SHORT).fit(X[:200])
    assert table(plain)["bound"] != table(kept)["bound"]


# ---------------------------------------------------------------- searches, and fits that go on


def test_searches_try_it_beside_numbers():
    X = planted(3, 200, 10)
    grid = {"n_components": [1, "auto"]}
    plain = GridSearchCV(VAETransformer(**SHORT), grid, cv=2).fit(X)
    stacked = StackedGridSearchCV(VAETransformer(**SHORT), grid, cv=2).fit(X)
    for name in ("split0_test_score", "split1_test_score"):
        assert_array_equal(plain.cv_results_[name], stacked.cv_results_[name])
    assert plain.best_params_ == {"n_components": "auto"}
    pipeline = make_pipeline(FunctionTransformer(), VAETransformer("auto", **SHORT))
    assert pipeline.fit(X)[-1].n_components_ > 1


@pytest.mark.parametrize("go_on", ["fit", "partial_fit"])
def test_fit_goes_on_with_the_number_that_was_found(go_on):
    X = planted(3, 200, 10)
    vae = VAETransformer("auto", warm_start=True, **SHORT).fit(X)
    found, n_iter = vae.n_components_, vae.n_iter_
    getattr(vae, go_on)(X)
    assert vae.n_components_ == found and vae.n_iter_ > n_iter
    vae.set_params(n_components=found + 1)
    with pytest.raises(ValueError, match="n_components is"):
        getattr(vae, go_on)(X)


@pytest.mark.parametrize(
    ("changes", "method", "match"),
    [
        ({}, "partial_fit", "chosen by fit"),
        ({"early_stopping": False}, "fit", "holds out none"),
        ({"validation_fraction": 0.01}, "fit", "too few"),
        ({"posterior": "deterministic"}, "fit", "has none"),
    ],
)
def test_what_cannot_be_chosen_is_refused(changes, method, match):
    vae = VAETransformer("auto", **SHORT | changes)
    with pytest.raises(ValueError, match=match):
        getattr(vae, method)(planted(2, 100, 6))
    with pytest.raises(ValueError, match="n_components"):
        VAETransformer("all").fit(planted(2, 100, 6))


# ---------------------------------------------------------------------------------- wasted latents


def test_wasted_latents_are_told_of_once():
    X = load_iris(return_X_y=True)[0]
    with pytest.warns(UnusedLatentsWarning, match="16 latents .* Set n_comp") as told:
        VAETransformer(16, random_state=0).fit(X)
    assert len(told) == 1
    with pytest.warns(UnusedLatentsWarning):
        StackedGridSearchCV(VAETransformer(16, random_state=0), {"tol": [0.1]}, cv=2).fit(X)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_folds_are_silent_about_wasted_latents(n_jobs):
    X, vae = load_iris(return_X_y=True)[0], VAETransformer(16, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedLatentsWarning)
        cross_validate(vae, X, cv=2, n_jobs=n_jobs, error_score="raise")
    # Negative control: the model that a search keeps does tell.
    with pytest.warns(UnusedLatentsWarning) as told:
        GridSearchCV(vae, {"tol": [0.1]}, cv=2, n_jobs=n_jobs).fit(X)
    assert sum(w.category is UnusedLatentsWarning for w in told) == 1


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_iris])
def test_defaults_are_not_blamed(load):
    X = load(return_X_y=True)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorCollapseWarning)
        VAETransformer(random_state=0).fit(X)
