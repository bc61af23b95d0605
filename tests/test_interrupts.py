"""Interrupts at any moment: an estimator is as before or fitted, and the process as it was."""

import linecache
import pickle
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import skvae
from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer, inference
from skvae.exceptions import DivergedError
from skvae.vae import VAE

PACKAGE = str(Path(skvae.__file__).parent)
QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def table(n_columns=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 2)) @ rng.normal(size=(2, n_columns))
    X += 0.3 * rng.normal(size=X.shape)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def answers(estimator, X):
    """What an estimator says, or None where it is not fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return None
    if isinstance(estimator, VAESynthesizer):
        return estimator.sample(5)
    if isinstance(estimator, VAEImputer):
        return estimator.transform(X)
    return estimator.score_samples(X)


def settings():
    return *processes.settings(), np.geterr(), len(warnings.filters)


# Python looks for signals after calls and in loops, and between these words and what follows
# there is none.  The line of a `with` runs once more on the way out, where there is none either.
NOT_BEFORE = ("try:", "finally:", "except BaseException:", "raise")


class Interrupter:
    """Raises ``KeyboardInterrupt`` before the n-th line of skvae that runs, or the first when."""

    def __init__(self, at=None, when=None):
        self.at, self.when, self.lines = at, when, 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception):
        sys.settrace(self.before)

    def _call(self, frame, event, arg):
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame, event, arg):
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        may_come = text not in NOT_BEFORE and not text.startswith("with ")
        if event == "line" and may_come:
            self.lines += 1
            if self.lines == self.at or (self.when is not None and self.when()):
                self.when = None
                raise KeyboardInterrupt
        return self._line


ESTIMATORS = {
    "transformer": VAETransformer(**QUICK),
    "detector": VAEOutlierDetector(score_function="conditional", **QUICK),
    "imputer": VAEImputer(n_members=1, refine=None, **QUICK | {"max_iter": 1}),
    "synthesizer": VAESynthesizer(critic=None, **QUICK),
}


def moments(n_lines, n, seed):
    """Some of the lines, the first and the last ones among them."""
    rng = np.random.default_rng(seed)
    inside = rng.integers(1, n_lines + 1, n).tolist()
    return sorted({1, n_lines - 1, n_lines, *inside})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("again", [False, True], ids=["first fit", "fit on another table"])
def test_fit(name, again):
    X, other = table(), table(5, seed=1)
    blank = clone(ESTIMATORS[name])
    fitted = clone(blank).fit(X)
    expected, process = answers(fitted, X), settings()
    whole = answers(clone(blank).fit(other), other)
    with Interrupter() as counted:
        clone(blank).fit(other)
    outcomes = set()
    for at in moments(counted.lines, 3, len(name)):
        estimator = pickle.loads(pickle.dumps(fitted)) if again else clone(blank)
        with Interrupter(at):
            try:
                estimator.fit(other)
                outcomes.add("fitted")
            except KeyboardInterrupt:
                outcomes.add("as before")
        assert settings() == process, f"line {at}"
        if getattr(estimator, "n_features_in_", None) == 5:
            found = answers(estimator, other)
            assert found.shape == whole.shape and np.isfinite(found).all(), f"line {at}"
        else:
            assert_array_equal(answers(estimator, X), expected if again else None)
        # Nothing is left behind that would change the next fit.
        assert sorted(vars(clone(estimator))) == sorted(vars(clone(blank)))
    assert "as before" in outcomes
    assert_array_equal(answers(estimator.fit(other), other), whole)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("again", [False, True], ids=["first fit", "fit on another table"])
def test_a_fit_that_has_begun_is_undone(name, again, monkeypatch):
    """At the moment when the estimator is of the new table and has no model of it."""
    X, other = table(), table(5, seed=1)
    estimator = clone(ESTIMATORS[name])
    if again:
        estimator.fit(X)
    before, expected = sorted(vars(estimator)), answers(estimator, X)

    def interrupt():
        has_begun = Interrupter(when=lambda: getattr(estimator, "n_features_in_", None) == 5)
        with has_begun, pytest.raises(KeyboardInterrupt):
            estimator.fit(other)

    interrupt()
    assert sorted(vars(estimator)) == before
    assert_array_equal(answers(estimator, X), expected)
    # Parts of two are what is left without it.
    monkeypatch.setattr("skvae._undo._become", lambda thing, attributes: None)
    interrupt()
    assert estimator.n_features_in_ == 5


IN_PLACE = {
    "partial_fit": lambda e, X: e.partial_fit(X),
    "warm start": lambda e, X: e.set_params(warm_start=True).fit(X),
    "recalibrate": lambda e, X: e.recalibrate(X),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IN_PLACE)
def test_training_that_goes_on(name):
    X, other = table(), table(seed=1)
    fitted = VAETransformer(**QUICK).fit(X)
    expected, process = fitted.score_samples(X), settings()
    with Interrupter() as counted:
        IN_PLACE[name](pickle.loads(pickle.dumps(fitted)), other)
    for at in moments(counted.lines, 6, len(name)):
        estimator = pickle.loads(pickle.dumps(fitted))
        held = estimator.vae_
        try:
            with Interrupter(at):
                IN_PLACE[name](estimator, other)
        except KeyboardInterrupt:
            assert_array_equal(estimator.score_samples(X), expected, err_msg=f"line {at}")
            assert estimator.n_iter_ == fitted.n_iter_
        assert estimator.vae_ is held
        assert np.isfinite(estimator.score_samples(X)).all()
        assert settings() == process


def test_an_error_is_undone_too():
    """The weights of a step that diverged are not those of the model."""
    X = table()
    vae = VAETransformer(learning_rate_init=1e-3, **QUICK).fit(X)
    expected, names = vae.score_samples(X), sorted(vars(vae))
    vae.set_params(learning_rate_init=1e30, clip_norm=None)
    with pytest.raises(DivergedError):
        for _ in range(9):
            vae.partial_fit(X)
    assert np.isfinite(vae.score_samples(X)).all()
    with pytest.raises(ValueError, match="infinity"):
        vae.fit(np.full((9, 2), np.inf))
    assert vae.n_features_in_ == 4
    again = VAETransformer(learning_rate_init=1e-3, **QUICK).fit(X)
    with pytest.raises(ValueError, match="constant or missing"):
        again.fit(np.ones((9, 2)))
    assert_array_equal(again.score_samples(X), expected)
    assert sorted(vars(again)) == names


CALLS = {
    "transform": lambda e, X: e.transform(X),
    "score_samples": lambda e, X: e.score_samples(X),
    "sample": lambda e, X: e.sample(9),
    "reconstruct": lambda e, X: e.reconstruct(X),
    "impute": lambda e, X: e.impute(X, n_draws=20),
}


@pytest.mark.parametrize("name", CALLS)
def test_methods_change_nothing(name):
    X = table()
    vae = VAETransformer(n_members=2, **QUICK).fit(X)
    expected, process, state = CALLS[name](vae, X), settings(), sorted(vars(vae))
    with Interrupter() as counted:
        CALLS[name](vae, X)
    for at in moments(counted.lines, 12, len(name)):
        with Interrupter(at), pytest.raises(KeyboardInterrupt):
            CALLS[name](vae, X)
        assert settings() == process, f"line {at}"
        assert_array_equal(CALLS[name](vae, X), expected)
    assert sorted(vars(vae)) == state and not vae.vae_.training


def of_numpy():
    np.seterr(divide="ignore", over="ignore", invalid="call")
    np.seterrcall(print)


# On the way into `torch.no_grad`, and into or out of `np.errstate`, as solvers of NumPy take.
LOST = {"torch": lambda: torch.set_grad_enabled(False), "numpy": of_numpy}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize(
    ("call", "where", "what"), [("fit", VAE, "to"), ("score_samples", inference, "log_marginal")]
)
def test_an_interrupt_that_a_library_loses_track_of(name, call, where, what, monkeypatch):
    X = table()
    vae = VAETransformer(**QUICK).fit(X)

    def interrupted(*args):
        LOST[name]()
        raise KeyboardInterrupt

    monkeypatch.setattr(where, what, interrupted)
    with np.errstate():
        before = settings(), np.geterrcall()
        try:
            with pytest.raises(KeyboardInterrupt):
                getattr(vae, call)(X)
            assert (settings(), np.geterrcall()) == before
        finally:
            torch.set_grad_enabled(True)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that interrupt")
@pytest.mark.filterwarnings("ignore")
def test_real_signals():
    """As a user interrupts: at any time, by the signal."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    X, process = table(), settings()
    start = time.perf_counter()
    fitted = VAETransformer(**QUICK).fit(X)
    whole, took = fitted.score_samples(X), time.perf_counter() - start
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    rng = np.random.default_rng(0)
    try:
        for _ in range(15):
            estimator = VAETransformer(**QUICK)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, took))
                estimator.fit(X)
                estimator.score_samples(X)
            except KeyboardInterrupt:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert settings() == process
            found = answers(estimator, X)
            assert found is None or np.isfinite(found).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert_array_equal(VAETransformer(**QUICK).fit(X).score_samples(X), whole)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_warnings_point_at_the_caller(name):
    """Through whatever a call passes on its way."""
    X = np.column_stack([table(), np.full(60, np.nan)])
    estimator = clone(ESTIMATORS[name])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X)
    ours = [w for w in caught if "skvae" in str(w.category) or "Skipping" in str(w.message)]
    assert ours or name == "synthesizer"
    assert {w.filename for w in ours} <= {__file__}


UNLIKELY = {
    "impute": ("transformer", "_conditional.FEW_DRAWS", lambda e, X: e.impute(X)),
    "sample given": (
        "transformer", "_conditional.LOW_SHARE", lambda e, X: e.sample(9, given={0: 1.0}),
    ),
    "synthesizer": (
        "synthesizer", "_synthesizer.LOW_SHARE", lambda e, X: e.sample(9, given={0: 1.0}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKELY)
def test_warnings_of_few_draws_point_at_the_caller(name, monkeypatch):
    which, bound, call = UNLIKELY[name]
    estimator = clone(ESTIMATORS[which]).fit(table())
    monkeypatch.setattr(f"skvae.{bound}", np.inf)
    with pytest.warns(UserWarning, match="draws") as told:
        call(estimator, table())
    assert {warning.filename for warning in told} == {__file__}
