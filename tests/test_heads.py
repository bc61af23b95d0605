"""Likelihoods of ordered levels and of counts with too many zeros: tails, starts and moments."""

import numpy as np
import pandas as pd
import pytest
import torch
from components import SEEDS, random_values, tiny_vae
from numpy.testing import assert_allclose
from scipy import special
from sklearn.base import clone

from skvae import VAETransformer
from skvae import distributions as D
from skvae._component import Shapes
from skvae.imputation.prediction import moments
from skvae.likelihoods import (
    LIKELIHOODS,
    Columnwise,
    Ordinal,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from skvae.noise import Noise
from skvae.objectives import ELBO
from skvae.training import Rows, Settings, start_at_linear_model, train

# ------------------------------------------------------------------------------- ordered levels


def ordinal(loc, thresholds):
    loc = torch.as_tensor(loc).reshape(1, 1, -1, 1)
    return D.Ordinal(loc, torch.as_tensor(thresholds).to(loc).reshape(1, 1, 1, 1, -1))


def test_levels_far_in_the_tails_keep_their_log_probability():
    edges, loc = np.array([-2.0, -1.999, 1.0]), np.linspace(-300.0, 300.0, 41)
    for level in range(4):
        log_prob = ordinal(loc, edges).log_prob(torch.full((1, 1, 41, 1), float(level))).ravel()
        lower, upper = np.r_[-np.inf, edges, np.inf][[level, level + 1]]
        # An increment of the logistic function as a sinh, which nothing cancels in.
        if np.isinf(lower):
            expected = special.log_expit(upper - loc)
        elif np.isinf(upper):
            expected = special.log_expit(loc - lower)
        else:
            half, middle = (upper - lower) / 2, (upper + lower) / 2 - loc
            away = np.logaddexp(np.logaddexp(middle, -middle), np.log(2 * np.cosh(half)))
            expected = np.log(2 * np.sinh(half)) - away
        assert_allclose(log_prob, expected, rtol=1e-9)
    far = special.expit(1.0 + 300) - special.expit(-1.999 + 300)
    assert far == 0.0, "the difference itself is lost there"


def test_gradients_of_levels_by_finite_differences():
    part = tiny_vae(blocks=(("ordinal", (4, 1, 3)),), likelihood=Ordinal()).likelihood.double()
    levels = random_values("ordinal", (4, 1, 3), 5, torch.Generator().manual_seed(0)).double()
    start = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(1)).double()

    def log_prob(parameters, steps):
        part.first_and_log_steps.data = steps.data
        with torch.no_grad():
            return part(parameters).log_prob(levels.expand(2, 1, -1, -1))

    leaf = part.first_and_log_steps
    leaf.data += 0.1 * torch.randn(leaf.shape, generator=torch.Generator().manual_seed(2)).double()
    loc = start.requires_grad_()
    part(loc).log_prob(levels.expand(2, 1, -1, -1)).sum().backward()
    for tensor, gradient in ((loc, loc.grad.clone()), (leaf, leaf.grad.clone())):
        for place in np.ndindex(*tensor.shape):
            ends = []
            for step in (1e-6, -2e-6):
                with torch.no_grad():
                    tensor[place] += step
                ends.append(log_prob(loc, leaf).sum())
            with torch.no_grad():
                tensor[place] += 1e-6
            assert_allclose(gradient[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_training_of_levels_starts_at_their_shares(weighted):
    sizes = (5, 3, 1)
    rng = np.random.default_rng(0)
    shares = [np.array([0.1, 0.4, 0.0, 0.3, 0.2]), np.array([0.7, 0.1, 0.2]), np.ones(1)]
    X = np.column_stack([rng.choice(n, 2000, p=p) for n, p in zip(sizes, shares)])
    values = torch.as_tensor(X, dtype=torch.float32)
    weights = torch.as_tensor(rng.exponential(size=2000)).float() if weighted else None
    vae = tiny_vae(blocks=(("ordinal", sizes),), likelihood=Columnwise())
    index = torch.stack([torch.arange(1000), torch.arange(1000, 2000)])
    rows = Rows(torch.zeros(2000, vae.n_inputs), values, None, weights)
    start_at_linear_model(vae, rows, index)
    with torch.no_grad():
        probs = vae.likelihood(vae.network.decoder.bias_1[..., :3].unsqueeze(1)).probs[:, 0, 0]
    for member in range(2):
        by = None if weights is None else weights[index[member]].numpy()
        for column, size in enumerate(sizes):
            codes = X[index[member].numpy(), column]
            share = np.bincount(codes, by, size) / (len(codes) if by is None else by.sum())
            assert_allclose(probs[member, column, :size], share, atol=2e-3)
            assert (probs[member, column, size:] == 0).all()


def test_levels_that_a_factor_orders_are_learned_with_their_widths():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(2000, 1))
    edges = np.array([-1.0, -0.7, 1.5])
    levels = (4 * factor + rng.logistic(size=(2000, 3)) > 4 * edges[:, None, None]).sum(0)
    values = torch.as_tensor(levels, dtype=torch.float32)
    vae = tiny_vae(blocks=(("ordinal", (4, 4, 4)),), likelihood=Columnwise(), n_components=1)
    inputs = torch.cat([torch.nn.functional.one_hot(c, 4) for c in values.long().unbind(1)], 1)
    rows = Rows(inputs.float(), values, None, None)
    index = torch.arange(2000).expand(2, -1)
    start_at_linear_model(vae, rows, index)
    settings = Settings(30, 128, learning_rate=0.01)
    train(vae, ELBO(), rows, index, None, Noise(SEEDS), settings)
    batch = rows.take(index)
    with torch.no_grad():
        loc = vae.infer(batch.inputs).loc
        decoded = vae.decode(loc)
    by_sum = np.corrcoef(levels.sum(1), factor[:, 0])[0, 1]
    for member in range(2):
        found = np.corrcoef(loc[member, 0, :, 0], factor[:, 0])[0, 1]
        assert abs(found) > by_sum
        steps = decoded.thresholds[member, 0, 0].diff(dim=-1)
        assert (steps[:, 1] > 3 * steps[:, 0]).all(), "2.2 wide against 0.3"
    error = (decoded.point - batch.values).abs().mean()
    blind = (batch.values - batch.values.median()).abs().mean()
    assert error < 0.6 * blind


def test_point_is_the_median_level():
    distribution = ordinal(torch.linspace(-6.0, 6.0, 100), [-1.0, -0.5, 2.0])
    at_most = distribution.probs.cumsum(-1)
    median = (at_most < 0.5).sum(-1).float()
    assert torch.equal(distribution.point, median)
    assert set(median.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert 1 not in distribution.probs.argmax(-1), "a mode would never name the narrow level"


def test_moments_of_levels_are_their_probabilities():
    part = Ordinal().build(Shapes(7, 2, (("ordinal", (4, 2, 3)),)), Noise(SEEDS))
    parameters = torch.randn(2, 3, 5, 3, generator=torch.Generator().manual_seed(0))
    distribution = part(parameters)
    mean, variance = moments(distribution)
    assert mean.shape == variance.shape == (2, 3, 5, 9) and (variance == 0).all()
    by_hand = [
        distribution.log_prob(torch.full((2, 1, 5, 3), float(level))).exp()[..., column]
        for column, size in enumerate((4, 2, 3))
        for level in range(size)
    ]
    assert_allclose(mean.detach(), torch.stack(by_hand, -1).detach(), atol=1e-6)


# ------------------------------------------------------------------------ counts with more zeros

INFLATED = [ZeroInflatedPoisson(), ZeroInflatedNegativeBinomial()]


@pytest.mark.parametrize("likelihood", INFLATED, ids=repr)
def test_inflated_counts_are_a_mixture_whatever_the_odds(likelihood):
    part = clone(likelihood).build(Shapes(1, 2, (("count", (1,)),)), Noise([3])).double()
    logits = torch.linspace(-200.0, 200.0, 11).double()
    parameters = torch.stack([torch.full_like(logits, 4.0), logits], -1).view(1, 1, 11, 2)
    distribution = part(parameters)
    base, share = distribution.base, special.expit(logits.numpy())
    for count in (0.0, 1.0, 60.0, 1000.0):
        value = torch.full((1, 1, 11, 1), count).double()
        counted = base.log_prob(value).detach().numpy().ravel()
        with np.errstate(divide="ignore"):
            expected = special.log_expit(-logits.numpy()) + counted
            if count == 0:
                expected = np.logaddexp(np.log(share), expected)
        assert_allclose(distribution.log_prob(value).detach().ravel(), expected, atol=1e-9)


@pytest.mark.parametrize("likelihood", INFLATED, ids=repr)
def test_training_of_inflated_counts_starts_at_their_mean_and_zeros(likelihood):
    rng = np.random.default_rng(0)
    n = 20_000
    shares, means = np.array([0.0, 0.3, 0.8, 0.0]), np.array([4.0, 4.0, 6.0, 0.02])
    rates = means * rng.exponential(size=(n, 4)) if "Negative" in repr(likelihood) else means
    X = rng.poisson(rates, (n, 4)) * (rng.uniform(size=(n, 4)) >= shares)
    values = torch.as_tensor(X, dtype=torch.float32)
    vae = tiny_vae(blocks=(("count", (1,) * 4),), likelihood=likelihood)
    index = torch.arange(n).expand(2, -1)
    start_at_linear_model(vae, Rows(values, values, None, None), index)
    with torch.no_grad():
        start = vae.likelihood(vae.network.decoder.bias_1[..., :8].unsqueeze(1))
        mean, inflated = start.mean[:, 0, 0], start.logits.sigmoid()[:, 0, 0]
        zeros = start.log_prob(torch.zeros(1, 1, 1, 4)).exp()[:, 0, 0]
    for member in range(2):
        assert_allclose(mean[member], X.mean(0), rtol=1e-4)
        assert_allclose(zeros[member], (X == 0).mean(0), atol=0.015)
    assert_allclose(inflated[:, 2], 0.8, atol=0.02)


@pytest.mark.parametrize("likelihood", INFLATED, ids=repr)
def test_moments_of_inflated_counts_are_those_of_their_draws(likelihood):
    part = clone(likelihood).build(Shapes(2, 2, (("count", (1, 1)),)), Noise([3]))
    parameters = torch.tensor([1.0, -0.5, 2.0, 1.0]).expand(1, 1, 200_000, 4)
    with torch.no_grad():
        distribution = part(parameters)
        draws = distribution.sample(Noise([0]))[0, 0].double()
    mean, variance = (m.detach()[0, 0, 0] for m in moments(distribution))
    error = (draws.var(0) / len(draws)).sqrt()
    assert (abs(draws.mean(0) - mean) < 4 * error).all()
    squares = (draws - mean).square()
    assert (abs(squares.mean(0) - variance) < 4 * squares.std(0) / len(draws) ** 0.5).all()
    assert torch.equal(distribution.point, distribution.mean)


def test_zeros_beyond_a_poisson_are_found_and_score_better():
    rng = np.random.default_rng(0)
    X = rng.poisson(np.exp(2.0 + 0.5 * rng.normal(size=(600, 1))), (600, 6)).astype(float)
    X *= rng.uniform(size=X.shape) >= 0.4
    train, test = X[:450], X[450:]
    settings = {"max_iter": 30, "hidden_layer_sizes": (16,), "random_state": 0}
    scores = {}
    for name in ("poisson", "zero_inflated_poisson"):
        vae = VAETransformer(1, likelihood=name, **settings).fit(train)
        scores[name] = vae.score(test)
        draws = vae.sample(2000)
        assert (draws == np.round(draws)).all() and (draws >= 0).all()
    assert (draws == 0).mean() == pytest.approx((X == 0).mean(), abs=0.05)
    assert scores["zero_inflated_poisson"] > scores["poisson"] + 5


# -------------------------------------------------- densities of whole models, in original units


def _column(kind):
    """A column of this kind, and the cells that carry its mass with the width of each."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=300)
    real = 500.0 + 40.0 * factor + 10.0 * rng.normal(size=300)
    whole = rng.poisson(np.exp(0.6 * factor + 1.0)) * (rng.uniform(size=300) < 0.8)
    levels = np.digitize(factor, [-1.0, 0.0, 0.4])
    grid = np.linspace(-1500.0, 2500.0, 4001)
    labels = np.array(["low", "middle", "high", "top"])

    def coded(ordered):
        return lambda codes: pd.Series(
            pd.Categorical(labels[codes], categories=labels, ordered=ordered)
        )

    return {
        "continuous": (pd.Series, real, grid, 1.0),
        "count": (pd.Series, whole, np.arange(400), 1.0),
        "binary": (lambda cells: pd.Series(cells == 1), levels > 1, np.arange(2), 1.0),
        "categorical": (coded(False), levels, np.arange(4), 1.0),
        "ordinal": (coded(True), levels, np.arange(4), 1.0),
        "token": (pd.Series, levels, np.arange(4), 1.0),
    }[kind]


HEADS = [(name, LIKELIHOODS[name].kind) for name in LIKELIHOODS]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("name, kind", HEADS)
def test_density_of_a_whole_model_has_mass_one(name, kind):
    convert, cells, support, step = _column(kind)
    X = pd.DataFrame({"x": convert(cells)})
    likelihood = Columnwise(**{kind: name})
    kinds = {"x": kind} if kind in ("continuous", "count", "token") else None
    settings = {"max_iter": 5, "hidden_layer_sizes": (8,), "random_state": 0}
    model = VAETransformer(1, likelihood=likelihood, column_kinds=kinds, **settings).fit(X)
    assert [block for block, _ in model.codec_.blocks_] == [kind]
    everything = pd.DataFrame({"x": convert(support)})
    mass = np.exp(model.score_samples(everything, n_draws=512)).sum() * step
    assert mass == pytest.approx(1.0, abs=0.02)
