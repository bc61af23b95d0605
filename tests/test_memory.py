"""When memory is full: scores by fewer rows at once and a warning, training with a clear error.

A network that refuses more than so many cells stands for a device that is too small.
"""

import warnings
import weakref

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEOutlierDetector, VAESynthesizer, VAETransformer, _memory
from skvae.exceptions import DeviceMemoryError, SmallerBatchesWarning
from skvae.networks import MLP
from skvae.synthesis.model import GenerativeVAE

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
SMALL = {"max_iter": 2, "n_components": 2, "random_state": 0}


def table(n_rows=3000):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, 4)) + rng.normal(size=(n_rows, 4))


class Room:
    """Memory for so many rows, and what an allocator says beyond."""

    def __init__(self):
        self.rows, self.error = None, torch.OutOfMemoryError("CUDA out of memory.")
        self.seen = []

    def take(self, x):
        n = x[..., 0].numel()
        self.seen.append(n)
        if self.rows is not None and n > self.rows:
            raise self.error


class Small(MLP):
    """A network without the way by hand, on a device that has only so much room."""

    room = Room()

    def by_hand(self, parameters):
        return None

    def encode(self, inputs):
        self.room.take(inputs)
        return super().encode(inputs)

    def decode(self, z):
        self.room.take(z)
        return super().decode(z)


@pytest.fixture
def room():
    Small.room = Room()
    return Small.room


@pytest.fixture
def model(room):
    return VAETransformer(network=Small((8,)), **SMALL).fit(table(300))


CALLS = {
    "transform": lambda model, X: model.transform(X),
    "infer": lambda model, X: model.infer(X)[1],
    "score_samples": lambda model, X: model.score_samples(X),
    "reconstruct": lambda model, X: model.reconstruct(X),
    "inverse_transform": lambda model, X: model.inverse_transform(np.ones((len(X), 2))),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "mps", "numpy"],
)
def test_fewer_rows_at_once(call, error, model, room):
    X = table()
    room.seen.clear()
    expected = CALLS[call](model, X)
    most = max(room.seen)
    room.rows, room.error = most // 3, error
    room.seen.clear()
    with pytest.warns(SmallerBatchesWarning, match=r"Memory was full with \d+ rows.*and \d+ were"):
        found = CALLS[call](model, X)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert max(room.seen) <= most, "larger than before"
    # Each halving is tried once, not for every part anew.
    assert sum(n > room.rows for n in room.seen) <= 4


def test_draws_of_fewer_rows_are_draws(model, room):
    room.rows = 1000
    with pytest.warns(SmallerBatchesWarning):
        rows = model.sample(5000)
    assert rows.shape == (5000, 4) and np.isfinite(rows).all()
    assert_allclose(rows.mean(0), model.sample(900, random_state=1).mean(0), atol=0.5)


def test_a_detector_goes_on_too(room):
    X = table(400)
    detector = VAEOutlierDetector(network=Small((8,)), score_function="likelihood", **SMALL).fit(X)
    expected = detector.predict(X)
    room.rows = 100
    with pytest.warns(SmallerBatchesWarning):
        assert (detector.predict(X) == expected).mean() > 0.99


def test_a_synthesizer_goes_on_too(monkeypatch):
    X = table(200)
    synthesizer = VAESynthesizer(max_iter=1, critic=None, random_state=0).fit(X)
    condition = GenerativeVAE.condition

    def limited(self, cells, visible):
        if cells.shape[-2] > 50:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return condition(self, cells, visible)

    monkeypatch.setattr(GenerativeVAE, "condition", limited)
    with pytest.warns(SmallerBatchesWarning):
        rows = synthesizer.sample(300)
    assert rows.shape == (300, 4) and np.isfinite(rows).all()


def test_not_even_one_row(model, room):
    room.rows = 0
    with pytest.raises(
        DeviceMemoryError, match="one row at a time.*CUDA.*Use fewer n_draws.*'cpu'"
    ):
        model.transform(table())


def test_training_says_what_to_lower(room):
    room.rows = 20
    with pytest.raises(DeviceMemoryError, match=r"batches of 64 rows: .* Lower batch_size"):
        VAETransformer(network=Small((8,)), batch_size=64, init="random", **SMALL).fit(table(300))
    # It can be caught as what it is.
    assert issubclass(DeviceMemoryError, MemoryError)


def test_other_errors_pass(model, room):
    room.rows, room.error = 10, RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes cannot"):
        model.transform(table())
    with pytest.raises(RuntimeError, match="shapes cannot"):
        VAETransformer(network=Small((8,)), init="random", **SMALL).fit(table(300))


def test_with_room_nothing_is_said_or_changed(model, room):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(model.transform(table()), model.transform(table()))


def test_parts_come_in_order_and_once():
    done = []

    def work(start, stop, size):
        if size > 3:
            raise MemoryError
        done.append((start, stop))
        return start

    with pytest.warns(SmallerBatchesWarning):
        assert _memory.in_parts(work, 8, 10) == [0, 3, 6]
    assert done == [(0, 3), (3, 6), (6, 8)]
    assert _memory.in_parts(work, 0, 10) == []


def test_what_did_not_fit_is_let_go_before_less_is_tried():
    tried = []

    def work(start, stop, size):
        assert not [tensor for tensor in tried if tensor() is not None]
        tensor = torch.zeros(size)
        tried.append(weakref.ref(tensor))
        if size > 1:
            raise MemoryError
        return size

    with pytest.warns(SmallerBatchesWarning):
        assert _memory.in_parts(work, 2, 4) == [1, 1]
    assert len(tried) == 4
