"""Numeric conditions by pieces, where they act in turns, and only there."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAETransformer
from skvae.table.conditioned import ConditionedCodec
from skvae.table.pieces import Pieces


def hours(n=900, seed=0):
    """What a day does to two columns, and what a slope does to them."""
    rng = np.random.default_rng(seed)
    hour, slope = rng.uniform(0.0, 24.0, n), rng.normal(size=n)
    turn = 3.0 * np.sin(hour * np.pi / 6)
    rest = np.c_[turn + slope, turn - slope] + 0.3 * rng.normal(size=(n, 2))
    return pd.DataFrame({"hour": hour, "slope": slope, "a": rest[:, 0], "b": rest[:, 1]})


CONDITION = ["hour", "slope"]


def fitted(X, **params):
    params = {"condition": CONDITION, "max_iter": 20, "random_state": 0} | params
    return VAETransformer(2, **params).fit(X)


def test_pieces_are_linear_between_quantiles():
    x = np.linspace(-1.0, 3.0, 1001)[:, None]
    pieces = Pieces(x, np.ones(x.shape, dtype=bool), None)
    assert_allclose(pieces.edge, np.linspace(-1.0, 2.5, 8), atol=0.01)
    found = pieces(x)
    assert_allclose(found.mean(0), 0.0, atol=1e-6)
    assert_allclose(found.std(0), 1.0, atol=1e-5)
    bends = np.interp(x[:, 0], [-1.0, 0.0, 1.5, 3.0], [0.0, 2.0, -1.0, 4.0])
    design = np.c_[found, np.ones(len(x))]
    left = bends - design @ np.linalg.lstsq(design, bends, rcond=None)[0]
    assert np.abs(left).max() < 0.02
    assert_array_equal(pieces(np.array([[-9.0], [99.0]])), pieces(x[[0, -1]]))


def test_weights_count_rows():
    x, rng = np.random.default_rng(0).exponential(size=(400, 1)), np.random.default_rng(1)
    weight = rng.integers(1, 4, 400)
    seen = np.ones(x.shape, dtype=bool)
    by_weight = Pieces(x, seen, weight.astype(float))
    repeated = Pieces(np.repeat(x, weight, 0), np.repeat(seen, weight, 0), None)
    for name in ("edge", "width", "loc", "scale"):
        assert_allclose(getattr(by_weight, name), getattr(repeated, name), rtol=1e-9)


def test_few_rows_and_few_values_have_none():
    seen = np.ones((90, 2), dtype=bool)
    few = np.c_[np.arange(90.0), np.arange(90) % 2]
    assert len(Pieces(few, seen, None).columns) == 0
    many = np.tile(few, (10, 1))
    assert set(Pieces(many, np.tile(seen, (10, 1)), None).columns) == {0}


def test_only_a_column_that_acts_in_turns_comes_in_pieces():
    X = hours()
    codec = ConditionedCodec(CONDITION).fit(X)
    assert set(codec.pieces_.columns) == {codec.given_.modelled_names_.index("hour")}
    assert codec.n_conditions_ == 2 + len(codec.pieces_.columns)
    assert codec.encode(X).inputs.shape[1] == codec.n_inputs_ + codec.n_conditions_
    # Nor where the day does nothing.
    idle = X.assign(hour=X["hour"].sample(frac=1.0, random_state=0).to_numpy())
    assert len(ConditionedCodec(CONDITION).fit(idle).pieces_.columns) == 0
    weighted = ConditionedCodec(CONDITION).fit(X, np.where(X.index < 40, 1.0, 0.0))
    assert len(weighted.pieces_.columns) == 0


def test_models_follow_the_turns(monkeypatch):
    X, new = hours(), hours(seed=1)
    vae = fitted(X)
    drawn = vae.sample(condition=[{"hour": 3.0, "slope": 0.0}] * 300, random_state=0)
    assert abs(drawn["a"].mean() - 3.0) < 0.7
    assert (drawn["hour"] == 3.0).all()
    # By the number alone the model stays near a line.
    monkeypatch.setattr(Pieces, "useful", lambda self, *_: _emptied(self))
    assert vae.score(new) > fitted(X).score(new) + 0.5


def _emptied(pieces):
    for name in ("columns", "edge", "width", "loc", "scale"):
        setattr(pieces, name, getattr(pieces, name)[:0])
    return pieces


def test_a_missing_number_is_the_mean_in_pieces_too():
    X = hours()
    vae = fitted(X, max_iter=1)
    without, middle = X[:20].assign(hour=np.nan), X[:20].assign(hour=X["hour"].mean())
    assert_allclose(vae.transform(without), vae.transform(middle), atol=1e-4)


def test_pieces_in_a_graph():
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from skvae.export import feeds, to_onnx

    X = hours(300)
    vae = fitted(X, max_iter=1)
    assert len(vae.codec_.pieces_.columns)
    graph = to_onnx(vae, "score_samples").SerializeToString()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, feeds(session, X))
    assert_allclose(scores, vae.score_samples(X), rtol=1e-4, atol=1e-3)
