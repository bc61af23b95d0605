"""Scores written out against the general road, and tables that are scored part by part."""

import copy
import itertools
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skvae import VAETransformer, calibration, inference, likelihoods, priors
from skvae._component import Shapes
from skvae._pass import Batch
from skvae.gaussian_score import MAX_DECODED, UNIT, GaussianScore
from skvae.networks import ACTIVATIONS, MLP
from skvae.noise import FixedDraws, Noise
from skvae.posteriors import Deterministic, DiagonalNormal
from skvae.posteriors._base import LOG_SCALE_BOUND
from skvae.table.codec import Encoded
from skvae.vae import VAE
from skvae.views import Denoising

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
N_COLUMNS, N_LATENTS = 5, 3


class DoubleDraws(FixedDraws):
    """Draws that fit a model in float64."""

    def normal(self, *shape):
        return super().normal(*shape).double()


def model(n_members=1, network=None, likelihood=None, prior=None, posterior=None, seed=0):
    """A calibrated model with random weights everywhere."""
    parts = (
        network or MLP((7, 4), "tanh"),
        posterior or DiagonalNormal(),
        prior or priors.Aggregate(),
        likelihoods.Columnwise(continuous=likelihood or likelihoods.Normal()),
    )
    shapes = Shapes(N_COLUMNS, N_LATENTS, (("continuous", (1,) * N_COLUMNS),))
    vae = VAE(*parts).build(shapes, Noise(range(seed, seed + n_members)))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if "bias" in name:
                # The padding stays 0.
                parameter[..., :3] += 0.3 * torch.as_tensor(rng.normal(size=3))
    codes = rng.normal(size=(n_members, 400, N_LATENTS)) @ rng.normal(size=(N_LATENTS, N_LATENTS))
    vae.prior.calibrate(codes, range(n_members))
    if posterior is None:
        vae.posterior.calibrate(torch.linspace(-0.25, 0.5, n_members))
    return vae.eval()


def rows(n=100, missing=False, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, N_COLUMNS))
    mask = rng.random(values.shape) < 0.7 if missing else None
    values = values if mask is None else np.where(mask, values, 0.0)
    return Encoded(values, mask, values)


def as_float32(encoded):
    values = encoded.values.astype(np.float32)
    return Encoded(values, encoded.mask, values)


def both_roads(vae, encoded, n_draws, draws):
    general = inference._log_marginal(vae, draws, n_draws, "cpu", encoded)
    score = GaussianScore.of(vae, draws, n_draws)
    assert score is not None
    factors = vae.posterior.log_factor.flatten().tolist()
    written_out = [score(m, *encoded, [factor])[0] for m, factor in enumerate(factors)]
    return np.stack(written_out, 1), general


# ----------------------------------------------------------------------------- the same number

MODELS = {
    **{f"{name}, skip": {"network": MLP((7, 4), name, True)} for name in ACTIVATIONS},
    **{f"{name}, no skip": {"network": MLP((7, 4), name, False)} for name in ACTIVATIONS},
    "linear": {"network": MLP(())},
    "one layer": {"network": MLP((40,))},
    "standard normal": {"prior": priors.StandardNormal()},
    "learned mixture": {"prior": priors.GaussianMixture(4)},
    "one normal": {"prior": priors.Aggregate(1)},
    "noise per column": {"likelihood": likelihoods.Normal(scale="column")},
    "given noise": {"likelihood": likelihoods.Normal(scale=0.3)},
    "small noise": {"likelihood": likelihoods.Normal(initial_scale=0.02)},
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("n_draws", [1, 16])
@pytest.mark.parametrize("name", MODELS)
def test_roads_agree(name, n_draws, n_members, missing):
    vae, encoded = model(n_members, **MODELS[name]), rows(missing=missing)
    assert_allclose(
        *both_roads(vae, as_float32(encoded), n_draws, FixedDraws(n_draws, 3)), 1e-5, 1e-4
    )
    draws = DoubleDraws(n_draws, N_LATENTS)
    assert_allclose(*both_roads(vae.double(), encoded, n_draws, draws), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_rows", [1, 47, 48, 49, MAX_DECODED, MAX_DECODED + UNIT + 1])
@pytest.mark.parametrize("n_draws", [2, 7, 100])
def test_roads_agree_for_any_number_of_rows_and_draws(n_rows, n_draws):
    encoded, draws = as_float32(rows(n_rows)), FixedDraws(n_draws, N_LATENTS)
    assert_allclose(*both_roads(model(), encoded, n_draws, draws), rtol=1e-5, atol=1e-4)


def test_members_with_and_without_noise_per_column():
    vae = model(3, likelihood=likelihoods.Normal("auto"))
    scale = torch.linspace(0.2, 0.7, 3 * N_COLUMNS).view(3, N_COLUMNS)
    vae.likelihood.start_scale(scale, torch.tensor([True, False, True]))
    assert vae.likelihood.parts[0].closed_form is None
    assert_allclose(*both_roads(vae.double(), rows(), 5, DoubleDraws(5, N_LATENTS)), rtol=1e-10)


def test_rows_far_out_have_the_scores_of_the_general_road():
    values = np.array([[1e9] * 5, [-1e9, 0, 0, 0, 1e9], [1e25] * 5], dtype=np.float32)
    encoded = Encoded(values, None, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = both_roads(model(network=MLP((7, 4), "relu")), encoded, 4, FixedDraws(4, 3))
    assert (one[:2] < -1e15).all() and one[2] == -np.inf
    assert_allclose(one, other, rtol=1e-4)


class Shrunk(DiagonalNormal):
    """A posterior of a user, which may do anything."""


OTHERS = {
    "student_t": {"likelihood": likelihoods.StudentT()},
    "deterministic": {"posterior": Deterministic()},
    "subclass": {"posterior": Shrunk()},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_take_the_general_road(name):
    assert GaussianScore.of(model(**OTHERS[name]), FixedDraws(4, N_LATENTS), 4) is None


# ----------------------------------------------------------------------------------- the same bits


def factor_table(n, n_columns=6, missing=False):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3)) @ rng.normal(size=(3, n_columns))
    X += 0.3 * rng.normal(size=X.shape)
    return np.where(rng.random(X.shape) < 0.1, np.nan, X) if missing else X


ESTIMATORS = {
    "default": {},
    "relu": {"network": MLP((128, 64), "relu", False)},
    "odd sizes": {"network": MLP((50, 7), "gelu", True), "n_components": 5},
    "two members": {"n_members": 2, "activation": "elu"},
    "one normal": {"prior": "normal", "n_components": 1, "activation": "tanh"},
}


@pytest.mark.parametrize(("n_draws", "n_columns"), [(1, 13), (5, 2), (16, 13)])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_has_the_same_bits_wherever_it_stands(name, n_columns, n_draws, monkeypatch):
    X = factor_table(2000, n_columns, missing=True)
    X[:1000] = np.where(np.isnan(X[:1000]), 0.0, X[:1000])
    estimator = VAETransformer(max_iter=2, random_state=0, **ESTIMATORS[name]).fit(X[500:1500])
    score = lambda X: estimator.score_samples(X, n_draws)  # noqa: E731
    expected, codes = score(X), estimator.transform(X)
    assert_array_equal(score(X), expected)
    for index in (
        *(np.array([i]) for i in (0, 999, 1000, 1999)),
        # Complete rows alone have no mask, among others they have one.
        np.arange(1000),
        np.arange(37, 1037),
        np.arange(100, 149),
        np.random.default_rng(0).permutation(2000),
        np.arange(3 * MAX_DECODED + 5) % 2000,
    ):
        assert_array_equal(score(X[index]), expected[index])
    for part_rows in (1, 100, 1999):
        monkeypatch.setattr(inference, "PART_ROWS", part_rows)
        few = slice(0, 2000, 2000 if part_rows == 1 else 1)
        assert_array_equal(score(X[few]), expected[few])
        assert_array_equal(estimator.transform(X[few]), codes[few])


# ------------------------------------------------------------------------------------------- parts


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(inference, "PART_ROWS", 50)


def test_arrays_of_every_kind_in_parts(small_parts, tmp_path):
    X = np.rint(10 * factor_table(130))
    estimator = VAETransformer(max_iter=2, random_state=0).fit(X)
    expected, (loc, scale) = estimator.score_samples(X), estimator.infer(X)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="r", shape=X.shape)
    for other in (
        mapped, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.astype(np.float32),
        X.astype(int), X.astype(object), X.astype(np.longdouble), X.tolist(), pd.DataFrame(X),
    ):  # fmt: skip
        assert_array_equal(estimator.score_samples(other), expected)
        assert_array_equal(estimator.infer(other), (loc, scale))


def message(estimator, X):
    with pytest.raises((TypeError, ValueError)) as caught:
        estimator.score_samples(X)
    with pytest.raises((TypeError, ValueError)) as of_transform:
        estimator.transform(X)
    assert str(of_transform.value) == str(caught.value)
    return type(caught.value), str(caught.value)


def with_cell(X, row, value):
    X = X.copy()
    X[row, 1] = value
    return X


COUNTS = np.random.default_rng(0).poisson(3.0, size=(130, 4)).astype(float)


# scikit-learn's own sum of the cells is inf - inf.
@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")
@pytest.mark.parametrize("row", [0, 49, 50, 129])
@pytest.mark.parametrize("value", [np.inf, -np.inf, -1.0, 0.5, 1e300])
def test_errors_are_those_of_the_whole_table(value, row, monkeypatch):
    estimator = VAETransformer(max_iter=1, likelihood="poisson", random_state=0).fit(COUNTS)
    X = with_cell(COUNTS, row, value)
    both = with_cell(X, 100, np.inf)
    whole = message(estimator, X), message(estimator, both)
    monkeypatch.setattr(inference, "PART_ROWS", 50)
    assert (message(estimator, X), message(estimator, both)) == whole
    if np.isfinite(value):
        assert f"row {row}" in whole[0][1]
    assert "infinity" in whole[1][1]


@pytest.mark.parametrize(
    "X",
    [
        COUNTS[:, :3], COUNTS[:0], COUNTS[:, 0], COUNTS[None], COUNTS + 1j, COUNTS.astype(str),
        with_cell(COUNTS.astype(object), 120, "a"), with_cell(COUNTS, 120, np.inf),
    ],
)  # fmt: skip
def test_errors_of_shape_and_type(X, monkeypatch):
    estimator = VAETransformer(max_iter=1, random_state=0).fit(COUNTS)
    whole = message(estimator, X)
    monkeypatch.setattr(inference, "PART_ROWS", 50)
    assert message(estimator, X) == whole


def test_missing_names_are_warned_of_once(small_parts):
    X = factor_table(130)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    estimator = VAETransformer(max_iter=1, random_state=0).fit(frame)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = estimator.score_samples(X)
    assert len(caught) == 1 and "feature names" in str(caught[0].message)
    assert_array_equal(scores, estimator.score_samples(frame))


@pytest.mark.parametrize("missing", [False, True])
def test_no_copy_of_a_long_array_is_made(missing):
    X = factor_table(1000, 10, missing).astype(np.float32)
    estimator = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0).fit(X)
    X = np.tile(X, (600, 1))
    for method in (lambda X: estimator.score_samples(X, n_draws=1), estimator.infer):
        method(X[:40_000])
        tracemalloc.start()
        result = method(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        kept = sum(np.asarray(part).nbytes for part in np.atleast_2d(result))
        assert peak - kept < 0.5 * X.nbytes


def test_settings_of_torch_are_put_back_after_errors_of_the_written_out_score(monkeypatch):
    X = factor_table(60)
    estimator = VAETransformer(max_iter=1, random_state=0).fit(X)

    def fail(*args):
        raise RuntimeError("out of memory")

    for method in ("__call__", "of"):
        with monkeypatch.context() as patched:
            patched.setattr(GaussianScore, method, fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                estimator.score_samples(X)
        assert bool((torch.tensor(1e-40) * 1.0 != 0).item())


# ------------------------------------------------------------------------------------- calibration


@torch.no_grad()
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_members", [1, 3])
def test_calibration_chooses_what_the_general_road_chooses(n_members, weighted, monkeypatch):
    vae = model(n_members).double()
    rng = np.random.default_rng(0)
    values = torch.as_tensor(rng.normal(size=(n_members, 1, 90, N_COLUMNS)))
    mask = torch.as_tensor(rng.random(values.shape) < 0.8)
    values = torch.where(mask, values, 0.0)
    weights = torch.as_tensor(rng.random((n_members, 90)) * 2) if weighted else None
    batch = Batch(values, values, mask, weights)
    monkeypatch.setattr(calibration, "FixedDraws", DoubleDraws)
    written_out = calibration._bounds_by_factor(vae, batch)
    calibration._calibrate_posterior(vae, batch)
    chosen = vae.posterior.log_factor.clone()
    monkeypatch.setattr(GaussianScore, "of", lambda *_: None)
    assert_allclose(calibration._bounds_by_factor(vae, batch), written_out, rtol=1e-10)
    calibration._calibrate_posterior(vae, batch)
    assert torch.equal(vae.posterior.log_factor, chosen)


@torch.no_grad()
@pytest.mark.parametrize("n_components", [1, 2, 4])
def test_calibration_finds_the_width_of_the_exact_posterior(n_components, monkeypatch):
    """A linear model in closed form, whose widths are then made wrong by a factor."""
    rng = np.random.default_rng(n_components)
    X = rng.normal(size=(400, n_components)) @ rng.normal(size=(n_components, 10))
    X += rng.normal(size=X.shape)
    settings = {"max_iter": 1, "learning_rate_init": 1e-9, "calibrate": False}
    vae = VAETransformer(
        n_components, hidden_layer_sizes=(), activation="identity", random_state=0, **settings
    ).fit(X)
    raw = vae.vae_.network.encoder.bias_0[..., n_components : 2 * n_components]
    exact = raw.clone()
    batch = vae._resident(X, None).take(torch.arange(400)[None])
    wrong = (-0.4, -0.1, 0.35, 0.6)

    def found() -> np.ndarray:
        factors = []
        for factor in wrong:
            narrower = torch.tanh(exact / LOG_SCALE_BOUND) - factor / LOG_SCALE_BOUND
            raw.copy_(LOG_SCALE_BOUND * torch.atanh(narrower))
            calibration._calibrate_posterior(vae.vae_, batch)
            factors.append(float(vae.vae_.posterior.log_factor))
        return np.exp(np.subtract(factors, wrong))

    ratio = found()
    assert (0.85 < ratio).all() and (ratio < 1.2).all()
    # With the same draws for all rows, which width scores best is up to the draws.
    seeds = itertools.count(1)
    monkeypatch.setattr(
        calibration, "FixedDraws", lambda *args, **_: FixedDraws(*args, seed=next(seeds))
    )
    assert np.abs(np.log([found(), found()])).max() > np.log(1.3), "negative control"


@pytest.mark.parametrize(("n_columns", "times"), [(20, 34), (2000, 4), (20_000, 2)])
def test_few_rows_are_judged_by_several_draws_within_so_many_cells(n_columns, times, monkeypatch):
    X, judged = np.random.default_rng(0).normal(size=(100, n_columns)), []
    monkeypatch.setattr(
        calibration, "_calibrate_posterior", lambda vae, batch: judged.append(batch)
    )
    VAETransformer(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X)
    assert {batch.values.shape[2] for batch in judged} == {15 * times}


@torch.no_grad()
def test_the_noise_is_that_of_likely_codes_whatever_the_encoder_draws():
    """A linear model in closed form, whose posteriors are then moved and widened."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 2)) @ rng.normal(size=(2, 10)) + rng.normal(size=(800, 10))
    settings = {"max_iter": 1, "learning_rate_init": 1e-9, "early_stopping": False}
    vae = VAETransformer(
        2, hidden_layer_sizes=(), activation="identity", random_state=0, **settings
    ).fit(X)
    exact = np.array(vae.vae_.likelihood.noise_scale(0))
    vae.vae_.network.encoder.bias_0[..., :2] += 0.3
    vae.vae_.network.encoder.bias_0[..., 2:4] += 0.5
    rows, index = vae._resident(X, None), torch.arange(800)[None]

    def found(draw) -> np.ndarray:
        moved = copy.deepcopy(vae.vae_)
        calibration._refit_noise(moved, rows, index, index, partial(draw, moved, Noise([0])))
        return moved.likelihood.noise_scale(0) / exact

    assert abs(found(calibration._weighed).mean() - 1.0) < 0.03
    assert found(calibration._drawn).mean() > 1.1, "negative control"


def test_calibration_promises_no_more_than_the_truth():
    """Independent columns, whose density is known; a width for the draws of scores beats it."""
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(600, 20)), rng.normal(size=(2000, 20))
    truth = stats.norm.logpdf(X_test).sum(1)
    view = Denoising(scale=0.1)
    vae = VAETransformer(16, objective="elbo", view=view, random_state=0).fit(X)
    assert -0.6 < (vae.score_samples(X_test) - truth).mean() < 0.0
    factors = torch.tensor(calibration.LOG_FACTORS)
    scores = []
    for factor in factors:
        vae.vae_.posterior.calibrate(factor)
        scores.append(vae.score(X_test))
    assert max(scores) > truth.mean()


@pytest.mark.parametrize("kind", ["counts", "levels", "flags", "labels"])
def test_a_stack_scores_as_its_members_do_alone(kind):
    """Cells come once for all members, and each has parameters of its own."""
    rng = np.random.default_rng(0)
    columns = {
        "counts": rng.negative_binomial(2, 0.2, 200),
        "levels": pd.Categorical(rng.choice(list("abc"), 200), ordered=True),
        "flags": rng.random(200) < 0.3,
        "labels": rng.choice(list("abc"), 200),
    }
    X = pd.DataFrame({"x": rng.normal(size=200), kind: columns[kind]})
    vae = VAETransformer(2, n_members=3, max_iter=5, random_state=0).fit(X)
    whole = vae.score_samples(X)
    alone = []
    for member in range(3):
        one = copy.deepcopy(vae)
        one.vae_.select(torch.tensor([member]))
        alone.append(one.score_samples(X))
    assert np.ptp(alone, axis=0).max() > 1e-3
    assert_allclose(whole, np.mean(alone, axis=0), rtol=1e-6)
