"""The linear special case in closed form, and what the defaults promise against it."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from components import tiny_vae
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.linalg import subspace_angles
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae._pass import Batch
from skvae.factor_model import FactorModel, _Sums, linear_model
from skvae.incomplete_rows import _explained, moments_of_gaps
from skvae.likelihoods import Normal
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE
from skvae.posteriors import LOG_SCALE_BOUND
from skvae.training import Rows, Settings, train

PLAIN = {
    "objective": "elbo",
    "hidden_layer_sizes": (),
    "likelihood": Normal(scale="shared"),
    "prior": "normal",
    "view": None,
    "calibrate": False,
    "random_state": 0,
}
UNITS = np.array([1, 20, 3, 0.5, 1, 1, 100, 1, 0.01, 1])


def factor_data(noise=0.5, n=500, n_columns=10, n_factors=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_factors)) @ rng.normal(size=(n_factors, n_columns))
    return X + noise * rng.normal(size=(n, n_columns)) + rng.normal(size=n_columns)


def data_with_eigenvalues(eigenvalues, n=500, seed=0):
    """Rows whose sample covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(seed)
    n_columns = len(eigenvalues)
    X = rng.normal(size=(n, n_columns))
    X -= X.mean(0)
    X = np.linalg.solve(np.linalg.cholesky(X.T @ X / n), X.T).T
    rotation = np.linalg.qr(rng.normal(size=(n_columns, n_columns)))[0]
    return (X * np.sqrt(eigenvalues)) @ rotation.T


class PPCA:
    """Maximum likelihood in closed form (Tipping and Bishop 1999), or with the noise given."""

    def __init__(self, X, n_components, variance=None):
        self.mean = X.mean(0)
        values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
        values, vectors = values[::-1], vectors[:, ::-1]
        self.variance = values[n_components:].mean() if variance is None else variance
        spread = np.maximum(values[:n_components] - self.variance, 0.0)
        self.loadings = vectors[:, :n_components] * np.sqrt(spread)
        self.eigenvalues = values

    def covariance(self):
        return self.loadings @ self.loadings.T + self.variance * np.eye(len(self.mean))

    def log_density(self, X):
        return stats.multivariate_normal(self.mean, self.covariance()).logpdf(X)


def encoded(vae, X):
    return vae.codec_.encode(X).values.astype(float)


def as_batch(values):
    values = torch.as_tensor(values, dtype=torch.float32)[None, None]
    return Batch(values, values, None, None)


def in_units(vae, model):
    """The density of the rows as they came, given the model of the encoded ones."""
    loc = np.array([column.loc for column in vae.codec_.columns_])
    scale = np.exp(vae.codec_.log_scale_)
    return stats.multivariate_normal(
        loc + scale * model.mean, np.outer(scale, scale) * model.covariance()
    )


def plant(vae, model, shift=0.0, widen=1.0):
    """Write a factor model and its exact posterior into linear networks."""
    n_columns, n_components = model.loadings.shape
    inverse = np.linalg.inv(
        model.loadings.T @ model.loadings / model.variance + np.eye(n_components)
    )
    matrix = model.loadings @ inverse / model.variance
    log_scale = 0.5 * np.log(np.diag(inverse) * widen)
    raw = LOG_SCALE_BOUND * np.arctanh(log_scale / LOG_SCALE_BOUND)
    encoder, decoder = vae.network.encoder, vae.network.decoder
    likelihood = vae.likelihood.parts[0]
    values = {
        encoder.weight_0: np.hstack([matrix, np.zeros_like(matrix)])[None],
        encoder.bias_0: np.r_[-model.mean @ matrix + shift, raw][None, None],
        decoder.weight_0: model.loadings.T[None],
        decoder.bias_0: model.mean[None, None],
    }
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.zero_()
            parameter[tuple(slice(n) for n in value.shape)] = torch.as_tensor(value).float()
        excess = model.variance**0.5 - (0.0 if likelihood.fixed else likelihood.min_scale)
        likelihood.log_excess.fill_(np.log(excess))


def planted(X, n_components=3, complete=None, **changes):
    vae = VAETransformer(n_components, max_iter=1, **(PLAIN | changes)).fit(X)
    model = PPCA(encoded(vae, X if complete is None else complete), n_components)
    plant(vae.vae_, model)
    return vae, model


def learned(vae):
    """The factor model in the weights of a trained linear VAE."""
    model = object.__new__(PPCA)
    decoder = vae.vae_.network.decoder
    d, n_columns = decoder.n_inputs, decoder.n_outputs
    model.loadings = decoder.weight_0[0, :d, :n_columns].detach().numpy().T.astype(float)
    model.mean = decoder.bias_0[0, 0, :n_columns].detach().numpy().astype(float)
    model.variance = vae.vae_.likelihood.noise_scale(0)[0] ** 2
    return model


# ------------------------------------------------------------------------------ planted models


@pytest.mark.parametrize("scale", ["shared", 0.5])
def test_planted_model_scores_exactly_whatever_the_draws(scale):
    X = factor_data() * UNITS
    vae, model = planted(X, likelihood=Normal(scale=scale))
    exact = in_units(vae, model).logpdf(X)
    for n_draws in (1, 4, 64):
        assert_allclose(vae.score_samples(X, n_draws=n_draws), exact, rtol=0, atol=1e-5)
    batch = as_batch(encoded(vae, X))
    spread = vae.vae_(batch, Noise([0]), 16).log_weight().std(1)
    assert spread.max() < 1e-5
    # The score is that of the maximum of the likelihood, by the formula of its eigenvalues.
    lam = model.eigenvalues
    log_det = np.log(lam[:3]).sum() + 7 * np.log(lam[3:].mean())
    closed = -0.5 * (10 * np.log(2 * np.pi) + log_det + 10) - vae.codec_.log_scale_.sum()
    assert vae.score(X) == pytest.approx(closed, abs=1e-5)
    plant(vae.vae_, model, shift=0.02)
    assert vae.vae_(batch, Noise([0]), 16).log_weight().std(1).min() > 1e-3
    assert np.abs(vae.score_samples(X, n_draws=1) - exact).max() > 1e-3


def test_bound_rises_with_the_draws_to_the_likelihood():
    X = factor_data(noise=0.25)
    vae, model = planted(X)
    values = encoded(vae, X)
    exact = model.log_density(values).mean()

    def gaps():
        with torch.no_grad():
            return [
                np.mean([_bound(vae, values, k, seed) for seed in range(3)]) - exact
                for k in (1, 5, 20, 100, 1000)
            ]

    assert_allclose(gaps(), 0.0, atol=1e-5)
    plant(vae.vae_, model, shift=0.2, widen=2.25)
    perturbed = gaps()
    assert (np.diff(perturbed) > 0).all()
    assert perturbed[0] < -3 and -0.05 < perturbed[-1] < 0.01
    units = vae.codec_.log_scale_.sum()
    assert abs(vae.score_samples(X, n_draws=1000).mean() + units - exact) < 0.05


def _bound(vae, values, n_draws, seed):
    step = vae.vae_(as_batch(values), Noise([seed]), n_draws)
    return IWAE(n_draws).bound(step).mean().item()


def test_samples_carry_the_noise_of_the_cells():
    X = factor_data(n_columns=4, n_factors=2) * UNITS[:4]
    vae, model = planted(X, 2)
    density = in_units(vae, model)
    draws = vae.sample(200_000, random_state=1)
    sd = np.sqrt(np.diag(density.cov))
    assert_allclose(draws.mean(0) / sd, density.mean / sd, atol=4 / 200_000**0.5)
    correlations = np.outer(sd, sd)
    assert_allclose(np.cov(draws.T) / correlations, density.cov / correlations, atol=0.015)
    noise = model.variance * np.exp(2 * vae.codec_.log_scale_) / sd**2
    assert (noise > 0.2).all(), "WW' alone would pass"


@pytest.mark.parametrize("seen_in_fit", [False, True])
def test_missing_cells_score_the_exact_marginal(seen_in_fit):
    X = factor_data(noise=1.0)
    rng = np.random.default_rng(1)
    hidden = rng.random(X.shape) < 0.3
    hidden[hidden.all(1), 0] = False
    holed = np.where(hidden, np.nan, X)
    vae, model = planted(holed if seen_in_fit else X, complete=X)
    vae.vae_.posterior.calibrate(torch.tensor([0.75]))
    joint = in_units(vae, model)
    exact = np.array([
        stats.multivariate_normal(joint.mean[~h], joint.cov[np.ix_(~h, ~h)]).logpdf(x[~h])
        for x, h in zip(X, hidden)
    ])  # fmt: skip
    scores = vae.score_samples(holed, n_draws=4000)
    assert np.abs(scores - exact).max() < 0.05
    filled = np.where(hidden, joint.mean, X)
    assert np.abs(vae.score_samples(filled, n_draws=4000) - exact).max() > 1.0


# ------------------------------------------------------------------------------ trained models


def test_trained_linear_vae_is_ppca():
    X = factor_data()
    params = PLAIN | {
        "init": "random",
        "weight_decay": 0.0,
        "clip_norm": None,
        "early_stopping": False,
        "batch_size": 500,
        "learning_rate_init": 0.05,
    }
    vae = VAETransformer(3, max_iter=2000, **params).fit(X)
    values = encoded(vae, X)
    best, found = PPCA(values, 3), learned(vae)
    maximum = best.log_density(values).mean()
    assert 0 <= maximum - found.log_density(values).mean() < 0.02
    assert abs(found.variance / best.variance - 1) < 0.02
    assert np.degrees(subspace_angles(found.loadings, best.loadings)).max() < 2
    assert abs(vae.score(X) + vae.codec_.log_scale_.sum() - maximum) < 0.02
    # Neither a short run nor a smaller model gets there.
    short = learned(VAETransformer(3, max_iter=100, **params).fit(X))
    assert maximum - short.log_density(values).mean() > 0.02
    assert maximum - PPCA(values, 2).log_density(values).mean() > 0.5


@pytest.mark.parametrize(
    "beta, variance, n_active",
    [(1, 0.3, 4), (5, 0.3, 3), (10, 0.3, 2), (20, 0.3, 1), (40, 0.3, 0), (40, 0.15, 1)],
)
def test_beta_switches_units_off_one_by_one(beta, variance, n_active):
    # Divided by beta it is PPCA of noise beta * variance, which the last case shows.
    eigenvalues = np.array([8, 4, 2, 1, 0.1])
    X = torch.as_tensor(data_with_eigenvalues(eigenvalues), dtype=torch.float32)
    blocks = (("continuous", (1,) * 5),)
    vae = tiny_vae([0], 5, blocks, network=MLP(()), likelihood=Normal(scale=variance**0.5))
    settings = Settings(600, 500, learning_rate=0.1)
    index = torch.arange(500)[None]
    train(vae, ELBO(beta=beta), Rows(X, X, None, None), index, None, Noise([0]), settings)
    with torch.no_grad():
        q = vae.infer(X[None, None])
    moved = q.loc.var(2).ravel().numpy()
    assert (moved > 0.01).sum() == n_active
    order = moved.argsort()[::-1]
    expected = np.minimum(beta * variance / eigenvalues, 1.0)
    assert_allclose(q.scale[0, 0, 0].numpy()[order] ** 2, expected, atol=0.03)
    assert_allclose(moved[order], 1 - expected, atol=0.03)


# -------------------------------------------------------------------------------- factor model


@pytest.mark.parametrize("n_components", [1, 3])
def test_factor_model_agrees_with_sklearn(n_components):
    X = factor_data()
    X *= 1 + np.arange(10)
    mean, covariance = X.mean(0), np.cov(X.T, bias=True)
    analysis = FactorAnalysis(n_components, tol=1e-10, max_iter=20_000, svd_method="lapack").fit(X)
    ours = FactorModel.fit(mean, covariance, n_components, False, 1e-9)
    assert ours.log_likelihood(X) == pytest.approx(analysis.score(X), abs=1e-3)
    matrix, offset, log_scale = ours.posterior()
    scaled = ours.loadings.T / ours.variance
    exact = np.linalg.inv(np.eye(n_components) + scaled @ ours.loadings)
    assert_allclose(X @ matrix + offset, (X - mean) @ scaled.T @ exact, atol=1e-9)
    assert_allclose(np.diag(np.exp(2 * log_scale)), exact, atol=1e-9)
    pca = PCA(n_components).fit(X)  # whose covariance is divided by n - 1
    shared = FactorModel.fit(mean, np.cov(X.T), n_components, True, 1e-9)
    assert shared.log_likelihood(X) == pytest.approx(pca.score(X), abs=1e-9)
    assert ours.log_likelihood(X) - shared.log_likelihood(X) > 0.1


def wide_rows(n, d):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + rng.normal(size=(n, d)) + 5.0


@pytest.mark.parametrize("n_components", [2, 8, 50])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("noise", [None, 0.5])
def test_a_table_wider_than_long_has_the_same_factors_by_its_rows(
    n_components, is_weighted, noise
):
    X = wide_rows(40, 320)
    weights = np.random.default_rng(1).random(40) if is_weighted else None
    covariance = np.cov(X.T, bias=True, aweights=weights)
    mean = np.average(X, 0, weights)
    known = FactorModel.fit(mean, covariance, n_components, True, 1e-3, noise)
    found, shared = linear_model(X, None, weights, n_components, 1e-3, None, noise)
    assert shared
    assert_allclose(found.mean, mean, rtol=1e-12)
    assert_allclose(found.variance, known.variance, rtol=1e-9)
    assert_allclose(found.loadings, known.loadings, atol=1e-8)


def test_a_wide_table_with_gaps_keeps_the_variance_of_what_is_seen():
    X = wide_rows(40, 320)
    mask = np.random.default_rng(1).random(X.shape) < 0.8
    seen = np.where(mask, X, np.nan)
    found, _ = linear_model(X, mask, None, 8, 1e-3)
    assert_allclose(found.mean, np.nanmean(seen, 0), rtol=1e-12)
    explained = (found.loadings**2).sum() + found.variance.sum()
    assert explained == pytest.approx(np.nanvar(seen, 0).sum(), rel=1e-9)
    # What stands in a gap has no say.
    others, _ = linear_model(np.where(mask, X, 7.0), mask, None, 8, 1e-3)
    assert_allclose(others.loadings, found.loadings, atol=1e-8)


def test_memory_of_a_wide_table_is_that_of_its_rows():
    X = wide_rows(30, 4000)
    tracemalloc.start()
    linear_model(X, None, None, 8, 1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * X.nbytes, "of all pairs of columns it would be 133 times"


def seen_where_others_are_small(seed, n=3000):
    """Rows of six columns, of which the cells of three are seen where another one is small."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(2, 6))
    X = rng.normal(size=(n, 2)) @ (loadings / np.linalg.norm(loadings, axis=0))
    X += 0.4 * rng.normal(size=X.shape)
    seen = np.ones(X.shape, dtype=bool)
    seen[:, :3] = X[:, 3:] < 0
    return X - X.mean(0), seen


@pytest.mark.parametrize("seed", range(5))
def test_moments_of_rows_with_gaps_are_the_likeliest_ones(seed):
    X, seen = seen_where_others_are_small(seed)
    by_pairs = _Sums(np.where(seen, X, 0.0), seen, None).moments()
    exact = np.cov(X.T, bias=True)

    def off(moments):
        return np.abs(moments[0]).max(), np.abs(moments[1] - exact).max()

    X[~seen] = np.nan
    # Over these seeds at most 0.16, and at least 0.54 for averages over pairs that are seen.
    assert max(off(moments_of_gaps(X, seen, None, *by_pairs, 5))) < 0.2
    assert min(off(by_pairs)) > 0.4, "negative control"
    # A row of weight two is that row twice.
    twice = np.r_[0:100, 0:50]
    weights = np.r_[np.full(50, 2.0), np.ones(50)]
    repeated = moments_of_gaps(X[twice], seen[twice], None, *by_pairs, 2)
    weighted = moments_of_gaps(X[:100], seen[:100], weights, *by_pairs, 2)
    for ours, theirs in zip(weighted, repeated):
        assert_allclose(ours, theirs, atol=1e-8)


def test_rows_with_gaps_are_explained_by_the_cells_seen(monkeypatch):
    X, seen = seen_where_others_are_small(0, n=40)
    inverted, inverse = [], np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda a: inverted.append(len(a)) or inverse(a))
    rng = np.random.default_rng(0)
    mean, loadings = rng.normal(size=6), rng.normal(size=(6, 2))
    variance = rng.random(6) + 0.1
    gaps = np.unique(seen.astype(float), axis=0, return_inverse=True)
    codes, spread, density = _explained(X * seen, seen * 1.0, gaps, mean, loadings, variance)
    for row, of_row, its_codes, its_spread, its_density in zip(X, seen, codes, spread, density):
        there, noise = loadings[of_row], np.diag(variance[of_row])
        whole = there @ there.T + noise
        centred = row[of_row] - mean[of_row]
        pull = there.T @ inverse(whole)
        assert_allclose(its_codes, pull @ centred, atol=1e-9)
        assert_allclose(its_spread, np.eye(2) - pull @ there, atol=1e-9)
        by_hand = stats.multivariate_normal(cov=whole).logpdf(centred)
        assert_allclose(its_density, by_hand, atol=1e-9)
    assert inverted == [len(np.unique(seen, axis=0))], "once for rows with the same gaps"


@pytest.mark.parametrize("hidden", [(), (16,)])
@pytest.mark.parametrize(
    "scale, noises, separate",
    [
        ("auto", "equal", False),
        ("auto", "different", True),
        ("column", "different", True),
        ("shared", "equal", False),
        ("column", "equal", True),
        ("shared", "different", False),
        (0.4, "equal", False),
    ],
)
def test_training_starts_at_the_linear_maximum(scale, noises, separate, hidden):
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(3, 12))
    # With few rows one noise predicts better, with different noises one per column.
    n = 60 if noises == "equal" else 500
    X = rng.normal(size=(n, 3)) @ (loadings / np.linalg.norm(loadings, axis=0))
    X += rng.normal(size=X.shape) * (0.6 if noises == "equal" else np.geomspace(0.1, 2, 12))
    # At this rate training does not move a weight.
    params = PLAIN | {"network": MLP(hidden, linear_skip=True), "likelihood": Normal(scale=scale)}
    params |= {"max_iter": 1, "learning_rate_init": 1e-30, "early_stopping": False}
    vae = VAETransformer(3, **params).fit(X)
    values = encoded(vae, X)
    moments = values.mean(0), np.cov(values.T, bias=True)
    if separate:
        model = FactorModel.fit(*moments, 3, False, 1e-3)
        maximum = model.log_likelihood(values)
    else:
        model = PPCA(values, 3, scale**2 if scale == 0.4 else None)
        maximum = model.log_density(values).mean()
    score = vae.score_samples(X, n_draws=1).mean() + vae.codec_.log_scale_.sum()
    assert score == pytest.approx(maximum, abs=1e-4)
    step = vae.vae_(as_batch(values), Noise([0]), 400)
    assert ELBO().bound(step).mean().item() == pytest.approx(maximum, abs=0.02)
    untrained = VAETransformer(3, **params | {"init": "random"}).fit(X)
    assert untrained.score(X) + vae.codec_.log_scale_.sum() < maximum - 1


# ------------------------------------------------------------------------- what defaults promise


@pytest.mark.parametrize("factor, bits", [(1000.0, False), (1e-3, False), (1024.0, True)])
def test_units_move_scores_by_their_logarithm_and_nothing_else(factor, bits):
    X, y = load_wine(return_X_y=True)
    frame = pd.DataFrame(X).rename(columns=str)
    frame["kind"] = pd.Categorical(np.array(["low", "mid", "high"])[y])
    frame["flag"] = X[:, 0] > 13
    frame.loc[::7, "3"] = np.nan
    scaled = frame.assign(**{"12": frame["12"] * factor})
    ours, theirs = (VAETransformer(4, max_iter=20, random_state=0).fit(t) for t in (frame, scaled))
    moved = theirs.score_samples(scaled) - ours.score_samples(frame)
    assert_allclose(moved, -np.log(factor), rtol=1e-6)
    compare = assert_array_equal if bits else assert_allclose
    compare(theirs.transform(scaled), ours.transform(frame))
    assert np.abs(ours.transform(scaled) - ours.transform(frame)).max() > 0.1


TABLES = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}


def halves(name, seed):
    X, y = TABLES[name](return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=len(X) // 2, stratify=y, random_state=seed
    )
    varies = np.ptp(X, axis=0) > 0
    return X[:, varies], X_test[:, varies], y, y_test


def factor_analysis_score(X, X_test):
    scaler = StandardScaler().fit(X)
    analysis = FactorAnalysis(8, max_iter=3000, random_state=0).fit(scaler.transform(X))
    return analysis.score(scaler.transform(X_test)) - np.log(scaler.scale_).sum()


def nearest_neighbours(coder, X, X_test, y, y_test):
    coder = coder.fit(X)
    return KNeighborsClassifier().fit(coder.transform(X), y).score(coder.transform(X_test), y_test)


def test_defaults_beat_linear_models_on_digits():
    X, X_test, y, y_test = halves("digits", 0)
    vae = VAETransformer(random_state=0)
    assert nearest_neighbours(vae, X, X_test, y, y_test) > 0.941
    assert vae.score(X_test) > factor_analysis_score(X, X_test)
    assert nearest_neighbours(FactorAnalysis(8, random_state=0), X, X_test, y, y_test) < 0.941
    raw = VAETransformer(random_state=0, calibrate=False).fit(X)
    assert raw.score(X_test) < vae.score(X_test) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_defaults_beat_factor_analysis_on_average(name):
    ours, theirs, raw, accuracies = [], [], [], []
    for seed in range(5):
        X, X_test, y, y_test = halves(name, seed)
        vae = VAETransformer(random_state=seed)
        accuracies.append(nearest_neighbours(vae, X, X_test, y, y_test))
        ours.append(vae.score(X_test))
        theirs.append(factor_analysis_score(X, X_test))
        raw.append(VAETransformer(random_state=seed, calibrate=False).fit(X).score(X_test))
    assert np.mean(ours) > max(np.mean(theirs), np.mean(raw))
    assert name != "digits" or min(accuracies) > 0.941
