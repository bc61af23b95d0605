"""The mixture that is fitted to the codes, and the linear model that training starts at."""

import numpy as np
import pytest
import torch
from components import SEEDS, over, tiny_vae
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from skvae import VAETransformer, expectation_maximization
from skvae import distributions as D
from skvae._component import Shapes
from skvae.expectation_maximization import FittedMixture
from skvae.factor_model import linear_model
from skvae.noise import Noise
from skvae.priors import Aggregate
from skvae.training import Rows, start, start_at_linear_model

# Covariances are full or diagonal; full ones come from products of latents or one by one.
ROADS = {"products": (True, 32), "components": (True, 0), "diagonal": (False, 32)}


@pytest.fixture(params=ROADS.values(), ids=ROADS)
def full(request, monkeypatch):
    """Whether covariances are full, on each road in turn."""
    full, limit = request.param
    monkeypatch.setattr(expectation_maximization, "MAX_PRODUCT_LATENTS", limit)
    return full


def clusters(n=600, n_clusters=3, n_latents=4, distance=30.0, seed=0):
    """Correlated clusters and the cluster of each row, the clusters of different sizes."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1.0, n_clusters + 1)
    label = rng.choice(n_clusters, size=n, p=shares / shares.sum())
    mixing = rng.normal(size=(n_clusters, n_latents, n_latents))
    noise = np.einsum("nl,nlk->nk", rng.normal(size=(n, n_latents)), mixing[label])
    return noise + distance * rng.normal(size=(n_clusters, n_latents))[label], label


def blurred(n=800, n_latents=3, seed=0):
    """Clusters that run into one another."""
    return clusters(n, 4, n_latents, distance=1.0, seed=seed)[0]


def matrices(fit):
    """Whitening matrices, also where the covariances are diagonal."""
    whitening = fit.whitening
    return whitening if whitening.ndim == 3 else whitening[..., None] * np.eye(whitening.shape[1])


def covariances(fit):
    inverse = np.linalg.inv(matrices(fit))
    return inverse.swapaxes(1, 2) @ inverse


def log_density(fit, codes):
    """By the distribution that the prior gives, in float64."""
    parts = (np.log(fit.weights), fit.means, matrices(fit))
    mixture = D.NormalMixture(*(torch.as_tensor(part)[None] for part in parts))
    value = torch.as_tensor(codes, dtype=torch.float64)[None, None]
    return mixture.log_prob(value)[0, 0].numpy()


def as_sklearn(fit, **params):
    kind = "full" if fit.whitening.ndim == 3 else "diag"
    mixture = GaussianMixture(len(fit.weights), covariance_type=kind, **params)
    mixture.weights_, mixture.means_ = fit.weights, fit.means
    mixture.precisions_cholesky_ = fit.whitening
    return mixture


# --------------------------------------------------------------------------------- the mixture


def test_planted_clusters_are_recovered(full):
    codes, label = clusters()
    fit = FittedMixture.fit(codes, 3, seed=0, full=full)
    order = [np.abs(fit.means - codes[label == k].mean(0)).sum(1).argmin() for k in range(3)]
    assert sorted(order) == [0, 1, 2]
    for k, place in enumerate(order):
        own = codes[label == k]
        covariance = np.cov(own.T, bias=True) + 1e-3 * np.eye(4)
        expected = covariance if full else np.diag(np.diag(covariance))
        assert fit.weights[place] == pytest.approx(len(own) / len(codes), abs=1e-9)
        assert_allclose(fit.means[place], own.mean(0), rtol=1e-9)
        assert_allclose(covariances(fit)[place], expected, rtol=1e-6, atol=1e-9)


def test_one_component_is_the_mean_and_the_covariance(full):
    codes = blurred() * [1.0, 30.0, 0.01] + [0.0, -1e3, 5.0]
    fit = FittedMixture.fit(codes, 1, seed=0, full=full)
    covariance = np.cov(codes.T, bias=True) + 1e-3 * np.eye(3)
    expected = covariance if full else np.diag(np.diag(covariance))
    assert fit.weights == 1.0
    assert_allclose(fit.means[0], codes.mean(0), rtol=1e-12)
    assert_allclose(covariances(fit)[0], expected, rtol=1e-9)


def test_likelihood_never_falls(full):
    fits = [
        FittedMixture.fit(blurred(seed=s), 5, s, full, reg_covar=0.0, tol=1e-9) for s in range(5)
    ]
    assert min(np.diff(fit.log_likelihood).min() for fit in fits) > -1e-10
    assert max(np.ptp(fit.log_likelihood) for fit in fits) > 0.02, "there is nothing to gain"
    assert min(len(fit.log_likelihood) for fit in fits) > 20


def test_density_is_that_of_scikit_learn_and_of_the_prior(full):
    codes = blurred() * [1.0, 30.0, 0.1] + [0.0, -1e3, 5.0]
    fit = FittedMixture.fit(codes, 4, seed=0, full=full)
    if full:
        assert_array_equal(fit.whitening, np.triu(fit.whitening))
    mixture = as_sklearn(fit)
    assert mixture.score(codes) == pytest.approx(fit.log_likelihood[-1], abs=1e-9)
    assert_allclose(log_density(fit, codes), mixture.score_samples(codes), atol=1e-8)
    fit.means[0] += 0.1
    assert abs(as_sklearn(fit).score(codes) - fit.log_likelihood[-1]) > 1e-4


def test_scikit_learn_stays_where_it_is_put(full):
    codes = blurred()
    fit = FittedMixture.fit(codes, 4, seed=0, full=full, tol=1e-6)

    def refit(means):
        precisions = np.linalg.inv(covariances(fit))
        if not full:
            precisions = np.diagonal(precisions, axis1=1, axis2=2)
        params = {"weights_init": fit.weights, "means_init": means, "reg_covar": 1e-3}
        mixture = as_sklearn(fit, precisions_init=precisions, max_iter=500, **params)
        return mixture.fit(codes)

    there = refit(fit.means)
    assert there.n_iter_ <= 2
    assert_allclose(there.means_, fit.means, atol=0.02)
    assert refit(fit.means[:, ::-1]).n_iter_ > 5


def test_both_roads_of_full_covariances_agree(monkeypatch):
    fits = []
    for limit in (32, 0):
        monkeypatch.setattr(expectation_maximization, "MAX_PRODUCT_LATENTS", limit)
        fits.append(FittedMixture.fit(blurred(n_latents=5), 4, seed=0))
    for name in ("weights", "means", "whitening", "log_likelihood"):
        assert_allclose(*(getattr(fit, name) for fit in fits), rtol=1e-6, atol=1e-8)


def test_held_out_rows_are_as_likely_as_under_scikit_learn():
    gains = []
    for seed in range(8):
        codes = blurred(1200, 6, seed)
        train, test = codes[:800], codes[800:]
        fit = FittedMixture.fit(train, 6, seed)
        theirs = GaussianMixture(6, reg_covar=1e-3, random_state=seed, max_iter=200).fit(train)
        gains.append(as_sklearn(fit).score(test) - theirs.score(test))
        one = FittedMixture.fit(train, 1, seed)
        assert as_sklearn(fit).score(test) > as_sklearn(one).score(test) + 0.1
    assert np.mean(gains) > -2 * np.std(gains) / np.sqrt(len(gains)) - 0.01


def test_with_all_rows_pooled_normals_are_those_of_one_covariance(full):
    codes, label = clusters(n_clusters=4)
    fit = FittedMixture.fit(codes, 4, seed=0, full=full, reg_covar=0.0, n_pooled=1e12)
    within = sum((label == k).mean() * np.cov(codes[label == k].T, bias=True) for k in range(4))
    expected = within if full else np.diag(np.diag(within))
    assert_allclose(covariances(fit), np.stack([expected] * 4), rtol=1e-5, atol=1e-5)
    assert_allclose(np.sort(fit.weights), np.sort(np.bincount(label) / len(label)), atol=1e-9)
    alone = covariances(FittedMixture.fit(codes, 4, seed=0, full=full, reg_covar=0.0))
    assert np.abs(alone - expected).max() > 0.5, "each is of its own in any case"


def test_one_normal_is_the_same_with_pooled_rows(full):
    fits = [FittedMixture.fit(blurred(), 1, 0, full, n_pooled=n) for n in (0, 50)]
    assert_allclose(fits[0].whitening, fits[1].whitening, rtol=1e-12)


def test_normals_of_few_rows_predict_better_with_pooled_ones(full):
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centres = 20.0 * rng.normal(size=(8, 4))
        train, test = (
            np.repeat(centres, n, axis=0) + rng.normal(size=(8 * n, 4)) for n in (8, 100)
        )
        alone, pooled = (FittedMixture.fit(train, 8, seed, full, n_pooled=n) for n in (0, 6))
        gains.append(np.mean(log_density(pooled, test) - log_density(alone, test)))
    # A variance of eight rows is off by half; a covariance of so few is far from the truth.
    assert min(gains) > (1.0 if full else 0.05)


PAIR = np.repeat([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]], 20, axis=0)
NORMAL = np.random.default_rng(0).normal(size=(60, 3))
DEGENERATE = {
    "duplicates": np.repeat(NORMAL[:5], 20, axis=0),
    "two-distinct-rows": PAIR,
    "two-distinct-rows-far-out": 1e6 * PAIR,
    "constant": np.full((30, 3), 7.0),
    "zero": np.zeros((30, 3)),
    "one-row": np.array([[1.0, -2.0, 3.0]]),
    "two-rows": np.array([[1.0, -2.0, 3.0], [4.0, 4.0, 4.0]]),
    "large": 1e6 * NORMAL,
    "huge": 1e30 * NORMAL,
    "tiny": 1e-9 * NORMAL,
    "off-centre": NORMAL + 1e6,
    "constant-column": NORMAL * [1.0, 0.0, 1.0],
    "twin-columns": NORMAL[:, [0, 0, 1]],
    "one-outlier": np.concatenate([NORMAL, [[1e6, -1e6, 0.0]]]),
    "different-units": NORMAL * [1e-6, 1.0, 1e6],
    "single-precision": (1e6 * NORMAL).astype(np.float32),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("codes", over(DEGENERATE))
@pytest.mark.parametrize("n_mixture", [1, 10])
def test_degenerate_codes_give_a_proper_density(codes, n_mixture, full):
    fit = FittedMixture.fit(codes, n_mixture, seed=0, full=full)
    assert fit.weights.sum() == pytest.approx(1.0) and (fit.weights > 0).all()
    assert fit.means.shape == (n_mixture, 3)
    for part in (fit.means, fit.whitening, fit.log_likelihood, np.log(fit.weights)):
        assert np.isfinite(part.astype(np.float32)).all()
    span = np.abs(codes - codes.mean(0)).max(0)
    heavy = fit.weights > 0.5 / len(codes)
    assert (np.abs(fit.means - codes.mean(0)) <= span + 1e-6 * np.abs(codes).max())[heavy].all()
    assert log_density(fit, codes).mean() == pytest.approx(fit.log_likelihood[-1], abs=1e-3)


def test_codes_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite codes"):
        FittedMixture.fit(np.array([[1.0], [np.nan]]), 1, seed=0)


def test_a_seed_gives_the_same_bits_and_another_one_another_fit():
    codes = blurred()
    fits = [FittedMixture.fit(codes, 5, seed) for seed in (3, 3, 4)]
    for name in ("weights", "means", "whitening", "log_likelihood"):
        assert_array_equal(*(getattr(fit, name) for fit in fits[:2]))
    assert not np.array_equal(fits[1].means, fits[2].means)


def test_prior_of_a_member_does_not_depend_on_the_others():
    codes = np.stack([blurred(seed=s).astype(np.float32) for s in range(3)])
    seeds = [5, 6, 7]

    def fitted(members):
        prior = clone(Aggregate(4)).build(Shapes(3, 3, ()), Noise([seeds[m] for m in members]))
        prior.calibrate(codes[members], [seeds[m] for m in members])
        return [prior.log_weights, prior.loc, prior.whitening]

    together = fitted([0, 1, 2])
    for member in range(3):
        for ours, alone in zip(together, fitted([member])):
            assert torch.equal(ours[member], alone[0])


@pytest.mark.parametrize(("n_rows", "n_normals"), [(40, 1), (70, 2), (500, 15), (900, 20)])
def test_normals_are_as_many_as_there_are_rows_for_them_and_draws_are_no_rows(n_rows, n_normals):
    codes = blurred(n_rows, n_latents=2)[None]
    for n_draws in (1, 3):
        prior = clone(Aggregate()).build(Shapes(2, 2, ()), Noise([0]))
        prior.calibrate(np.concatenate([codes] * n_draws, 1), [0], n_draws)
        assert prior.loc.shape[1] == n_normals


def test_rows_all_drawn_as_often_give_the_prior_of_one_draw():
    codes = clusters(160, 4, n_latents=2)[0]
    points = torch.tensor(codes[None, None], dtype=torch.float32)

    def density(n_times, n_draws):
        prior = clone(Aggregate(4)).build(Shapes(2, 2, ()), Noise([0]))
        prior.calibrate(np.concatenate([codes] * n_times)[None], [0], n_draws)
        return prior.eval()().log_prob(points)

    assert_allclose(density(4, 4), density(1, 1), atol=1e-3)
    # Four times as many rows leave the covariances nearer to their own.
    assert (density(4, 1) - density(1, 1)).abs().max() > 0.05


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize(("n_rows", "n_draws"), [(60, 8), (600, 4), (3000, 1)])
def test_few_rows_are_drawn_several_times_for_the_prior(n_rows, n_draws, monkeypatch):
    given = []
    monkeypatch.setattr(Aggregate, "calibrate", lambda self, *args: given.append(args))
    X = blurred(n_rows, n_latents=4)
    VAETransformer(2, max_iter=1, random_state=0, validation_fraction=0.2).fit(X)
    (codes, _, found) = given[-1]
    assert found == n_draws and codes.shape[1] == n_draws * (n_rows - n_rows // 5)
    # Draws, not one code over and over.
    assert len(np.unique(codes[0, :, 0])) == codes.shape[1]


# ------------------------------------------------------------------- the start of the training


def started(rows, index, cache=None, n_components=2):
    vae = tiny_vae(SEEDS, n_components)
    start_at_linear_model(vae, rows, index, cache)
    return vae


def test_a_cache_spares_the_work_and_changes_no_bit(monkeypatch):
    calls = []

    def counted(*args):
        calls.append(args)
        return linear_model(*args)

    monkeypatch.setattr(start, "linear_model", counted)
    values = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    rows = Rows(values, values, None, None)
    index = torch.stack([torch.arange(50), torch.arange(10, 60)])
    alone = started(rows, index).state_dict()
    assert len(calls) == 2
    cache = {}
    for _ in range(2):
        shared = started(rows, index, cache).state_dict()
        for name, value in alone.items():
            assert torch.equal(value, shared[name]), name
        assert len(calls) == 4, "the second call takes what the first one found"
    started(rows, index.flip(0), cache)
    assert len(calls) == 4
    started(rows, index[:, :40], cache)
    started(rows, index, cache, n_components=1)
    started(Rows(values, values, None, torch.ones(60)), index, cache)
    other = values.clone()
    started(Rows(other, other, None, None), index, cache)
    assert len(calls) == 12, "other rows, latents, weights or tables are other models"


@pytest.mark.parametrize("masked", [False, True])
def test_linear_model_of_weighted_rows_has_their_moments(masked):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)) * np.arange(1, 5) + rng.normal(size=(90, 1)) + 100.0
    mask = rng.random(X.shape) < 0.9 if masked else np.ones(X.shape, dtype=bool)
    weights = rng.integers(1, 4, size=90)
    counted = mask * weights[:, None]
    mean = (X * counted).sum(0) / counted.sum(0)
    centred = (X - mean) * mask
    covariance = (centred * weights[:, None]).T @ centred / (counted.T @ mask)
    # With as many factors as columns a model has the moments of the rows.
    table = X, mask if masked else None, weights.astype(np.float32)
    model, shared = linear_model(*table, 4, 1e-9, shared=True)
    assert shared
    assert_allclose(model.mean, mean, rtol=1e-9)
    ours = model.loadings @ model.loadings.T + np.diag(model.variance)
    assert_allclose(ours, covariance, rtol=1e-6, atol=1e-9)
