"""Cells that are drawn anew in training: where, how often, and what it is worth."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from components import SEEDS, of_member
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits

from skvae import VAETransformer, _fitting
from skvae.noise import Noise
from skvae.table import TableCodec
from skvae.training import Rows
from skvae.training.rows import split
from skvae.views import Binarized

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]


def mixed(n=400, seed=0):
    """A number, two shares of which one has gaps, a category; rows as they are trained on."""
    rng = np.random.default_rng(seed)
    shares = np.tile([0.2, 0.7], (n, 1)) + rng.uniform(-0.1, 0.1, (n, 2))
    X = pd.DataFrame({"size": rng.normal(size=n), "p": shares[:, 0], "q": shares[:, 1]})
    X["group"] = rng.choice(list("ab"), n)
    X.loc[::5, "q"] = np.nan
    codec = TableCodec(numeric="auto", column_kinds={"p": "binary", "q": "binary"}).fit(X)
    rows = Rows.from_arrays(codec.encode(X), codec.log_scale_, None, "cpu")
    return rows, codec


def attached(rows, codec, seed=0):
    view = Binarized()
    return view, view.attach(rows, codec, np.random.RandomState(seed))


def test_draws_have_the_probabilities_and_inputs_are_those_of_the_codec():
    rows, codec = mixed()
    view, drawn = attached(rows, codec)
    batch = drawn.take(torch.arange(len(drawn.values)).repeat(2, 1))
    noise, total = Noise(SEEDS), 0.0
    for _ in range(200):
        again = view.redrawn(batch, noise)
        total = total + again.values[..., view.cells]
        seen = codec.inputs(again.values[0, 0].numpy(), batch.mask[0, 0].numpy())
        assert_allclose(again.inputs[0, 0], seen, atol=1e-5)
    assert set(np.unique(again.values[..., view.cells])) == {0.0, 1.0}
    assert_allclose((total / 200).mean((0, 1, 2)), drawn.shares.mean(0), atol=0.01)
    # The others are as they were, and what is missing stays so.
    kept = [j for j in range(batch.values.shape[-1]) if j not in range(4)[view.cells]]
    assert_array_equal(again.values[..., kept], batch.values[..., kept])
    assert not again.values[~batch.mask].any()


def test_shares_go_with_their_rows():
    view, drawn = attached(*mixed())
    order = torch.randperm(len(drawn.values)).repeat(2, 1)
    batch = drawn.take(order)
    assert_array_equal(batch.shares[0, 0], drawn.shares[order[0]])
    first, second = split(batch, [150, 250])
    assert_array_equal(torch.cat([first.shares, second.shares], 2), batch.shares)


def test_a_member_of_a_stack_draws_what_it_draws_alone():
    view, drawn = attached(*mixed())
    batch = drawn.take(torch.arange(50).repeat(2, 1))
    stack = view.redrawn(batch, Noise(SEEDS))
    assert (stack.values[0] != stack.values[1]).any()
    for member, seed in enumerate(SEEDS):
        one = replace(of_member(batch, member), shares=batch.shares[member : member + 1])
        alone = view.redrawn(one, Noise([seed]))
        assert_array_equal(alone.values[0], stack.values[member])
        assert_array_equal(alone.inputs[0], stack.inputs[member])


def test_zeros_and_ones_are_what_they_are():
    rows, codec = mixed()
    rows = replace(rows, values=rows.values.round(), mask=None)
    view, drawn = attached(rows, codec)
    assert_array_equal(drawn.values, rows.values)
    batch = drawn.take(torch.arange(9)[None])
    assert_array_equal(view.redrawn(batch, Noise([0])).values, batch.values)


def test_only_training_draws(monkeypatch):
    X = load_digits().data[:100] / 16
    redrawn, asked = Binarized.redrawn, []

    def watched(self, batch, noise):
        asked.append(len(batch.values))
        return redrawn(self, batch, noise)

    vae = VAETransformer(2, likelihood="bernoulli", view="binarized", max_iter=2, random_state=0)
    vae.fit(X)
    again = pickle.loads(pickle.dumps(vae))
    monkeypatch.setattr(Binarized, "redrawn", watched)
    rows = X > 0.5
    assert_array_equal(again.score_samples(rows), vae.score_samples(rows))
    assert_array_equal(vae.score_samples(rows)[3:5], vae.score_samples(rows[3:5]))
    assert not asked
    assert_array_equal(vae.fit(X).score_samples(rows), again.score_samples(rows))
    assert asked


def test_what_stands_beside_the_cells_stays(monkeypatch):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.random((60, 3)), columns=list("abc"))
    X["group"] = rng.choice(["x", "y"], 60)
    redrawn, beside = Binarized.redrawn, []

    def watched(self, batch, noise):
        again = redrawn(self, batch, noise)
        assert (again.inputs[..., :3] != batch.inputs[..., :3]).any()
        beside.append((batch.inputs[..., 3:], again.inputs[..., 3:]))
        return again

    monkeypatch.setattr(Binarized, "redrawn", watched)
    kinds = dict.fromkeys("abc", "binary")
    settings = {"view": "binarized", "column_kinds": kinds, "max_iter": 1, "random_state": 0}
    VAETransformer(1, condition="group", **settings).fit(X)
    classes = np.tile([0, 1, -1], 20)
    VAETransformer(1, supervision="classes", **settings).fit(X.drop(columns="group"), classes)
    assert {before.shape[-1] for before, _ in beside} == {2}
    for before, after in beside:
        assert_array_equal(before, after)


def test_calibration_is_to_rows_drawn_once():
    grey = np.random.default_rng(0).random((200, 6))
    vae = VAETransformer(
        2, objective="elbo", likelihood="bernoulli", view="binarized", max_iter=3, random_state=0
    )
    vae.partial_fit(grey).partial_fit(grey)
    parts = []
    calibrate = _fitting.calibrate

    def noted(vae, rows, *args):
        parts.append(rows.values)
        return calibrate(vae, rows, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fitting, "calibrate", noted)
        vae.recalibrate(grey)
        clone(vae).fit(grey)
    assert all(set(np.unique(values)) == {0.0, 1.0} for values in parts)
    assert len(parts) == 2


def held_out_scores(grey, test, **params):
    vae = VAETransformer(
        8, objective="elbo", prior="normal", likelihood="bernoulli", init="random",
        calibrate=False, early_stopping=False, weight_decay=0.0, max_iter=200, random_state=0,
        **params,
    )  # fmt: skip
    return vae.fit(grey).score(test)


def test_rows_drawn_anew_hold_off_what_one_drawing_teaches():
    rng = np.random.default_rng(0)
    grey = load_digits().data / 16
    train, test = grey[:200], grey[200:600]
    test = (rng.random(test.shape) < test).astype(float)
    once = (rng.random(train.shape) < train).astype(float)
    anew = held_out_scores(train, test, view="binarized")
    assert anew > held_out_scores(once, test, view=None) + 1.0
    # Of zeros and ones there is nothing to draw.
    assert anew > held_out_scores(once, test, view="binarized") + 1.0


@pytest.mark.parametrize("X", [np.eye(20, 3) + 0.1, np.random.default_rng(0).normal(size=(20, 3))])
def test_tables_without_shares_are_refused(X):
    with pytest.raises(ValueError, match="Binarized.*likelihood='bernoulli'"):
        VAETransformer(1, view="binarized", max_iter=1).fit(X)


def test_sparse_tables_are_refused():
    from scipy.sparse import csr_matrix

    X = csr_matrix(np.eye(20, 3))
    with pytest.raises(ValueError, match="toarray"):
        VAETransformer(1, likelihood="bernoulli", view="binarized", max_iter=1).fit(X)
