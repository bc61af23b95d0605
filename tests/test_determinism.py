"""The same seed gives the same bits, nothing global is touched, and a stack equals its members."""

import inspect
import random

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae import VAEOutlierDetector, VAETransformer
from skvae.exceptions import DivergedError
from skvae.networks import VariationalRecurrent

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


def table(n_rows, n_columns, missing=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 4)) @ rng.normal(size=(4, n_columns))
    X += 0.3 * rng.normal(size=X.shape)
    if missing:
        X[rng.random(X.shape) < 0.1] = np.nan
    return X


def counts(n_rows=90, n_columns=7):
    return np.random.default_rng(0).poisson(3.0, size=(n_rows, n_columns)).astype(float)


def frame(n_rows=90):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(table(n_rows, 5, missing=True), columns=list("abcde"))
    return X.assign(
        kind=rng.choice(["x", "y", "z"], n_rows), size=rng.choice(list("sml"), n_rows),
        flag=rng.random(n_rows) < 0.3,
    )  # fmt: skip


def rows_of(X, index):
    return X.iloc[index] if isinstance(X, pd.DataFrame) else X[index]


# ------------------------------------------------------------------------ same seed, same bits

VARIANTS = [
    {},
    {"n_members": 3},
    {"objective": "iwae", "prior": "mixture"},
    {"likelihood": "student_t", "init": "random", "n_components": 2},
    {"posterior": "deterministic", "calibrate": False},
    {"early_stopping": False, "warm_start": True},
]


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_same_seed_same_bits(params):
    X = table(90, 6, missing=True)
    one, two = (VAETransformer(max_iter=3, random_state=7, **params).fit(X) for _ in "ab")
    assert_same_weights(one.vae_.state_dict(), two.vae_.state_dict())
    assert one.history_ == two.history_
    assert_array_equal(one.transform(X), two.transform(X))
    assert_array_equal(one.sample(9), two.sample(9))
    assert_array_equal(one.sample(9), one.sample(9))
    if params.get("posterior") != "deterministic":
        assert_array_equal(one.score_samples(X), two.score_samples(X))
        assert_array_equal(one.score_samples(X), one.score_samples(X))


def test_same_seed_same_bits_on_a_frame_and_in_a_stream():
    X = frame()
    one, two = (VAEOutlierDetector(max_iter=3, random_state=7).fit(X) for _ in "ab")
    assert_array_equal(one.decision_function(X), two.decision_function(X))
    one, two = (VAETransformer(random_state=7) for _ in "ab")
    for estimator in (one, two):
        for part in (X[:45], X[45:], X[:45]):
            estimator.partial_fit(part)
    assert_array_equal(one.transform(X), two.transform(X))


def test_generators_as_random_state():
    X = table(60, 4)
    one, two = (VAETransformer(max_iter=2, random_state=np.random.RandomState(3)) for _ in "ab")
    assert_array_equal(one.fit(X).transform(X), two.fit(X).transform(X))
    assert_array_equal(one.sample(3), two.sample(3))
    assert (one.sample(3) != one.sample(3)).all()
    assert (one.sample(3, random_state=0) == one.sample(3, random_state=0)).all()


def test_no_random_state_asks_the_generator_of_numpy_alone():
    X, before = table(60, 4), np.random.get_state()
    states, found = (torch.get_rng_state(), random.getstate()), []
    try:
        for seed in (5, 5, 6):
            np.random.seed(seed)
            found.append(VAETransformer(max_iter=2).fit(X).transform(X))
    finally:
        np.random.set_state(before)
    assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]


def test_other_seeds_give_other_models():
    X = table(60, 4)
    one, two = (VAETransformer(max_iter=2, random_state=seed).fit(X) for seed in (0, 1))
    assert (one.transform(X) != two.transform(X)).all()


# ------------------------------------------------------------------- nothing global is touched

STEPS = VariationalRecurrent(n_units=4, hidden_layer_sizes=())

# Every public method that a class of ours defines, with a call of it on a fitted estimator.
METHODS = {
    "fit": lambda e, X: e.fit(X),
    "fit_predict": lambda e, X: e.fit_predict(X),
    "fit_transform": lambda e, X: e.fit_transform(X),
    "partial_fit": lambda e, X: e.partial_fit(X),
    "recalibrate": lambda e, X: e.recalibrate(X),
    "set_params": lambda e, X: e.set_params(objective__beta=2.0),
    "transform": lambda e, X: e.transform(X),
    "infer": lambda e, X: e.infer(X),
    "sensitivities": lambda e, X: e.sensitivities(X),
    "inverse_transform": lambda e, X: e.inverse_transform(np.zeros((2, 8))),
    "reconstruct": lambda e, X: e.reconstruct(X),
    "sample": lambda e, X: [e.sample(5), e.sample(5, given={0: X[0, 0]})],
    "impute": lambda e, X: e.impute(np.where(np.eye(*X.shape), np.nan, X), method="annealed"),
    "interpolate": lambda e, X: e.interpolate(X[:2]),
    "traverse": lambda e, X: e.traverse(X[:1], 0),
    "score": lambda e, X: e.score(X),
    "score_samples": lambda e, X: e.score_samples(X),
    "decision_function": lambda e, X: e.decision_function(X),
    "predict": lambda e, X: e.predict(X),
    "explain": lambda e, X: e.explain(X),
    "repair": lambda e, X: e.repair(X),
    "p_values": lambda e, X: e.p_values(X, reference=X),
    "select": lambda e, X: e.select(X, fdr=0.5, reference=X),
    "outlier_probability": lambda e, X: e.outlier_probability(X),
    "score_drift": lambda e, X: e.score_drift(X),
    "categories": lambda e, X: clone(e).set_params(posterior="joint").fit(X).categories(X),
    "attribute_vector": lambda e, X: e.attribute_vector(X, X[:, 0] > X[:, 0].mean()),
    "forecast": lambda e, X: e.forecast(X),
    "score_steps": lambda e, X: clone(e).set_params(network=STEPS).fit(X).score_steps(X),
    "predict_proba": lambda e, X: e.predict_proba(X),
    "optimize": lambda e, X: e.optimize(X, 0.0),
}
CALLS = [
    (cls, name)
    for cls in (VAETransformer, VAEOutlierDetector)
    for name in METHODS
    if hasattr(cls(), name)
]


def test_every_public_method_is_called():
    classes = {*VAETransformer.__mro__, *VAEOutlierDetector.__mro__}
    public = {
        name
        for cls in classes
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("_")
        and cls.__module__.startswith("skvae.") and name != "set_callbacks"
    }  # fmt: skip
    assert public <= set(METHODS)


@pytest.mark.parametrize(("cls", "name"), CALLS)
def test_global_generators_are_untouched(cls, name):
    X = table(60, 4)
    estimator = cls(max_iter=2, n_members=2, random_state=0).fit(X)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    METHODS[name](estimator, X)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@pytest.fixture(params=[(2, False), (2, True), (1, False)], ids=str)
def settings(request):
    before = torch.get_num_threads()
    n_threads, flushed = request.param
    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(flushed)
    yield request.param
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def settings_now():
    return torch.get_num_threads(), bool((torch.tensor(1e-40) * 1.0 == 0).item())


@pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
def test_settings_of_torch_are_put_back(cls, settings):
    X = table(40, 3)
    for n_jobs in (None, 2):
        estimator = cls(2, max_iter=1, n_jobs=n_jobs, random_state=0).fit(X)
        assert settings_now() == settings
        estimator.score_samples(X)
        assert settings_now() == settings
    deterministic, dtype = torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()
    assert (deterministic, dtype) == (False, torch.float32)


def test_settings_of_torch_are_put_back_after_errors(settings, monkeypatch):
    X = table(60, 4)
    diverging = VAETransformer(
        max_iter=60, learning_rate_init=1e30, clip_norm=None, early_stopping=False, random_state=0
    )
    with pytest.raises(DivergedError, match=r"epoch \d+.*Lower learning_rate_init"):
        diverging.fit(X)
    assert settings_now() == settings
    fitted = VAETransformer(max_iter=2, random_state=0).fit(X)

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("skvae.inference.log_marginal", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        fitted.score_samples(X)
    assert settings_now() == settings


# ---------------------------------------------------------------- a row's score is its own

TABLES = {
    "complete": (table(90, 6), {}),
    "missing": (table(90, 13, missing=True), {}),
    "members": (table(90, 13, missing=True), {"n_members": 3}),
    "student_t": (table(90, 6), {"likelihood": "student_t", "hidden_layer_sizes": (16,)}),
    "counts": (counts(), {"likelihood": "negative_binomial", "prior": "mixture"}),
    "frame": (frame(), {}),
}


@pytest.mark.parametrize("n_draws", [1, 5, 7, 16])
@pytest.mark.parametrize("name", TABLES)
def test_a_row_alone_and_among_others(name, n_draws):
    X, params = TABLES[name]
    estimator = VAETransformer(max_iter=3, n_draws=n_draws, random_state=0, **params).fit(X)
    n = len(X)
    expected, codes = estimator.score_samples(X), estimator.transform(X)
    index = {
        "alone": [np.array([i]) for i in range(0, n, 9)],
        "batches of 13": [np.arange(start, min(start + 13, n)) for start in range(0, n, 13)],
        "permuted": [np.random.default_rng(0).permutation(n)],
        "many": [np.arange(2500) % n],
    }
    for parts in index.values():
        for part in parts:
            scores = estimator.score_samples(rows_of(X, part))
            if name == "complete" and n_draws in (1, 16):
                assert_array_equal(scores, expected[part])
            assert_allclose(scores, expected[part], rtol=1e-6, atol=1e-6)
            assert_array_equal(estimator.transform(rows_of(X, part)), codes[part])


# ------------------------------------------------------------------ a stack equals its members

SEEDS = [3, 14, 15, 92, 65, 35, 89, 79]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert not differing


def stack_and_members(X, **params):
    params = {
        "n_components": 3, "hidden_layer_sizes": (32,), "max_iter": 3, "calibrate": False,
        "random_state": 0, **params,
    }  # fmt: skip
    stack = VAETransformer(n_members=len(SEEDS), **params)._fit(X, None, seeds=SEEDS)
    return stack, [VAETransformer(**params)._fit(X, None, seeds=[seed]) for seed in SEEDS]


def check_stack(X, **params):
    stack, members = stack_and_members(X, **params)
    weights = stack.vae_.state_dict()
    for place, member in enumerate(members):
        own = {name: tensor[place : place + 1] for name, tensor in weights.items()}
        assert_same_weights(own, member.vae_.state_dict())
    return stack, members


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("batch_size", [32, 37])
@pytest.mark.parametrize("n_columns", [5, 13, 30])
def test_a_stack_equals_its_members(n_columns, batch_size, missing, objective):
    check_stack(table(110, n_columns, missing), batch_size=batch_size, objective=objective)


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (128, 64)},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": (16,), "activation": "relu"},
        {"hidden_layer_sizes": (16,), "activation": "tanh"},
        {"hidden_layer_sizes": (16,), "activation": "gelu"},
        {"hidden_layer_sizes": (16,)},
        {"hidden_layer_sizes": (100, 50)},
        {"hidden_layer_sizes": (16,), "activation": "elu"},
        {"n_components": 8, "hidden_layer_sizes": (128, 64)},
        {"n_components": 9},
        {"n_components": 8, "init": "random"},
        {"posterior": "deterministic"},
        {"view": None, "likelihood": "student_t"},
        {"prior": "normal", "weight_decay": 0.0, "clip_norm": 0.1},
        {"prior": "mixture"},
    ],
    ids=str,
)
def test_a_stack_of_any_make_equals_its_members(params):
    check_stack(table(110, 13, missing=True), batch_size=37, **params)


@pytest.mark.parametrize(
    ("X", "likelihood"),
    [
        (frame(), "auto"),
        ((counts() > 3).astype(float), "bernoulli"),
        (counts(), "poisson"),
        (counts(), "negative_binomial"),
    ],
    ids=["frame", "bernoulli", "poisson", "negative_binomial"],
)
def test_a_stack_on_any_table_equals_its_members(X, likelihood):
    check_stack(X, batch_size=37, likelihood=likelihood)


def test_scores_of_a_stack_are_the_mean_of_those_of_its_members():
    X = table(110, 5)
    stack, members = check_stack(X)
    scores = np.mean([member.score_samples(X) for member in members], axis=0)
    assert_allclose(stack.score_samples(X), scores, rtol=1e-6)
    assert_array_equal(stack.transform(X), members[stack.best_member_].transform(X))


def test_members_that_stop_at_different_epochs():
    X = table(110, 5, missing=True)
    stack, members = check_stack(
        X, max_iter=60, n_iter_no_change=2, tol=0.02, validation_fraction=0.3
    )
    stops = {member.n_iter_ for member in members}
    assert len(stops) > 2 and max(stops) < 60
    assert stack.n_iter_ == members[stack.best_member_].n_iter_
    assert stack.history_ == members[stack.best_member_].history_


def test_a_calibrated_stack_equals_its_members():
    check_stack(table(110, 5), calibrate=True)


def test_fit_after_a_stream_is_a_fresh_fit():
    X = table(110, 5)
    params = {"n_components": 3, "max_iter": 3, "random_state": 0}
    streamed = VAETransformer(**params).partial_fit(X).partial_fit(X)
    assert streamed._optimizer_state is not None
    fresh = VAETransformer(**params).fit(X)
    assert not np.array_equal(streamed.transform(X), fresh.transform(X))
    assert_array_equal(streamed.fit(X).transform(X), fresh.transform(X))
