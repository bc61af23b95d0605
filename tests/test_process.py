"""Threads, precision and forks: what a fit asks of its process, and that it is put back."""

import itertools
import os
import re
import subprocess
import sys
import threading
import timeit
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from processes import can_fork, in_fork
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvae import VAEOutlierDetector, VAETransformer, _process, inference
from skvae._device import resolve_device
from skvae._process import arithmetic, matrix_products
from skvae.objectives import ELBO

ROOT = Path(__file__).resolve().parents[1]
ESTIMATORS = [VAETransformer, VAEOutlierDetector]
pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),  # a real fork
]
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(60, 4))


def blas():
    common, own = _process._blas_libraries(len(sys.modules))
    return common + own


def blas_threads():
    return {library.num_threads for library in blas()}


@pytest.fixture
def two_threads():
    """The process starts with two threads for torch and for BLAS."""
    if not blas():
        pytest.skip("threadpoolctl knows no BLAS library here")
    before, torch_before = _process._counts(blas()), torch.get_num_threads()
    _process._set_counts([(library, 2) for library in blas()])
    torch.set_num_threads(2)
    yield
    _process._set_counts(before)
    torch.set_num_threads(torch_before)


# ---------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_are_set_and_put_back(n_threads, two_threads):
    for error in (None, ArithmeticError):
        try:
            with arithmetic(n_threads):
                assert (torch.get_num_threads(), blas_threads()) == (n_threads, {n_threads})
                if error:
                    raise error
        except ArithmeticError:
            pass
        assert (torch.get_num_threads(), blas_threads()) == (2, {2})


def test_gradients_are_put_back():
    """An interrupt within ``torch.no_grad`` may come before torch knows how to go back."""
    try:
        with pytest.raises(KeyboardInterrupt), arithmetic(1):
            torch.set_grad_enabled(False)
            raise KeyboardInterrupt
        assert torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


def test_none_leaves_threads_alone(two_threads):
    with arithmetic(None):
        assert (torch.get_num_threads(), blas_threads()) == (2, {2})


def test_inside_another_the_outer_one_decides_for_blas(two_threads):
    with arithmetic(1):
        with arithmetic(3):
            assert (torch.get_num_threads(), blas_threads()) == (3, {1})
        assert (torch.get_num_threads(), blas_threads()) == (1, {1})
    assert (torch.get_num_threads(), blas_threads()) == (2, {2})


def overlap(contexts, look):
    """Enter in turn, each in a thread of its own, and leave in the same order; look each time."""
    turns = [[threading.Event() for _ in contexts] for _ in range(4)]
    enter, entered, leave, left = turns

    def stay(i):
        enter[i].wait(30)
        with contexts[i]:
            entered[i].set()
            leave[i].wait(30)
        left[i].set()

    threads = [threading.Thread(target=stay, args=(i,)) for i in range(len(contexts))]
    seen = []
    for thread in threads:
        thread.start()
    for asks, answers in ((enter, entered), (leave, left)):
        for ask, answer in zip(asks, answers):
            ask.set()
            assert answer.wait(30)
            seen.append(look())
    for thread in threads:
        thread.join()
    return seen


@pytest.mark.parametrize("second", [1, 3])
def test_blas_of_threads_that_overlap(second, two_threads):
    """The first decides, and it stays until the last has left, whoever that is."""
    if not _process._blas_libraries(len(sys.modules))[0]:
        pytest.skip("every BLAS library here counts by thread")
    seen = overlap([arithmetic(1), arithmetic(second)], blas_threads)
    assert seen == [{1}, {1}, {1}, {2}]


@pytest.mark.parametrize("nth", [1, 2])
def test_an_interrupt_leaves_no_thread_in_control(nth, two_threads, monkeypatch):
    """Other threads could set nothing any more, as long as that one lives."""
    real, n_calls = _process._no_libraries, itertools.count(1)

    def interrupted():
        if next(n_calls) == nth:
            raise KeyboardInterrupt
        return real()

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_process, "_no_libraries", interrupted)
        with arithmetic(1):
            pass
    assert blas_threads() == {2}
    assert overlap([arithmetic(1)], blas_threads) == [{1}, {2}]


def test_libraries_that_count_by_thread(monkeypatch):
    class Library(threading.local):
        num_threads = 4

        def set_num_threads(self, count):
            self.num_threads = count

    library, seen = Library(), {}
    monkeypatch.setattr(_process, "_blas_libraries", lambda n_modules: ([], [library]))

    def use(name, n_threads):
        with arithmetic(n_threads):
            inside = library.num_threads
        seen[name] = inside, library.num_threads

    with arithmetic(1):
        thread = threading.Thread(target=use, args=("other", 2))
        thread.start()
        thread.join()
        use("inner", 3)
        assert library.num_threads == 1
    assert library.num_threads == 4
    assert seen == {"other": (2, 4), "inner": (3, 1)}


def run(code):
    """Standard output of a fresh Python."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return ran.stdout


def test_libraries_loaded_later_are_limited():
    """scipy.linalg brings a library of its own, here after the first call."""
    code = """
import sys
from threadpoolctl import threadpool_info
from skvae._process import arithmetic

def threads():
    return sorted(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")

with arithmetic(1):
    first = threads()
assert "scipy.linalg" not in sys.modules
import scipy.linalg
with arithmetic(1):
    second = threads()
print(set(first + second) <= {1}, len(first) == len(second) or set(threads()) == {2})
"""
    assert run(code).split() == ["True", "True"]


def test_entering_is_cheap(two_threads):
    """Every score of a single row enters once: 21 us, of which torch's own settings are 3."""

    def enter():
        with arithmetic(1):
            pass

    enter()
    assert min(timeit.repeat(enter, number=50, repeat=20)) / 50 < 150e-6


def watch(**params):
    """Threads of torch and BLAS that a fit in this process or thread has, and that it leaves."""
    seen = set()

    class Watching(ELBO):
        def mean_bound(self, step):
            seen.update({torch.get_num_threads(), *blas_threads()})
            return super().mean_bound(step)

    before = torch.get_num_threads(), blas_threads()
    VAETransformer(objective=Watching(), max_iter=2, random_state=0, **params).fit(X)
    return os.getpid(), seen, before == (torch.get_num_threads(), blas_threads())


@pytest.mark.parametrize(("n_jobs", "n_threads"), [(None, 1), (2, 2)])
def test_workers_of_joblib_that_are_processes(n_jobs, n_threads):
    with parallel_config("loky", inner_max_num_threads=2):
        answers = Parallel(n_jobs=2)(delayed(watch)(n_jobs=n_jobs) for _ in range(4))
    assert os.getpid() not in {process for process, _, _ in answers}
    for _, seen, put_back in answers:
        assert seen == {n_threads} and put_back


def test_workers_of_joblib_that_are_threads(two_threads):
    answers = Parallel(n_jobs=2, backend="threading")(delayed(watch)() for _ in range(6))
    for process, seen, _ in answers:
        assert process == os.getpid() and seen == {1}
    assert (torch.get_num_threads(), blas_threads()) == (2, {2})


# -------------------------------------------------------------------------------- precision


def products():
    return torch.backends.cuda.matmul.fp32_precision


@pytest.fixture
def on_cuda(monkeypatch):
    """Estimators take the CPU for a CUDA device where they choose the precision."""
    monkeypatch.setattr("skvae._base.BaseVAE._precision", lambda self: self.precision)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_precision_changes_no_bit_on_the_cpu(cls):
    exact, coarse = (
        cls(max_iter=3, device="cpu", precision=p, random_state=0).fit(X)
        for p in ("float32", "tf32")
    )
    assert_array_equal(exact.score_samples(X), coarse.score_samples(X))
    assert exact.history_ == coarse.history_
    assert {t.dtype for t in coarse.vae_.parameters()} == {torch.float32}


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_precision_is_checked(cls):
    assert cls().precision == "float32"
    with pytest.raises(ValueError, match=f"'precision' parameter of {cls.__name__} must be.*'x'"):
        cls(precision="x").fit(X)


def test_only_cuda_is_asked_for_a_precision(monkeypatch):
    estimator = VAETransformer(precision="tf32", device="cpu")
    assert estimator._precision() is None
    monkeypatch.setattr("skvae._base.resolve_device", lambda name: torch.device("cuda"))
    assert estimator._precision() == "tf32"


@pytest.mark.parametrize(("precision", "name"), [("float32", "ieee"), ("tf32", "tf32")])
def test_precision_of_products_is_set_and_put_back(precision, name):
    for before in ("none", "ieee", "tf32"):
        torch.backends.cuda.matmul.fp32_precision = before
        try:
            with pytest.raises(ArithmeticError), arithmetic(None, precision):
                assert products() == name
                raise ArithmeticError
            assert products() == before
            with matrix_products(None):
                assert products() == before
        finally:
            torch.backends.cuda.matmul.fp32_precision = "none"


@pytest.mark.parametrize("name", ["conv", "rnn"])
def test_precision_holds_for_convolutions_and_recurrent_layers(name):
    settings = getattr(torch.backends.cudnn, name)
    before = settings.fp32_precision
    with arithmetic(None, "float32"):
        assert settings.fp32_precision == "ieee"
    assert settings.fp32_precision == before


def test_precision_of_threads_that_overlap():
    before = products()
    seen = overlap([matrix_products("tf32"), matrix_products("float32")], products)
    assert seen == ["tf32", "tf32", "tf32", before]


def test_precision_before_torch_2_9(monkeypatch):
    settings = SimpleNamespace(allow_tf32=False)
    monkeypatch.setattr(torch.backends.cuda, "matmul", settings)
    with matrix_products("tf32"):
        assert settings.allow_tf32 is True
    assert vars(settings) == {"allow_tf32": False}


def test_every_step_has_the_precision(on_cuda, monkeypatch):
    seen = []

    class Watching(ELBO):
        def mean_bound(self, step):
            seen.append(products())
            return super().mean_bound(step)

    model = VAETransformer(objective=Watching(), max_iter=2, precision="tf32", random_state=0)
    model.fit(X)
    assert set(seen) == {"tf32"} and products() == "none"
    forward = type(model.vae_).infer

    def infer(self, *args, **kwargs):
        seen.append(products())
        return forward(self, *args, **kwargs)

    log_marginal = inference.log_marginal

    def watched(*args):
        seen.append(products())
        return log_marginal(*args)

    monkeypatch.setattr(type(model.vae_), "infer", infer)
    monkeypatch.setattr(inference, "log_marginal", watched)
    for call in (model.recalibrate, model.transform, model.score_samples, model.partial_fit):
        seen.clear()
        call(X)
        assert set(seen) == {"tf32"} and products() == "none", call.__name__


# ------------------------------------------------------------------------------------ forks

FORKED = "cannot use CUDA in process .* forked .* 'loky' .* 'spawn' .* device='cpu'"


@pytest.fixture
def bad_fork(monkeypatch):
    """A machine with two CUDA devices, used by this process: its forks cannot use them."""
    parent = os.getpid()
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: os.getpid() != parent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1"])
def test_cuda_in_a_fork_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RuntimeError, match=f"device='{name}' {FORKED}"):
        resolve_device(name)
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_fork_without_devices_takes_the_cpu(monkeypatch):
    """torch calls a fork bad as soon as its parent has counted devices, also to none."""
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


@can_fork
@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1", "cpu"])
def test_a_real_fork(name, bad_fork):
    assert resolve_device(name).type == ("cpu" if name == "cpu" else "cuda")
    result = in_fork(resolve_device, name)
    if name == "cpu":
        assert result == torch.device("cpu")
    else:
        assert isinstance(result, RuntimeError) and re.search(FORKED, str(result))


@can_fork
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_an_estimator_in_a_real_fork(cls, bad_fork):
    fitted = cls(max_iter=2, device="cpu", random_state=0).fit(X)
    scores = fitted.score_samples(X)
    assert_array_equal(in_fork(fitted.score_samples, X), scores)
    for error in (in_fork(cls().fit, X), in_fork(fitted.set_params(device="auto").score, X)):
        assert isinstance(error, RuntimeError)
        assert "device='auto' cannot use CUDA" in str(error)


@can_fork
def test_a_fork_has_no_part_in_what_its_parent_holds(two_threads):
    def limited():
        with arithmetic(3):
            return blas_threads()

    with arithmetic(1):
        assert in_fork(limited) == {3}
        assert blas_threads() == {1}


def test_the_device_is_looked_for_where_the_work_is(monkeypatch):
    """Not when an estimator is made, copied or sent: a worker may have what its parent has not."""

    def not_here(name):
        raise AssertionError("looked for in the parent")

    class Asking(VAETransformer):
        def _device(self):
            self.asked_ = self.device, os.getpid()
            return torch.device("cpu")

    def where(model, X, y=None):
        asked, process = model.asked_
        return float(asked == "cuda:7" and process == os.getpid() != parent)

    parent = os.getpid()
    monkeypatch.setattr("skvae._base.resolve_device", not_here)
    estimator = clone(Asking(max_iter=2, random_state=0).set_params(device="cuda:7"))
    repr(estimator)
    search = GridSearchCV(estimator, {"n_components": [1, 2]}, scoring=where, cv=2, n_jobs=2)
    with parallel_config("loky"):
        search.set_params(refit=False).fit(X)
    assert_array_equal(search.cv_results_["mean_test_score"], 1.0)
