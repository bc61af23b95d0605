"""Rows of numbers that an encoder reads directly: the same codes, whatever is beside them."""

import pickle
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

from skvae import VAETransformer
from skvae.inference import encode
from skvae.penalties import NeighborGraph, cells
from skvae.reading import DirectReader, Reader
from skvae.table import TableCodec
from skvae.table.units import LARGEST_MEAN


def table(n=300, n_columns=6, seed=0):
    """Correlated numbers of different units, and a column where nothing varies."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, n_columns))
    X = rng.normal(size=(n, 3)) @ mixing + 0.3 * rng.normal(size=(n, n_columns))
    X = X * np.logspace(-1, 1, n_columns) + np.linspace(-0.2, 0.3, n_columns)
    X[:, 2] = 5.0
    return X.astype(np.float32)


MODELS = {
    "plain": dict(n_components=2),
    "skip": dict(n_components=8),
    "linear": dict(n_components=2, hidden_layer_sizes=()),
    "stack": dict(n_components=2, n_members=2),
    "kept": dict(n_components=2, penalty="neighbors"),
    "cells": dict(n_components=2, penalty=NeighborGraph(keep_neighbors=False)),
}
FITTED = {}


def fitted(name):
    if name not in FITTED:
        # Of wide rows distances are those of principal components.
        X = table(150, 120) if name in ("kept", "cells") else table()
        vae = VAETransformer(random_state=0, max_iter=3, **MODELS[name])
        with patch.object(cells, "N_STEPS", 20):
            FITTED[name] = vae.fit(X), X
    return FITTED[name]


def reader_of(vae):
    return Reader.of(vae._coder(), vae.codec_, torch.device("cpu"))


@pytest.mark.parametrize("name", MODELS)
def test_codes_are_those_of_standardised_rows(name):
    vae, X = fitted(name)
    assert type(reader_of(vae)) is DirectReader
    loc, scale = vae._infer(X)
    expected = encode(vae._coder(), vae.codec_.encode(X).inputs, torch.device("cpu"))
    np.testing.assert_allclose(loc, expected[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(scale, expected[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_has_the_same_bits_alone_and_beside_any_other(name):
    vae, X = fitted(name)
    codes = vae.transform(X)
    for row in (0, 7):
        np.testing.assert_array_equal(vae.transform(X[row : row + 1])[0], codes[row])
    others = X.copy()
    others[1, 0], others[2, 3], others[3, 2], others[4] = np.nan, 1e30, np.nan, np.nan
    beside = vae.transform(others)
    assert np.isfinite(beside).all()
    np.testing.assert_array_equal(beside[5:], codes[5:])
    np.testing.assert_array_equal(beside[:1], codes[:1])
    # The strange ones alone, too.
    for row in range(1, 5):
        np.testing.assert_array_equal(vae.transform(others[row : row + 1])[0], beside[row])


@pytest.mark.parametrize("name", ["plain", "cells"])
def test_strange_rows_go_by_way_of_the_codec(name):
    vae, X = fitted(name)
    X = X[:5].copy()
    X[1, 0], X[2, 3] = np.nan, 1e30
    expected = encode(vae._coder(), vae.codec_.encode(X).inputs, torch.device("cpu"))[0]
    np.testing.assert_array_equal(vae._infer(X)[0][1:3], expected[1:3])


def test_what_holds_the_numbers_does_not_matter():
    vae, X = fitted("plain")
    codes = vae.transform(X)
    same = [X.astype(np.float64), np.asfortranarray(X), np.repeat(X, 2, 1)[:, ::2], X.tolist()]
    for other in [*same, X.astype(">f4"), X.astype(np.longdouble)]:
        np.testing.assert_array_equal(vae.transform(other), codes)
    whole = np.rint(X)
    np.testing.assert_array_equal(vae.transform(whole.astype(int)), vae.transform(whole))
    frame = pd.DataFrame(X, columns=list("abcdef"))
    of_frames = VAETransformer(2, random_state=0, max_iter=3).fit(frame)
    assert type(reader_of(of_frames)) is DirectReader
    np.testing.assert_array_equal(of_frames.transform(frame), codes)
    frame.iloc[1, 0] = X[1, 0] = np.nan
    np.testing.assert_array_equal(of_frames.transform(frame), vae.transform(X))


def test_infinite_cells_are_refused_in_the_same_words():
    vae, X = fitted("plain")
    X = X.copy()
    X[3, 0], X[4, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        vae.transform(X)
    with pytest.raises(ValueError, match="X has 5 features, but VAETransformer is expecting 6"):
        vae.transform(X[:3, :5])


def test_many_rows_come_in_parts():
    vae, X = fitted("cells")
    X = np.tile(X, (20, 1))
    codes = vae.transform(X)
    np.testing.assert_array_equal(codes, np.tile(codes[: len(X) // 20], (20, 1)))


def with_gaps(X):
    X = X.copy()
    X[0, 0] = np.nan
    return X


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "change, settings",
    [
        (with_gaps, {}),
        (lambda X: X + [1e3, 0, 0, 0, 0, 0], {}),
        (lambda X: X, {"margins": "rank"}),
        (lambda X: X, {"condition": [0]}),
        (lambda X: np.abs(X).round(), {"likelihood": "poisson"}),
        (lambda X: X > 0, {}),
        (lambda X: X * [1e-15, 1e15, 1, 1, 1, 1], {}),
    ],
)
def test_other_tables_are_read_by_the_codec(change, settings):
    X = change(table())
    vae = VAETransformer(2, random_state=0, max_iter=2, **settings).fit(X)
    assert type(reader_of(vae)) is Reader
    codes = vae.transform(X)
    expected = encode(vae._coder(), vae.codec_.encode(X).inputs, torch.device("cpu"))[0]
    np.testing.assert_array_equal(codes, vae._axes.outward(expected))


def test_units_are_taken_in_only_where_means_are_small():
    # A layer that has taken in the mean of many scales loses the digits that the mean has.
    def error(mean):
        rng = np.random.default_rng(0)
        # The scale of normal numbers is a third of their range.
        X = rng.normal(size=(200, 4))
        X = (X / (np.ptp(X, axis=0) / 3.0) + mean).astype(np.float32)
        codec = TableCodec().fit(X)
        units = codec.arrangement.units
        if units is None:
            return None
        weight = rng.normal(size=(1, 4, 3)).astype(np.float32)
        taken, offset = units.taken_in(weight)
        exact = codec.encode(X).values.astype(np.float64) @ weight[0].astype(np.float64)
        return np.abs(X @ taken[0] + offset[0] - exact).max()

    assert error(0.0) < 1e-6 and error(0.9 * LARGEST_MEAN) < 1e-5
    assert error(1.1 * LARGEST_MEAN) is None


def test_columns_are_arranged_anew_by_fit_and_left_out_of_pickles():
    X = table()
    codec = TableCodec().fit(X)
    values = codec.encode(X).values
    assert codec.arrangement is codec.arrangement
    other = pickle.loads(pickle.dumps(codec))
    assert "_arranged" in vars(codec) and "_arranged" not in vars(other)
    np.testing.assert_array_equal(other.encode(X).values, values)
    codec.fit(2.0 * X + 1.0)
    np.testing.assert_allclose(codec.encode(2.0 * X + 1.0).values, values, atol=1e-5)
