"""Several threads, forked workers: the same bits as alone, no deadlock, settings as they were."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from processes import can_fork, in_fork, settings
from sklearn.base import clone

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]
N_THREADS = 8
QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def table(n_rows=90):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n_rows, 4))
    X[rng.random(X.shape) < 0.1] = np.nan
    return pd.DataFrame(X, columns=list("abcd")).assign(kind=rng.choice(["x", "y"], n_rows))


ESTIMATORS = {
    "transformer": (VAETransformer, {"n_members": 2}),
    "gaussian": (VAETransformer, {}),
    "detector": (VAEOutlierDetector, {}),
    "imputer": (VAEImputer, {"n_members": 2, "refine": None}),
    "synthesizer": (VAESynthesizer, {"max_iter": 1}),
}
CALLS = {
    "transform": lambda e, X: e.transform(X),
    "score_samples": lambda e, X: e.score_samples(X),
    "score_samples of one row": lambda e, X: e.score_samples(X[:1]),
    "reconstruct": lambda e, X: e.reconstruct(X),
    "impute": lambda e, X: e.impute(X, 2, random_state=0)[1],
    "sample": lambda e, X: e.sample(20, random_state=0),
    "predict": lambda e, X: e.predict(X),
    "explain": lambda e, X: e.explain(X[:9]),
}


def make(name, **params):
    cls, own = ESTIMATORS[name]
    return cls(**QUICK | own | params)


def data(name):
    X = table()
    return X.drop(columns="kind") if name == "gaussian" else X


def calls_of(estimator):
    found = {}
    for name, call in CALLS.items():
        if hasattr(estimator, name.split()[0]) and not (
            name == "predict" and isinstance(estimator, VAETransformer)
        ):
            found[name] = call
    return found


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: make(name).fit(data(name)) for name in ESTIMATORS}


def same(found, expected):
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    else:
        assert_array_equal(found, expected)


def at_once(work, n=N_THREADS):
    """Results of threads that start together."""
    barrier = threading.Barrier(n)

    def start(i):
        barrier.wait(30)
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(start, range(n)))


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_threads_that_share_a_model(name, n_jobs, fitted):
    estimator, X, before = fitted[name].set_params(n_jobs=n_jobs), data(name), settings()
    calls = list(calls_of(estimator).items())
    alone = {call: function(estimator, X) for call, function in calls}

    def work(i):
        order = calls[i % len(calls) :] + calls[: i % len(calls)]
        return {call: function(estimator, X) for call, function in order}

    for answers in at_once(work):
        for call, answer in answers.items():
            same(answer, alone[call])
    assert settings() == before


@pytest.mark.parametrize("name", ["transformer", "gaussian", "synthesizer"])
def test_threads_that_fit(name, fitted):
    X, before = data(name), settings()
    call, function = next(iter(calls_of(fitted[name]).items()))
    alone = {seed: function(make(name, random_state=seed).fit(X), X) for seed in range(2)}
    found = at_once(lambda i: function(make(name, random_state=i % 2).fit(X), X))
    for i, answer in enumerate(found):
        same(answer, alone[i % 2])
    assert settings() == before


def test_fits_beside_scores(fitted):
    """A model that serves while another is trained on the same rows."""
    vae, X = fitted["transformer"], data("transformer")
    expected, before = vae.score_samples(X), settings()

    def work(i):
        return vae.score_samples(X) if i % 2 else clone(vae).fit(X).score_samples(X)

    for answer in at_once(work):
        assert_array_equal(answer, expected)
    assert settings() == before


# ------------------------------------------------------------------------------------- forks


@can_fork
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("name", ["transformer", "detector", "imputer", "synthesizer"])
def test_forked_workers(name, n_jobs, fitted):
    """Also where the parent has used several threads: a fork has one, and its bits."""
    estimator, X, before = fitted[name].set_params(n_jobs=None), data(name), settings()
    calls = calls_of(estimator)
    alone = {call: function(estimator, X) for call, function in calls.items()}
    next(iter(calls.values()))(estimator.set_params(n_jobs=n_jobs), X)

    def work():
        return os.getpid(), {call: function(estimator, X) for call, function in calls.items()}

    process, answers = in_fork(work)
    assert process != os.getpid()
    for call, answer in answers.items():
        same(answer, alone[call])
    assert settings() == before


@can_fork
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_forks_that_fit(n_jobs):
    X = data("gaussian")
    make("gaussian", n_jobs=n_jobs).fit(X).score_samples(X)
    alone = make("gaussian").fit(X).score_samples(X)
    found = in_fork(lambda: make("gaussian", n_jobs=n_jobs).fit(X).score_samples(X))
    assert_array_equal(found, alone)


@can_fork
def test_forks_while_other_threads_score(fitted):
    """A lock that a thread holds at the moment of the fork is nobody's in the child."""
    vae, X = fitted["gaussian"].set_params(n_jobs=None), data("gaussian")
    expected, stop = vae.score_samples(X), threading.Event()
    vae.set_params(n_jobs=2)

    def score():
        while not stop.is_set():
            vae.score_samples(X)

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            assert_array_equal(in_fork(vae.score_samples, X), expected)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
