"""Axes of codes: order, direction and unit, exactly where the model is linear."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from skvae import VAETransformer
from skvae.code_axes import _slopes
from skvae.likelihoods import Normal
from skvae.objectives import ELBO


def linear(**params):
    exact = dict(objective="elbo", view=None, weight_decay=0.0, calibrate=False, random_state=0)
    return VAETransformer(
        hidden_layer_sizes=(), max_iter=1, learning_rate_init=1e-9, **exact | params
    )


def table(n=2000, seed=0):
    """Three factors of falling strength in ten standardised columns."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(10, 3)))[0]
    X = rng.normal(size=(n, 3)) * [1.5, 2.0, 1.2] @ directions.T + 0.3 * rng.normal(size=(n, 10))
    return (X - X.mean(0)) / X.std(0)


def test_codes_of_a_linear_model_are_principal_components():
    X = table()
    vae = linear(n_components=3, early_stopping=False).fit(X)
    codes, scores = vae.transform(X), PCA(3).fit_transform(vae.codec_.encode(X).values)
    for k in range(3):
        assert abs(np.corrcoef(codes[:, k], scores[:, k])[0, 1]) > 0.99
    # The posterior mean shrinks what PCA keeps.
    assert_allclose(codes.std(0), scores.std(0), rtol=0.1)
    assert_allclose(vae.explained_variance_, codes.var(0), rtol=0.2)
    assert np.all(np.diff(vae.explained_) <= 0)


def test_whitened_codes_are_in_units_of_the_prior():
    X = table()
    plain, white = linear(n_components=3).fit(X), linear(n_components=3, whiten=True).fit(X)
    assert_allclose(white.transform(X).std(0), 1.0, atol=0.1)
    ratio = plain.transform(X) / white.transform(X)
    assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-4)
    assert ratio.std() > 0.1, "negative control: the units do differ"


def units_by_hand(X, **params):
    """Units of codes, and what all that changes and a straight line would each give."""
    params = dict(max_iter=30, early_stopping=False, random_state=0) | params
    plain, white = (VAETransformer(6, whiten=w, **params).fit(X) for w in (False, True))
    codes, prior = plain.transform(X), white.transform(X)
    cells = plain.codec_.encode(plain.inverse_transform(codes)).values
    line = np.linalg.norm(LinearRegression().fit(prior, cells).coef_, axis=0)
    total = np.sqrt(plain.explained_variance_) / prior.std(0)
    return codes.std(0) / prior.std(0), total, line


def test_units_are_between_all_that_changes_and_what_changes_in_a_line():
    unit, total, line = units_by_hand(load_digits().data[:400])
    assert_allclose(unit, np.sqrt(total * line), rtol=0.02)
    assert np.abs(unit / total - 1.0).max() > 0.04, "negative control: this decoder bends"


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_lines_of_latents_that_say_little_do_not_set_units():
    unit, total, line = units_by_hand(load_digits().data[:400], objective=ELBO(beta=30.0))
    assert np.all(unit <= 3.01 * total)
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(400, 2)) * [1.0, 1e-4]
    slopes = _slopes(codes, codes[:, :1] ** 2)
    assert slopes[1] > 100 * slopes[0], "negative control: such a line is steep"
    assert _slopes(codes[:7], codes[:7]) is None, "rows too few for lines"


@pytest.mark.parametrize("whiten", [False, True])
def test_the_way_back_undoes_the_axes(whiten):
    X = load_digits().data[:300]
    vae = VAETransformer(6, whiten=whiten, max_iter=10, random_state=0).fit(X)
    loc, scale = vae.infer(X)
    raw_loc, raw_scale = vae._infer(X)
    assert_allclose(vae.inverse_transform(loc), vae._decode(raw_loc), rtol=1e-4, atol=1e-4)
    order, unit = vae._axes.order, vae._axes.unit
    assert_allclose(loc, raw_loc[:, order] * unit, rtol=1e-5)
    assert_allclose(scale, raw_scale[:, order] * np.abs(unit), rtol=1e-5)
    assert sorted(order) == list(range(6)) and np.all(scale > 0)


def test_signs_do_not_depend_on_the_seed():
    X = table()
    first = linear(n_components=3).fit(X).transform(X)
    second = linear(n_components=3).set_params(random_state=7).fit(X).transform(X)
    for k in range(3):
        assert np.corrcoef(first[:, k], second[:, k])[0, 1] > 0.99


def test_sensitivities_are_per_unit_of_the_given_codes():
    X = table()
    vae = linear(n_components=3).fit(X)
    base = np.zeros((1, 3))
    for k in range(3):
        moved = vae.inverse_transform(base + np.eye(3)[k]) - vae.inverse_transform(base)
        assert_allclose(vae.components_[k], moved[0], rtol=1e-3, atol=1e-5)


def test_codes_stay_where_they_are_in_the_second_part():
    X = load_digits().data[:400]
    params = dict(max_iter=20, random_state=0)
    with_second = VAETransformer(4, **params).fit(X)
    without = VAETransformer(4, calibrate=False, **params).fit(X)
    assert_array_equal(with_second._infer(X)[0], without._infer(X)[0])
    assert np.abs(with_second._infer(X)[1] - without._infer(X)[1]).max() > 1e-3
    assert with_second.score(X) > without.score(X)


def test_second_part_learns_a_noise_per_column():
    rng = np.random.default_rng(0)
    noise = np.repeat([0.2, 0.8], 5)
    X = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 10)) + noise * rng.normal(size=(1500, 10))
    vae = VAETransformer(2, likelihood=Normal("shared"), random_state=0).fit(X)
    found = np.array(list(vae.diagnostics_["noise_scale"].values()))
    assert found[:5].max() < found[5:].min()
    assert_allclose(found[5:], 0.8, rtol=0.15)
    fixed = VAETransformer(2, likelihood=Normal(0.5), random_state=0).fit(X)
    found = np.array(list(fixed.diagnostics_["noise_scale"].values()))
    assert_allclose(found / np.exp(fixed.codec_.log_scale_), 0.5, rtol=1e-5)


def test_training_stops_on_what_it_minimises():
    X = load_digits().data[:400]
    light = VAETransformer(8, objective=ELBO(beta=0.01), random_state=0).fit(X)
    history = light.history_
    loss, bound = history["validation_loss"], history["validation_bound"]
    assert light.best_epoch_ == int(np.argmin(loss)) + 1
    assert light.best_epoch_ > int(np.argmax(bound)) + 1, "negative control"


def test_axes_survive_a_stream_of_batches():
    X = load_digits().data[:300]
    vae = VAETransformer(4, random_state=0).partial_fit(X)
    axes = vae._axes
    vae.partial_fit(X)
    assert vae._axes is axes
    assert clone(vae).get_params() == vae.get_params()


def test_axes_of_a_map_stay_and_say_what_they_explain():
    X = load_digits().data[:200]
    vae = VAETransformer(2, penalty="neighbors", max_iter=5, random_state=0).fit(X)
    assert_array_equal(vae.transform(X), vae._infer(X)[0])
    assert np.all(vae.explained_variance_ > 0) and not np.allclose(vae.explained_variance_, 1.0)
