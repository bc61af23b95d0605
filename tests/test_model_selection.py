"""Stacked search against scikit-learn's own: the same results, in fewer steps."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae.model_selection as ms
from skvae import VAEOutlierDetector, VAETransformer
from skvae.model_selection import StackedGridSearchCV, StackedRandomizedSearchCV
from skvae.networks import MLP
from skvae.objectives import ELBO, IWAE
from skvae.training import loop

N_ROWS, N_COLUMNS = 90, 4


def table(seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(N_ROWS, 2))
    return codes @ rng.normal(size=(2, N_COLUMNS)) + 0.3 * rng.normal(size=(N_ROWS, N_COLUMNS))


def frame():
    rng = np.random.default_rng(1)
    X = pd.DataFrame(table(), columns=list("abcd"))
    X["kind"] = pd.Categorical(rng.choice(["x", "y", "z"], N_ROWS))
    X["flag"] = rng.random(N_ROWS) < 0.4
    X.loc[rng.random(N_ROWS) < 0.2, "b"] = np.nan
    return X


def small(**params):
    defaults = dict(n_components=2, hidden_layer_sizes=(8,), max_iter=6, random_state=0)
    return VAETransformer(**(defaults | params))


@pytest.fixture
def stacks(monkeypatch):
    """Sizes of the stacks that were trained; the second part has no more stacks."""
    sizes, second_sizes = [], []

    def counted(vaes, objectives, jobs):
        (second_sizes if vaes[0].holds_codes else sizes).append(len(jobs))
        return real(vaes, objectives, jobs)

    real = ms.train_stack
    monkeypatch.setattr(ms, "train_stack", counted)
    yield sizes
    assert len(second_sizes) <= len(sizes)


def assert_same_results(stacked, plain):
    ours, theirs = stacked.cv_results_, plain.cv_results_
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        if "_time" not in name:
            assert_array_equal(ours[name], expected, err_msg=name)
    if plain.refit:
        assert stacked.best_params_ == plain.best_params_
        assert stacked.best_score_ == plain.best_score_


def compare(estimator, grid, X, y=None, cv=3, fit_params=None, **params):
    """Both searches, with the same results."""
    stacked = StackedGridSearchCV(estimator, grid, cv=cv, **params)
    plain = GridSearchCV(estimator, grid, cv=cv, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stacked.fit(X, y, **(fit_params or {}))
        plain.fit(X, y, **(fit_params or {}))
    assert_same_results(stacked, plain)
    return stacked


GRIDS = {
    "rates, decay, beta, clipping": {
        "learning_rate_init": [1e-3, 1e-2],
        "weight_decay": [0.0, 0.3],
        "objective__beta": [0.5, 2.0],
        "clip_norm": [1.0, 100.0],
    },
    "schedules": {"learning_rate": ["cosine", "constant"], "max_iter": [2, 5]},
    "annealing": {"objective": [ELBO(warm_up=3), ELBO(cycles=2), ELBO()], "max_iter": [4, 6]},
    "seeds, draws, calibration": {
        "random_state": [0, 1],
        "n_draws": [1, 4],
        "calibrate": [False, True],
    },
}


@pytest.mark.parametrize("name", GRIDS)
def test_candidates_and_folds_are_one_stack_with_the_same_bits(name, stacks):
    compare(small(), GRIDS[name], table())
    n_candidates = int(np.prod([len(values) for values in GRIDS[name].values()]))
    assert stacks == [3 * n_candidates]


SHAPES = {
    "n_components": ([1, 2, 9], 3),
    "hidden_layer_sizes": ([(), (8,), (8, 4)], 3),
    "activation": (["relu", "silu", "tanh"], 3),
    "view": ([None, "denoising"], 2),
    "batch_size": ([16, 32], 2),
    "n_members": ([1, 2], 1),
    "likelihood": (["normal", "student_t"], 2),
    "posterior": (["normal", "deterministic"], 2),
    "prior": (["normal", "aggregate", "mixture"], 3),
    "objective": ([ELBO(), ELBO(free_bits=0.1), IWAE(2), ELBO(capacity=1.0)], 4),
    "init": (["linear", "random"], 1),
    "early_stopping": ([False, True], 2),
    "validation_fraction": ([0.2, 0.4], 2),
    "network": ([MLP((8,), linear_skip=True), MLP((8,), linear_skip=False)], 2),
}


def reconstruction(estimator, X, y=None):
    return -np.square(np.asarray(X) - estimator.reconstruct(X)).mean()


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_are_other_stacks_with_the_same_bits(name, stacks):
    values, n_stacks = SHAPES[name]
    scoring = reconstruction if name == "posterior" else None
    compare(small(), {name: values}, table(), scoring=scoring, refit=False)
    assert len(stacks) == n_stacks and sum(stacks) == 3 * len(values)


def test_early_stopping_drops_members_and_changes_nothing(stacks, monkeypatch):
    dropped = []
    original = loop._Run._compact

    def spied(run):
        before = len(run.members)
        original(run)
        dropped.append(before - len(run.members))

    monkeypatch.setattr(loop._Run, "_compact", spied)
    grid = {"learning_rate_init": [1e-3, 1e-2, 0.1], "n_iter_no_change": [1, 3, 30]}
    compare(small(max_iter=25), grid, table())
    assert stacks == [27] and 0 < sum(dropped) < 27


def test_mixed_columns_with_holes(stacks):
    compare(
        small(),
        {"objective__beta": [0.5, 1.0]},
        frame(),
        cv=KFold(3, shuffle=True, random_state=0),
    )
    # A fold without a hole in its training rows has no indicator column and another shape.
    assert sum(stacks) == 6 and len(stacks) < 6


def test_inside_a_pipeline_with_a_target(stacks):
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), PCA(6), small(), LogisticRegression())
    grid = {"vaetransformer__objective__beta": [0.1, 1.0], "logisticregression__C": [0.1, 10.0]}
    search = compare(pipeline, grid, X, y, cv=StratifiedKFold(3), return_train_score=True)
    # What differs behind the estimator only is one and the same fit.
    assert sum(stacks) == 6
    assert search.best_estimator_.predict(X).shape == y.shape
    rows = search.best_estimator_[:-1].transform(X)
    assert_array_equal(rows, clone(search.best_estimator_).fit(X, y)[:-1].transform(X))


def test_steps_before_may_be_searched_too(stacks):
    pipeline = make_pipeline(PCA(), small())
    compare(pipeline, {"pca__n_components": [2, 3], "vaetransformer__tol": [0.0, 1.0]}, table())
    # The noise, shared or per column as the rows of a fold have it, may split them further.
    assert sum(stacks) == 12 and len(stacks) < 6


def test_detectors_and_several_scores(stacks):
    X, y = table(), np.repeat([1, -1], [80, 10])
    X[y == -1] *= 4
    detector = VAEOutlierDetector(2, hidden_layer_sizes=(8,), max_iter=4, random_state=0)
    grid = {"learning_rate_init": [1e-3, 1e-2], "contamination": ["auto", 0.1]}
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    scoring = {"auc": "roc_auc", "hits": "accuracy"}
    compare(detector, grid, X, y, cv=cv, scoring=scoring, refit="auc")
    assert sum(stacks) == 12


def test_weights_groups_and_random_splits(stacks):
    rng = np.random.default_rng(0)
    weights = rng.random(N_ROWS)
    grid = {"learning_rate_init": [1e-3, 1e-2]}
    compare(small(), grid, table(), fit_params={"sample_weight": weights})
    groups = np.arange(N_ROWS) % 5
    compare(small(), grid, table(), cv=GroupKFold(3), fit_params={"groups": groups})
    compare(small(), grid, table(), cv=ShuffleSplit(3, random_state=1))
    # Splits that differ each time are drawn once, for all candidates.
    StackedGridSearchCV(small(), grid, cv=ShuffleSplit(3), refit=False).fit(table())
    assert sum(stacks) == 24
    once = (split for split in KFold(3).split(table()))
    assert StackedGridSearchCV(small(), grid, cv=once).fit(table()).n_splits_ == 3


def test_randomized_search(stacks):
    space = {"learning_rate_init": loguniform(1e-3, 1e-1), "n_components": [2, 3]}
    both = [
        search(small(), space, n_iter=4, cv=3, random_state=0).fit(table())
        for search in (StackedRandomizedSearchCV, RandomizedSearchCV)
    ]
    assert_same_results(*both)
    assert sum(stacks) == 12


def test_candidates_that_fail_fail_alone():
    grid = {"n_components": [2, -1], "learning_rate_init": [1e-3]}
    search = compare(small(), grid, table())
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    grid = {"learning_rate_init": [1e-3, 1e30], "clip_norm": [None]}
    search = compare(small(objective=ELBO(beta=1e3)), grid, table())
    assert np.isfinite(search.cv_results_["mean_test_score"][0])
    with pytest.raises(ValueError, match="n_components"):
        StackedGridSearchCV(small(), {"n_components": [-1]}, error_score="raise").fit(table())
    with pytest.raises(ValueError, match="max_stack_bytes"):
        StackedGridSearchCV(small(), {}, max_stack_bytes=0).fit(table())


def test_memory_of_a_stack_is_bounded(stacks):
    grid = {"learning_rate_init": [1e-3, 3e-3, 1e-2]}
    plain = GridSearchCV(small(), grid, cv=3).fit(table())
    stacked = StackedGridSearchCV(small(), grid, cv=3, max_stack_bytes=1).fit(table())
    assert_same_results(stacked, plain)
    assert stacks == [1] * 9


def test_estimators_of_others_are_searched_once():
    X, y = load_wine(return_X_y=True)
    fits = []

    class Counted(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            fits.append(len(X))
            return super().fit(X, y, sample_weight)

    StackedGridSearchCV(Counted(max_iter=20), {"C": [0.1, 1.0]}, cv=2, refit=False).fit(X, y)
    assert len(fits) == 4 + 1


def test_an_interrupt_ends_the_search(monkeypatch):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_validate", interrupted)
    search = StackedGridSearchCV(small(), {"tol": [0.0, 1.0]}, cv=3)
    with pytest.raises(KeyboardInterrupt):
        search.fit(table())
    assert search.cv == 3 and not hasattr(search, "_arguments")


def test_the_search_leaves_no_trace():
    search = StackedGridSearchCV(small(), {"tol": [0.0, 1.0]}, cv=3, n_jobs=2)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    search.fit(table())
    assert search.cv == 3 and search.n_jobs == 2
    assert not [name for name in vars(search) if name in ("_arguments", "_fit_seconds")]
    assert (np.random.get_state()[1] == numpy_state).all()
    assert (torch.get_rng_state() == torch_state).all()
    assert (search.cv_results_["mean_fit_time"] > 0).all()
    copy = clone(search)
    assert copy.get_params()["max_stack_bytes"] == search.max_stack_bytes
