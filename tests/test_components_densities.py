"""Densities, draws and divergences against scipy, quadrature and Monte Carlo."""

import math
import pickle

import numpy as np
import pytest
import torch
from components import (
    BLOCK_LIKELIHOODS,
    DENSITIES,
    PRIORS,
    SEEDS,
    STANDARD,
    blocks_of,
    normal,
    over,
    random_batch,
    tiny_vae,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats
from sklearn.base import clone

from skvae import distributions as D
from skvae._component import Shapes
from skvae.distributions import codes
from skvae.divergences import kl, log_ratio
from skvae.noise import FixedDraws, Noise
from skvae.posteriors import LOG_SCALE_BOUND, DiagonalNormal

# ------------------------------------------------------------------------------- distributions


def cells(values):
    return torch.as_tensor(values, dtype=torch.float32).reshape(1, 1, -1, 1)


def filled(n):
    return lambda value: torch.full((1, 1, n, 1), value)


@pytest.mark.parametrize("make, exact, support", over(DENSITIES))
def test_density_sums_to_one_and_agrees_with_scipy(make, exact, support):
    log_prob = make(filled(len(support))).log_prob(cells(support)).numpy().ravel()
    reference = getattr(exact, "logpdf", None) or exact.logpmf
    expected = reference(support)
    likely = expected > -30
    assert_allclose(log_prob[likely], expected[likely], rtol=1e-5, atol=1e-5)
    mass = np.exp(log_prob.astype(float))
    step = support[1] - support[0]
    assert abs(mass.sum() * step - 1.0) < 1e-4


@pytest.mark.parametrize("make, exact, support", over(DENSITIES))
def test_draws_have_the_moments_of_the_distribution(make, exact, support):
    n = 100_000
    distribution = make(filled(n))
    draws = distribution.sample(Noise([5])).numpy().ravel().astype(float)
    error = draws.std() / n**0.5
    assert abs(draws.mean() - exact.mean()) < 4 * error
    squares = (draws - draws.mean()) ** 2
    assert abs(squares.mean() - exact.var()) < 4 * squares.std() / n**0.5
    if not isinstance(distribution, D.Categorical):
        assert_allclose(distribution.mean[0, 0, 0, 0], exact.mean(), rtol=1e-5)
    assert np.isin(draws, support).all() or hasattr(exact, "pdf")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("likelihood", over(BLOCK_LIKELIHOODS))
def test_sum_over_a_row_and_its_gradient_are_those_of_the_cells(likelihood, masked):
    part = tiny_vae(likelihood=likelihood).likelihood.double()
    batch = random_batch(blocks_of(likelihood), masked=masked)
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, 6, part.n_parameters)
    parameters = torch.randn(shape, generator=generator, dtype=torch.double).requires_grad_()
    leaves = [parameters, *(p for p in part.parameters() if p.requires_grad)]
    upstream = torch.randn(2, 3, 6, generator=generator, dtype=torch.double)
    cells = part(parameters).log_prob(batch.values.double())
    expected = (cells if batch.mask is None else torch.where(batch.mask, cells, 0.0)).sum(-1)
    rows = part(parameters).log_prob_rows(batch.values.double(), batch.mask)
    assert_allclose(rows.detach(), expected.detach(), rtol=1e-10)
    pairs = (torch.autograd.grad((r * upstream).sum(), leaves) for r in (rows, expected))
    for ours, theirs in zip(*pairs, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_draws", [1, 3])
def test_posterior_gradients_by_finite_differences(n_draws):
    vae = tiny_vae().double().train()
    raw = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double() * 3
    raw.requires_grad_()
    eps = torch.randn(2, n_draws, 4, 2, generator=torch.Generator().manual_seed(1)).double()

    class Same:
        def normal(self, *shape):
            return eps

    check = torch.autograd.gradcheck
    assert check(lambda r: vae.posterior(r).rsample(Same(), n_draws), raw)
    assert check(lambda r: kl(vae.posterior(r), vae.prior(), None), raw)
    q = vae.posterior(raw)
    plain = D.Normal(q.loc, q.log_scale)
    assert_allclose(q.rsample(Same(), n_draws).detach(), plain.rsample(Same(), n_draws).detach())
    ours, theirs = (kl(d, vae.prior(), None).detach() for d in (q, plain))
    assert_allclose(ours, theirs, rtol=1e-6)
    evaluated = vae.eval().posterior(raw)
    assert_allclose(evaluated.scale.detach(), plain.scale.detach())


@pytest.mark.parametrize("total", [1e2, 1e3, 1e5, 3e6])
def test_negative_binomial_of_little_dispersion_is_nearly_poisson(total):
    counts = np.arange(10.0)
    log_total = cells(np.log(total))
    log_prob = D.NegativeBinomial(filled(10)(math.log(3.0)), log_total).log_prob(cells(counts))
    expected = stats.nbinom(total, total / (total + 3.0)).logpmf(counts)
    assert_allclose(log_prob.numpy().ravel(), expected, atol=1e-4)


def one_normal_mixture(loc, scale):
    return D.NormalMixture(
        torch.zeros(1, 1), torch.tensor([[loc]]), torch.diag_embed(1 / torch.tensor([[scale]]))
    )


@pytest.mark.parametrize(
    "p, mixture",
    [
        (STANDARD, one_normal_mixture([0.0, 0.0], [1.0, 1.0])),
        (
            normal([-0.2, 0.5], [0.3, -0.4]),
            one_normal_mixture([-0.2, 0.5], np.exp([0.3, -0.4]).tolist()),
        ),
    ],
)
def test_kl_in_closed_form_equals_monte_carlo(p, mixture):
    n = 200_000
    q = normal([0.4, -1.0], [-0.7, 0.2])
    z = q.rsample(Noise([1]), n)
    closed = kl(q, p, z)
    assert closed.shape == (1, 1, 1, 2)
    terms = log_ratio(q, p, z)
    assert terms.shape == (1, n, 1, 2)
    assert ((terms.mean(1) - closed[:, 0]).abs() < 4 * terms.std(1) / n**0.5).all()
    fallback = kl(q, mixture, z)
    assert fallback.shape == (1, n, 1, 1)
    assert_allclose(fallback.mean(), closed.sum(), atol=4 * fallback.std() / n**0.5)
    assert (closed > 0.1).all(), "a KL of 0 would agree with anything"


def test_kl_is_zero_at_equality():
    for q, p in (
        (normal([0.0, 0.0], [0.0, 0.0]), STANDARD),
        (normal([0.4, -1.0], [-0.7, 0.2]), normal([0.4, -1.0], [-0.7, 0.2])),
    ):
        assert_allclose(kl(q, p, q.loc), 0.0, atol=1e-7)


def test_normal_mixture_by_brute_force_and_by_sampling(monkeypatch):
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(3, 2)) * 2
    roots = rng.normal(size=(3, 2, 2)) + 1.5 * np.eye(2)
    covariance = roots @ roots.transpose(0, 2, 1)
    weights = np.array([0.5, 0.2, 0.3])
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    arrays = (np.log(weights), loc, whitening)
    # The second member is another mixture, lest members be mixed up.
    other = (np.log(weights[::-1].copy()), loc + 1, 2 * whitening)
    stacked = [torch.tensor(np.stack(pair), dtype=torch.float32) for pair in zip(arrays, other)]
    mixture = D.NormalMixture(*stacked)
    x = rng.normal(size=(50, 2)) * 3
    expected = [
        special.logsumexp(
            [
                np.log(w) + stats.multivariate_normal(m, c / shrink).logpdf(x)
                for w, m, c in zip(ws, loc + shift, covariance)
            ],
            axis=0,
        )
        for ws, shift, shrink in ((weights, 0, 1), (weights[::-1], 1, 4))
    ]
    log_prob = mixture.log_prob(torch.tensor(x, dtype=torch.float32).expand(2, 1, -1, -1))
    assert log_prob.shape == (2, 1, 50)
    assert_allclose(log_prob[:, 0], expected, rtol=1e-4)
    draws = mixture.sample(Noise([1, 2]), 100_000)[0, 0].numpy()
    monkeypatch.setattr(codes, "DRAWN_ROWS", 70_000)
    assert_array_equal(draws, mixture.sample(Noise([1, 2]), 100_000)[0, 0])
    mean = weights @ loc
    spread = np.einsum("k,kij->ij", weights, covariance)
    spread += np.einsum("k,ki,kj->ij", weights, loc - mean, loc - mean)
    assert_allclose(draws.mean(0), mean, atol=4 * (np.diag(spread).max() / 1e5) ** 0.5)
    assert_allclose(np.cov(draws.T), spread, atol=0.02 * np.diag(spread).max())


def test_learned_mixture_by_brute_force():
    prior = clone(PRIORS["mixture"]).build(Shapes(3, 2, ()), Noise(SEEDS))
    with torch.no_grad():
        prior.log_scale.normal_(generator=torch.Generator().manual_seed(0))
        prior.logits.normal_(generator=torch.Generator().manual_seed(1))
    x = np.random.default_rng(0).normal(size=(20, 2))
    log_prob = prior().log_prob(torch.tensor(x).float().expand(2, 1, -1, -1)).detach()
    logits, loc, log_scale = (
        p.detach().double().numpy() for p in (prior.logits, prior.loc, prior.log_scale)
    )
    for member in range(2):
        terms = stats.norm(loc[member], np.exp(log_scale[member])).logpdf(x[:, None]).sum(-1)
        expected = special.logsumexp(terms + special.log_softmax(logits[member]), axis=-1)
        assert_allclose(log_prob[member, 0], expected, rtol=1e-4)


def test_aggregate_is_standard_in_training_and_fitted_afterwards():
    prior = clone(PRIORS["aggregate"]).build(Shapes(3, 2, ()), Noise(SEEDS))
    codes = np.random.default_rng(0).normal(size=(2, 500, 2)) * [[[0.3, 2.0]]] + 1.0
    prior.calibrate(codes, SEEDS)
    assert isinstance(prior.train()(), D.StandardNormal)
    draws = prior.eval()().sample(Noise(SEEDS), 20_000).numpy()
    assert_allclose(draws.mean((1, 2)), codes.mean(1), atol=0.1)
    assert_allclose(draws.std((1, 2)), codes.std(1), rtol=0.1)
    twin = pickle.loads(pickle.dumps(prior))
    assert torch.equal(
        twin().log_prob(torch.ones(2, 1, 1, 2)), prior().log_prob(torch.ones(2, 1, 1, 2))
    )


def test_a_start_narrower_than_the_posterior_can_be_is_as_narrow_as_it_can():
    posterior = DiagonalNormal().build(Shapes(3, 2, ()), Noise([0]))
    matrix = torch.zeros(1, 1, 3, 2)
    asked = torch.tensor([[[[-9.0, -6.0]]]])
    weights, offset = posterior.start(matrix, torch.zeros(1, 1, 1, 2), asked)
    found = posterior(torch.zeros(1, 1, 1, 3) @ weights + offset)
    assert_allclose(found.scale.log().ravel(), [-0.99 * LOG_SCALE_BOUND, -6.0], rtol=1e-4)


def test_draws_of_any_number_of_latents_are_normal():
    n_latents = stats.qmc.Sobol.MAXDIM + 3
    draws = FixedDraws(4, n_latents).normal(4, 1, n_latents)
    assert draws.shape == (1, 4, 1, n_latents)
    assert draws[..., -3:].std(1).min() > 0.05, "draws differ from each other"
    few = FixedDraws(512, 5).normal(512, 1, 5)
    assert_allclose(few.std(1).ravel(), 1.0, atol=0.02)


def test_the_largest_rates_draw_counts_that_are_not_negative():
    rates = torch.tensor([[1e3, 1e18, 1e25, math.inf]])
    assert_allclose(Noise([0]).poisson(rates)[0], [1e3, 1e18, 2.0**62, 2.0**62], rtol=0.2)
