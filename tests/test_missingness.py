"""Values missing not at random: the mask model against quadrature, and on planted data."""

import numpy as np
import pandas as pd
import pytest
import torch
from components import SEEDS, blocks_of, random_batch, tiny_vae
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats
from test_exactness import factor_data, planted

from skvae import VAEOutlierDetector, VAETransformer
from skvae import distributions as D
from skvae.expectations import log_expectation
from skvae.likelihoods import Columnwise
from skvae.missingness import SPEED, SelfMasking
from skvae.noise import FixedDraws, Noise


def set_odds(missingness, slope, offset):
    with torch.no_grad():
        missingness.raw_slope.copy_(torch.as_tensor(slope) / SPEED)
        missingness.raw_offset.copy_(torch.as_tensor(offset) / SPEED)


# ----------------------------------------------------------------------------------- the mask


def test_normal_cells_are_integrated():
    loc, log_scale = torch.tensor([0.3, -1.0]), torch.tensor([-0.5, 0.2])
    cells = D.Normal(loc.view(1, 1, 1, 2).expand(1, 1, 4000, 2), log_scale.view(1, 1, 1, 2))

    def odds(x, columns):
        return torch.nn.functional.logsigmoid(1.5 * x - 0.4)

    found = log_expectation(cells, odds, Noise([0]), 8).exp().mean((0, 1, 2))
    for j in range(2):
        normal = stats.norm(loc[j].item(), log_scale[j].exp().item())
        exact, _ = integrate.quad(
            lambda x, p=normal: p.pdf(x) * special.expit(1.5 * x - 0.4), -12, 12
        )
        assert found[j].item() == pytest.approx(exact, abs=1e-3)
        assert abs(special.expit(1.5 * normal.mean() - 0.7) - exact) > 5e-3


@pytest.mark.parametrize(
    "cells, support",
    [
        (D.Bernoulli(torch.tensor([[[[0.4, -1.0]]]])), 2),
        (D.Categorical(torch.tensor([[[[0.1, 1.0, -0.5, 0.3, 0.0]]]]), (3, 2)), 3),
        (D.Poisson(torch.tensor([[[[0.2, 1.0]]]]).expand(1, 1, 4000, 2)), 60),
        (D.StudentT(torch.zeros(1, 1, 4000, 2), torch.zeros(1), torch.tensor(4.0)), None),
    ],
)
def test_other_cells_are_integrated(cells, support):
    def log_function(x, columns):
        return torch.nn.functional.logsigmoid(0.7 * x - 1.0)

    found = log_expectation(cells, log_function, Noise([0]), 64).exp().mean((0, 1, 2))
    if support is None:
        exact, _ = integrate.quad(
            lambda x: stats.t(4).pdf(x) * special.expit(0.7 * x - 1.0), -80, 80
        )
        assert_allclose(found, exact, atol=5e-3)
        return
    terms = []
    for k in range(support):
        value = torch.full((1, 1, 1, 2), float(k))
        if isinstance(cells, D.Categorical):
            value = torch.minimum(value, torch.tensor([2.0, 1.0]))
            p = torch.distributions.Categorical(logits=cells.logits).probs[0, 0, 0, :, k]
            terms.append(p * special.expit(0.7 * k - 1.0))
            continue
        p = cells.log_prob(value).exp()[0, 0, 0]
        terms.append(p * special.expit(0.7 * k - 1.0))
    assert_allclose(found, torch.stack(terms).sum(0), atol=5e-3)


def test_gradient_moves_the_mean_of_cells_that_are_missing():
    def log_function(x, columns):
        return torch.nn.functional.logsigmoid(2.0 * x)

    for cells_of, loc in (
        (lambda t: D.Normal(t, torch.zeros(1)), 0.3),
        (lambda t: D.Poisson(t), 0.3),
        (lambda t: D.Bernoulli(t), 0.3),
    ):
        steps = []
        for shift in (-0.05, 0.05):
            t = torch.full((1, 1, 6000, 1), loc + shift)
            steps.append(log_expectation(cells_of(t), log_function, Noise([0]), 64).mean().item())
        t = torch.full((1, 1, 6000, 1), loc, requires_grad=True)
        log_expectation(cells_of(t), log_function, Noise([0]), 64).mean().backward()
        slope = (steps[1] - steps[0]) / 0.1
        assert slope > 0.02
        assert t.grad.sum().item() == pytest.approx(slope, rel=0.1)


def test_a_slope_of_zero_adds_a_constant_to_the_bound():
    vae = tiny_vae(likelihood=Columnwise(), missingness=SelfMasking())
    batch = random_batch(blocks_of(vae.likelihood), masked=True)
    odds = torch.linspace(-2.0, 1.0, batch.values.shape[-1])
    set_odds(vae.missingness, torch.zeros_like(vae.missingness.raw_slope), odds)
    steps = [vae.train(on)(batch, FixedDraws(3, 2), 3).log_likelihood for on in (True, False)]
    log_mask = torch.where(batch.mask, -odds, odds).sigmoid().log().sum(-1)
    assert_allclose((steps[0] - steps[1]).detach(), log_mask.expand(2, 3, -1), atol=1e-4)


def test_each_kind_has_its_odds():
    vae = tiny_vae(likelihood=Columnwise(), missingness=SelfMasking())
    batch = random_batch(blocks_of(vae.likelihood))
    names = [kind for kind, sizes in blocks_of(vae.likelihood) for _ in sizes]
    n = vae.missingness.raw_slope.shape[-1]
    slope = torch.arange(1.0, n + 1.0)
    set_odds(vae.missingness, slope.expand(len(SEEDS), 1, 1, -1), torch.tensor(0.5))
    logits = vae.missingness(batch.values)[0, 0].detach()
    place = 0
    for column, kind in enumerate(names):
        cells = batch.values[0, 0, :, column]
        size = [s for _, sizes in blocks_of(vae.likelihood) for s in sizes][column]
        if kind == "categorical":
            expected = slope[place + cells.long()]
            place += size
        else:
            expected = slope[place] * (cells.log1p() if kind == "count" else cells)
            place += 1
        assert_allclose(logits[:, column], 0.5 + expected, rtol=1e-5, err_msg=kind)
    assert place == n


# ------------------------------------------------------------------------------------ training


def at_random(n=500):
    """Three of six columns lose half of their cells."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(n, 6))
    X /= X.std(0)
    hidden = rng.random(X.shape) < 0.5
    hidden[:, 3:] = False
    return X, np.where(hidden, np.nan, X), hidden


def fitted(holed, missingness=None, **params):
    return VAETransformer(
        2, hidden_layer_sizes=(), prior="normal", view=None, max_iter=60, batch_size=64,
        n_iter_no_change=60, missingness=missingness, random_state=0, **params,
    ).fit(holed)  # fmt: skip


def slopes(model, n):
    unit = np.exp(model.codec_.log_scale_[:n])
    return model.vae_.missingness.slope.detach().numpy().ravel()[:n] / unit


def cut_above_the_mean(seed, n=500):
    """Four of eight columns, each tied to the others, lose what is above their means."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(2, 8))
    loadings /= np.linalg.norm(loadings, axis=0)
    X = rng.normal(size=(n, 2)) @ loadings + 0.5 * rng.normal(size=(n, 8))
    X /= X.std(0)
    hidden = X > X.mean(0)
    hidden[:, 4:] = False
    return X, np.where(hidden, np.nan, X), hidden


def rmse(filled, X, hidden):
    return np.sqrt(np.mean((filled - X)[hidden] ** 2))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
def test_known_self_masking_is_undone(seed):
    X, holed, hidden = cut_above_the_mean(seed)
    plain, aware = (
        fitted(holed, missingness, learning_rate_init=0.01)
        for missingness in (None, SelfMasking())
    )
    before, after = (rmse(m.impute(holed), X, hidden) for m in (plain, aware))
    assert after < 0.75 * before
    assert slopes(aware, 4).min() > 1.0, "larger values are missing more often"
    drawn = np.mean([(t - X)[hidden].mean() for t in aware.impute(holed, 5, random_state=0)])
    assert abs(drawn) < 0.75 * abs((plain.impute(holed) - X)[hidden].mean())
    # The encoder that knows the mask is not enough: the weights count too.
    aware.vae_.missingness = None
    assert rmse(aware.impute(holed), X, hidden) > after


def test_at_random_the_slope_is_near_zero():
    X, holed, hidden = at_random()
    # The noise of a model that knows why cells are missing is never refitted.
    plain, aware = (fitted(holed, m, calibrate=False) for m in (None, SelfMasking()))
    assert np.abs(slopes(aware, 3)).max() < 0.5
    errors = [rmse(m.impute(holed), X, hidden) for m in (plain, aware)]
    assert errors[1] < 1.05 * errors[0]


def test_imputed_cells_follow_the_mask_exactly():
    """One missing cell of a planted model: its mean under p(x | seen) p(missing | x)."""
    X = factor_data(noise=1.0)
    vae, model = planted(X)
    vae.vae_.missingness = SelfMasking().build(shapes_of_table(vae), Noise([0])).eval()
    set_odds(vae.vae_.missingness, 3.0, -1.0)
    holed = X[:20].copy()
    holed[:, 4] = np.nan
    values = vae.codec_.encode(X[:20]).values.astype(float)
    rest = [j for j in range(10) if j != 4]
    covariance = model.covariance()
    slope = covariance[4, rest] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
    spread = np.sqrt(covariance[4, 4] - slope @ covariance[rest, 4])
    centre = model.mean[4] + (values[:, rest] - model.mean[rest]) @ slope
    grid = centre[:, None] + spread * np.linspace(-6, 6, 2001)
    weight = stats.norm.pdf(grid, centre[:, None], spread) * special.expit(3.0 * grid - 1.0)
    exact = (weight * grid).sum(1) / weight.sum(1)
    filled = vae.codec_.encode(vae.impute(holed, n_draws=4000)).values[:, 4]
    assert np.abs(filled - exact).max() < 0.06
    assert np.abs(exact - centre).mean() > 0.2, "the mask would not matter"


def shapes_of_table(vae):
    from skvae._component import Shapes

    return Shapes(vae.codec_.n_inputs_, 3, vae.codec_.blocks_)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_every_kind_of_table_trains_and_imputes():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "x": rng.normal(size=120),
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], 120)),
            "flag": pd.array(rng.random(120) < 0.5, dtype="boolean"),
        }
    ).mask(rng.random((120, 3)) < 0.2)
    params = {"max_iter": 2, "hidden_layer_sizes": (8,), "random_state": 0}
    model = VAETransformer(2, missingness="self_masking", **params).fit(X)
    assert not model.impute(X).isna().any().any()
    assert np.isfinite(model.score_samples(X)).all()
    assert len(model.impute(X, 2)) == 2
    detector = VAEOutlierDetector(2, missingness=SelfMasking(4), **params).fit(X)
    assert detector.set_params(missingness__n_draws=2).missingness.n_draws == 2


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_a_stack_imputes_by_its_best_member():
    _, holed, _ = at_random(80)
    model = VAETransformer(
        2, n_members=2, missingness="self_masking", hidden_layer_sizes=(8,), max_iter=2,
        random_state=0,
    ).fit(holed)  # fmt: skip
    best, imputed = model.best_member_, model.impute(holed)
    assert np.isfinite(imputed).all()
    assert model.vae_.missingness.slope.shape == (2, 1, 1, 6)
    with torch.no_grad():
        for weight in model.vae_.parameters():
            weight[1 - best] += 1.0
    assert_array_equal(model.impute(holed), imputed)
