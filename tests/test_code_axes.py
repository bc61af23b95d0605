"""Axes of codes: order, direction and unit, exactly where the model is linear."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from skvae import VAETransformer
from skvae import distributions as D
from skvae._pass import Batch
from skvae.code_axes import PART_ROWS, CodeAxes, Effects, _slopes
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
    assert_allclose(np.abs(white.transform(X)), np.abs(white._infer(X)[0][:, white._axes.order]))
    assert plain.transform(X).std(0).std() > 0.1, "negative control: the units do differ"


def crossed(n=4000, turn=0.7, seed=0):
    """Rows of a linear decoder, four of whose factors change the same cells."""
    rng = np.random.default_rng(seed)
    loadings = np.linalg.qr(rng.normal(size=(10, 4)))[0].T
    loadings[1] = turn * loadings[0] + np.sqrt(1 - turn**2) * loadings[1]
    factors = rng.normal(size=(n, 4))
    return factors * [2.0, 1.9, 1.6, 0.6] @ loadings + 0.05 * rng.normal(size=(n, 10))


class Planted:
    """Just as much of a model as the axes ask for: a linear decoder of given slopes."""

    def __init__(self, slopes):
        self.slopes = torch.as_tensor(slopes)
        self.likelihood = SimpleNamespace(kinds=["continuous"], widths=[slopes.shape[1]])

    def infer(self, inputs):
        return SimpleNamespace(mean=inputs)

    def conditions(self, inputs):
        return None

    def decode(self, codes, conditions):
        return SimpleNamespace(parts=[D.Normal(codes @ self.slopes, torch.ones(()))])


def planted(turned=True, n=600, seed=0):
    """Codes, the rows that a decoder makes of them whose slopes are not orthogonal, and axes."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=(3, 8))
    slopes[1] += 2.0 * slopes[0]
    codes = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.0, 0.4], [0.0, 0.7, 0.0], [0.0, 0.0, 0.5]])
    rows = codes @ slopes
    batch = Batch(*(torch.as_tensor(a)[None, None] for a in (codes, rows)), None, None)
    effects = Effects(Planted(slopes), batch)
    axes = CodeAxes.principal(effects, batch) if turned else CodeAxes.of_latents(effects)
    return codes, rows, axes


def test_codes_are_as_far_apart_as_the_rows_of_a_linear_decoder():
    codes, rows, axes = planted()
    given = axes.outward(codes.copy())
    assert_allclose(pdist(given), pdist(rows), rtol=1e-6)
    scores = PCA(3).fit_transform(rows)
    assert_allclose(np.abs(given - given.mean(0)), np.abs(scores), atol=1e-6 * scores.std())
    assert_allclose(axes.variance, given.var(0), rtol=1e-6)
    assert_allclose(axes.inward(given.copy()), codes, atol=1e-8)
    own = planted(turned=False)[2]
    error = pdist(own.outward(codes.copy())) / pdist(rows)
    assert error.max() > 1.3 or error.min() < 0.7, "negative control: a unit of each latent"


def test_axes_end_in_one_of_three_ways():
    codes, rows, turned = planted()
    batch = Batch(*(torch.as_tensor(a)[None, None] for a in (codes, rows)), None, None)
    effects = Effects(Planted(np.linalg.lstsq(codes, rows, rcond=None)[0]), batch)
    own, white = CodeAxes.of_latents(effects), CodeAxes.of_latents(effects, whiten=True)
    kept = CodeAxes.of_model(effects)
    assert_array_equal(kept.outward(codes.copy()), codes)
    assert_array_equal(np.abs(white.unit), 1.0)
    assert_array_equal(np.sign(white.unit), np.sign(own.unit))
    for axes in (own, white):
        assert_array_equal(axes.variance, kept.variance[axes.order])
        assert np.all(np.diff(axes.variance) <= 0)
    nats = np.array([0.1, 0.3, 0.2])
    assert_array_equal(CodeAxes.of_latents(effects, nats).order, [1, 2, 0])
    assert turned.directions is not None and own.directions is kept.directions is None
    for axes in (kept, own, white, turned):
        assert_allclose(axes.steps, axes.inward(np.eye(3)), atol=1e-12)


def test_axes_of_latents_that_change_cells_apart_are_the_latents():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(512, 4))
    codes = np.linalg.qr(codes - codes.mean(0))[0] * 512**0.5
    slopes = np.linalg.qr(rng.normal(size=(8, 4)))[0].T * np.array([[1.0], [4.0], [2.0], [3.0]])
    batch = Batch(*(torch.as_tensor(a)[None, None] for a in (codes, codes @ slopes)), None, None)
    axes = CodeAxes.principal(Effects(Planted(slopes), batch), batch)
    assert_allclose(np.abs(axes.directions), np.eye(4)[:, [1, 3, 2, 0]], atol=1e-6)


def test_components_of_a_fit_are_uncorrelated_and_hold_over_seeds():
    X = crossed()
    found = []
    for seed in (0, 1):
        vae = VAETransformer(3, max_iter=30, random_state=seed).fit(X)
        found.append(vae.transform(X))
    assert np.all(np.diff(vae.explained_) <= 0)
    off = np.corrcoef(found[0].T) - np.eye(3)
    assert np.abs(off).max() < 0.1
    apart = pdist(found[0][:300]) / pdist(vae.codec_.encode(X[:300]).values)
    assert np.abs(apart / np.median(apart) - 1.0).mean() < 0.1
    for a, b in zip(found[0].T, found[1].T):
        assert np.corrcoef(a, b)[0, 1] > 0.97


def test_nats_are_shared_out_as_gaussian_channels_would():
    axes = planted()[2]
    noise = 0.3
    by_hand = 0.5 * np.log1p(axes.variance / noise)
    of_latents = np.array([0.2, 0.5, 0.3]) * by_hand.sum()
    assert_allclose(axes.nats(of_latents), by_hand, rtol=1e-6)
    own = planted(turned=False)[2]
    assert_array_equal(own.nats(of_latents), of_latents[own.order])
    assert_array_equal(axes.nats(np.zeros(3)), np.zeros(3))
    far = axes.nats(np.full(3, 400.0))
    assert np.all(np.isfinite(far)) and far.sum() == pytest.approx(1200.0)
    # Of a posterior that has all but collapsed.
    for nats in 10.0 ** np.arange(-20.0, -8.0):
        assert axes.nats(np.full(3, nats)).sum() == pytest.approx(3.0 * nats)


def test_all_nats_are_those_of_the_latents():
    vae = VAETransformer(6, max_iter=20, random_state=0).fit(load_digits().data[:400])
    of_latents = vae.diagnostics_["kl_per_latent"]
    assert vae.explained_.sum() == pytest.approx(of_latents.sum(), rel=1e-6)
    assert np.all(np.diff(vae.explained_) <= 0) and np.all(np.diff(vae.explained_variance_) <= 0)
    assert not np.allclose(vae.explained_, of_latents, rtol=0.02), "negative control"


def test_a_row_has_the_same_code_whatever_the_others_are():
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    axes = CodeAxes(np.arange(8), np.ones(8), np.ones(8), turned)
    codes = rng.normal(size=(PART_ROWS + 700, 8)).astype(np.float32)
    whole = axes.outward(codes.copy())
    for n in (1, 2, 5, 63, 64, 65, 200, 1000, PART_ROWS, PART_ROWS + 3):
        assert_array_equal(axes.outward(codes[:n].copy()), whole[:n])
        assert_array_equal(axes.outward(codes[-n:].copy()), whole[-n:])


def test_penalties_and_prior_units_keep_the_latents():
    X = load_digits().data[:200]
    for params in (dict(penalty="mmd"), dict(whiten=True)):
        vae = VAETransformer(4, max_iter=3, random_state=0, **params).fit(X)
        assert vae._axes.directions is None
        ratio = vae.transform(X) / vae._infer(X)[0][:, vae._axes.order]
        assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-5)


def test_axes_of_an_earlier_version_are_read():
    """Their files know of no directions."""
    axes = CodeAxes.__new__(CodeAxes)
    vars(axes).update(order=np.array([1, 0]), unit=np.array([2.0, -1.0]), variance=np.ones(2))
    again = pickle.loads(pickle.dumps(axes))
    assert_array_equal(again.outward(np.array([[3.0, 5.0]])), [[10.0, -3.0]])
    assert_array_equal(again.inward(np.array([[10.0, -3.0]])), [[3.0, 5.0]])


def units_by_hand(X, **params):
    """Units of codes, and what all that changes and a straight line would each give."""
    params = dict(max_iter=30, early_stopping=False, random_state=0) | params
    vae = VAETransformer(6, **params).fit(X)
    codes = vae.transform(X)
    cells = vae.codec_.encode(vae.inverse_transform(codes)).values
    unit = np.abs(vae._axes.unit)
    line = unit * np.linalg.norm(LinearRegression().fit(codes, cells).coef_, axis=0)
    return unit, unit * np.sqrt(vae.explained_variance_) / codes.std(0), line


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
    slopes = np.abs(_slopes(codes, codes[:, :1] ** 2))
    assert slopes[1] > 100 * slopes[0], "negative control: such a line is steep"
    assert _slopes(codes[:7], codes[:7]) is None, "rows too few for lines"


@pytest.mark.parametrize("whiten", [False, True])
def test_the_way_back_undoes_the_axes(whiten):
    X = load_digits().data[:300]
    vae = VAETransformer(6, whiten=whiten, max_iter=10, random_state=0).fit(X)
    loc, scale = vae.infer(X)
    raw_loc, raw_scale = vae._infer(X)
    assert_allclose(vae.inverse_transform(loc), vae._decode(raw_loc), rtol=1e-4, atol=1e-4)
    order, unit, directions = vae._axes.order, vae._axes.unit, vae._axes.directions
    assert (directions is None) == whiten and sorted(order) == list(range(6))
    directions = np.eye(6)[:, order] if whiten else directions
    assert_allclose(loc, raw_loc @ directions * unit, rtol=1e-4, atol=1e-5)
    variance = raw_scale**2 @ directions**2 * unit**2
    assert_allclose(scale, np.sqrt(variance), rtol=1e-5)
    assert_allclose(vae._axes.inward(loc.copy()), raw_loc, rtol=1e-4, atol=1e-5)


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


def test_sensitivities_follow_turned_axes():
    X = load_digits().data[:300]
    vae = VAETransformer(4, max_iter=20, random_state=0).fit(X)
    assert np.abs(vae._axes.directions).max(0).min() < 0.95, "the axes are no latents"
    codes, found = vae.transform(X), vae.sensitivities(X)
    rms = vae.sensitivities(X, statistic="rms")
    for k in range(4):
        step = 0.05 * codes.std(0)[k] * np.eye(4, dtype=np.float32)[k]
        moved = vae.inverse_transform(codes + step) - vae.inverse_transform(codes - step)
        slopes = moved / (2.0 * step[k])
        assert_allclose(found[k], slopes.mean(0), atol=0.02 * np.abs(found).max())
        assert_allclose(rms[k], np.sqrt((slopes**2).mean(0)), atol=0.02 * rms.max())


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
