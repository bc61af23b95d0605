"""Ways through code space: interpolation, traversal and the direction of an attribute."""

import numpy as np
import pandas as pd
import pytest
from components import small
from numpy.testing import assert_allclose, assert_array_equal

from skvae._decoding import INTERPOLATIONS
from skvae.posteriors import Joint, VectorQuantized
from skvae.table.classes import encoded_classes

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]


def rows_of_two_kinds(n=400, seed=0):
    """Two factors of their own columns; the attribute moves the first three by 2, -2 and 2."""
    rng = np.random.default_rng(seed)
    has = rng.random(n) < 0.5
    factor = rng.normal(size=(n, 2))
    first = (factor[:, :1] + 2.0 * has[:, None]) * [1.0, -1.0, 1.0]
    second = factor[:, 1:] * [1.0, 1.0, -1.0]
    return np.hstack([first, second]) + 0.2 * rng.normal(size=(n, 6)), has


@pytest.fixture(scope="module")
def two_kinds():
    X, has = rows_of_two_kinds()
    return small(hidden_layer_sizes=(32,), max_iter=60).fit(X), X, has


@pytest.mark.parametrize("method", sorted(INTERPOLATIONS))
def test_a_way_begins_and_ends_at_its_rows(two_kinds, method):
    vae, X, _ = two_kinds
    path = vae.interpolate(X[:2], 5, method=method)
    assert_array_equal(path[[0, -1]], vae.reconstruct(X[:2]))
    halfway = vae.inverse_transform(vae.transform(X[:2]).mean(0, keepdims=True))
    gap = np.abs(path[2] - halfway).max()
    assert gap < 1e-5 if method == "linear" else gap > 1e-3


def test_the_great_circle_keeps_the_norm_and_the_straight_line_does_not():
    rng = np.random.default_rng(0)
    start, stop = (z / np.linalg.norm(z) for z in rng.normal(size=(2, 50)))
    share = np.linspace(0.0, 1.0, 9)[:, None]
    norms = {name: np.linalg.norm(way(start, stop, share), axis=1)
             for name, way in INTERPOLATIONS.items()}  # fmt: skip
    assert_allclose(norms["spherical"], 1.0, atol=1e-6)
    assert norms["linear"].min() < 0.8


def test_a_traversal_moves_one_latent(two_kinds):
    vae, X, _ = two_kinds
    codes = np.repeat(vae.transform(X[:1]), 3, axis=0)
    codes[:, 1] = values = [-1.0, 0.0, 2.0]
    assert_array_equal(vae.traverse(X[:1], 1, values), vae.inverse_transform(codes))
    assert np.abs(vae.traverse(X[:1], 0, values) - vae.traverse(X[:1], 1, values)).max() > 0.1


def test_a_vector_is_worth_its_loadings_where_the_decoder_is_linear():
    X, has = rows_of_two_kinds()
    vae = small(hidden_layer_sizes=()).fit(X)
    vector, codes = vae.attribute_vector(X, has), vae.transform(X)
    moved = vae.inverse_transform(codes + vector) - vae.inverse_transform(codes)
    assert_allclose(moved, np.tile(vector @ vae.components_, (len(X), 1)), atol=1e-4)
    assert_allclose(codes[has].mean(0) - codes[~has].mean(0), vector, rtol=1e-5)
    assert np.linalg.norm(vector) > 0.5


def test_rows_are_given_the_attribute_and_keep_the_rest(two_kinds):
    vae, X, has = two_kinds
    without = X[~has]
    codes, vector = vae.transform(without), vae.attribute_vector(X, has)
    moved = (vae.inverse_transform(codes + vector) - vae.inverse_transform(codes)).mean(0)
    assert_allclose(moved[:3], [2.0, -2.0, 2.0], atol=0.5)
    assert np.abs(moved[3:]).max() < 0.3
    # Of labels that say nothing, the vector leads nowhere.
    shuffled = np.random.default_rng(0).permutation(has)
    there, here = (vae.attribute_vector(X, labels) for labels in (has, shuffled))
    assert np.linalg.norm(here) < 0.2 * np.linalg.norm(there)


def test_labels_in_any_form(two_kinds):
    vae, X, has = two_kinds
    vector = vae.attribute_vector(X, has)
    for labels in (has.astype(int), np.where(has, "yes", "no"), pd.Series(has)):
        assert_array_equal(vae.attribute_vector(X, labels), vector)
    assert_array_equal(vae.attribute_vector(X, ~has), -vector)
    some = np.where(np.arange(len(X)) < 200, has.astype(float), np.nan)
    assert_array_equal(vae.attribute_vector(X, some), vae.attribute_vector(X[:200], has[:200]))
    with pytest.raises(ValueError, match=r"got the classes \[0, 1, 2\]. Ask for one.*y == 2\."):
        vae.attribute_vector(X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match="at least two classes"):
        vae.attribute_vector(X, np.ones(len(X), int))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        vae.attribute_vector(X, has[:9])


def test_there_is_no_direction_between_categories():
    X, has = rows_of_two_kinds(100)
    quantized = small(posterior=VectorQuantized(n_codes=3), max_iter=2).fit(X)
    with pytest.raises(ValueError, match="direction between two of them leads nowhere"):
        quantized.attribute_vector(X, has)
    joint = small(posterior=Joint(n_categories=3), max_iter=2).fit(X)
    vector = joint.attribute_vector(X, has)
    assert_array_equal(vector[2:], 0.0)
    assert np.abs(vector[:2]).max() > 0.0


def test_vectors_go_with_conditions():
    X, has = rows_of_two_kinds()
    vae = small(condition=[5], hidden_layer_sizes=(32,), max_iter=40).fit(X)
    codes, vector = vae.transform(X), vae.attribute_vector(X, has)
    moved = vae.inverse_transform(codes + vector, condition=X)
    assert_array_equal(moved[:, 5], X[:, 5])
    assert (moved - vae.inverse_transform(codes, condition=X))[:, 0].mean() > 1.0


def test_classes_have_their_names_from_one_place():
    codes, names = encoded_classes([2, None, 0, -1, 2], "Example")
    assert codes.tolist() == [1, -1, 0, -1, 1] and names.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("dtype", "cells"),
    [("Int64", [3, 1]), ("boolean", [True, False]), ("string", ["v", "u"]), ("category", [1, 0])],
)
def test_classes_that_pandas_knows_to_be_missing(dtype, cells):
    y = pd.Series([*cells, None, cells[1]], dtype=dtype)
    codes, names = encoded_classes(y, "Example")
    assert codes.tolist() == [1, 0, -1, 0] and names.tolist() == sorted(cells)
