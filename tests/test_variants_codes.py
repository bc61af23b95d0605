"""Published choices of objective, prior and posterior: exact identities, then trained toys."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from components import (
    PRIORS,
    SEEDS,
    STANDARD,
    blocks_of,
    random_batch,
    small,
    table,
    tiny_vae,
)
from numpy.testing import assert_allclose
from scipy import special, stats
from sklearn import metrics
from sklearn.base import clone

from skvae import VAETransformer
from skvae import distributions as D
from skvae import metrics as skvae_metrics
from skvae._component import Shapes
from skvae.distributions.chain import NormalChain
from skvae.distributions.code_tree import CodeTree
from skvae.divergences import kl
from skvae.exceptions import PosteriorCollapseWarning
from skvae.likelihoods import Normal
from skvae.networks import MLP
from skvae.noise import FixedDraws, Noise
from skvae.objectives import ELBO, IWAE, DReG, Renyi
from skvae.posteriors import DiagonalNormal, Epanechnikov, Joint, VectorQuantized
from skvae.priors import Aggregate, AutoregressiveNormal, VampPrior

NOISE = 0.5
STANDARD_2 = D.StandardNormal(torch.zeros(2, 1, 1, 1), 2)
LOADINGS = torch.tensor([[1.0, 0.5, -0.8], [0.0, 0.7, 0.6]]).double()


def planted(wrong=0.0, seeds=(3,), posterior=None):
    """A linear model with its exact posterior, or one whose location is wrong by so much.

    The loadings are orthogonal after a rotation, so that the exact posterior has independent
    latents; its log p(x) is that of a normal.
    """
    directions, strength, _ = torch.linalg.svd(LOADINGS, full_matrices=False)
    loadings = directions.T @ LOADINGS
    precision = 1.0 + strength.square() / NOISE**2
    matrix = (loadings.T / NOISE**2) / precision
    parts = {"network": MLP(()), "likelihood": Normal(scale=NOISE)}
    vae = tiny_vae(seeds, posterior=posterior or DiagonalNormal(), **parts).double()
    n = len(seeds)
    offset = torch.full((n, 2), wrong).double()
    log_scale = (-0.5 * precision.log() + wrong).expand(n, -1)
    start = vae.posterior.start(matrix.expand(n, -1, -1), offset, log_scale)
    vae.network.start(*start, loadings.expand(n, -1, -1))
    vae.network.start_offset(torch.zeros(n, 3).double())
    covariance = (loadings.T @ loadings + NOISE**2 * torch.eye(3)).numpy()
    return vae.train(), stats.multivariate_normal(np.zeros(3), covariance)


def rows_of(exact, n_rows, n_members=1):
    values = torch.tensor(exact.rvs(n_rows, random_state=0)).reshape(1, 1, n_rows, 3)
    batch = random_batch(blocks_of(Normal()), n_members=n_members)
    values = values.expand(n_members, -1, -1, -1)
    return type(batch)(values, values, None, None)


class DoubleNoise(Noise):
    def normal(self, *shape):
        return super().normal(*shape).double()


# ---------------------------------------------------------------------------------- objectives

BOUNDS = [ELBO(), IWAE(4), DReG(4), Renyi(0.5, 4), Renyi(2.0, 4), Renyi(-1.0, 4)]


@pytest.mark.parametrize("objective", BOUNDS, ids=repr)
def test_every_bound_is_exact_with_the_exact_posterior(objective):
    for wrong, is_exact in ((0.0, True), (0.3, False)):
        vae, exact = planted(wrong)
        batch = rows_of(exact, 20)
        step = vae(batch, Noise([1]), 4)
        # The closed form of the KL is exact in the mean alone.
        step.kl = (step.log_likelihood - step.log_weight()).unsqueeze(-1)
        bound = objective.bound(step)[0].detach().numpy()
        gap = bound - exact.logpdf(batch.values[0, 0].numpy())
        assert (np.abs(gap).max() < 1e-5) == is_exact


def test_renyi_goes_from_the_elbo_to_the_importance_weighted_bound_and_falls_with_its_order():
    vae, exact = planted(0.3)
    step = vae(rows_of(exact, 50), Noise([1]), 5)
    by_draws = step.log_weight().mean(1)
    assert_allclose(Renyi(1.0, 5).bound(step).detach(), by_draws.detach(), rtol=1e-12)
    assert_allclose(Renyi(1.0 - 2e-4, 5).bound(step).detach(), by_draws.detach(), atol=1e-2)
    weighted = IWAE(5).bound(step).detach()
    assert_allclose(Renyi(0.0, 5).bound(step).detach(), weighted, rtol=1e-12)
    orders = [-1.0, 0.0, 0.5, 0.9, 1.0, 2.0, 5.0]
    bounds = torch.stack([-Renyi(a, 5)(step, 0.0, 1).detach() for a in orders])
    assert (bounds.diff(dim=0) < -1e-3).all()
    assert Renyi(-1.0, 5).mean_bound(step) == IWAE(5).mean_bound(step), "above log p(x)"
    assert repr(Renyi(-1.0).honest()) == "Renyi(alpha=0.0)"


def gradients_of(objective, vae, batch):
    """Gradients of the loss by encoder and decoder, ``(members, parameters)`` each."""
    vae.zero_grad()
    noise = Noise(range(vae.n_members))
    objective(vae(batch, noise, objective.n_draws), 0.0, 1).sum().backward()
    halves = (vae.network.encoder, vae.network.decoder)
    return [torch.cat([p.grad.flatten(1) for p in half.parameters()], 1) for half in halves]


def test_doubly_reparameterised_gradient_has_the_same_mean_and_less_noise():
    """Every member is the same model with other draws."""
    vae, exact = planted(0.6, seeds=range(400))
    batch = rows_of(exact, 3, n_members=400)
    (ours, decoder), (theirs, same) = (gradients_of(o(20), vae, batch) for o in (DReG, IWAE))
    assert_allclose(decoder, same, rtol=1e-9, atol=1e-12)
    used = theirs.var(0) > 0
    means, variances = zip(*((g.mean(0)[used], g.var(0)[used]) for g in (ours, theirs)))
    error = (sum(variances) / 400).sqrt()
    assert ((means[0] - means[1]).abs() < 4.5 * error).all()
    assert (means[1].abs() > 4.5 * error).any(), "a gradient of 0 would agree"
    assert (variances[0] < 0.5 * variances[1]).all()


@pytest.mark.parametrize("n_draws", [1, 5])
def test_doubly_reparameterised_gradient_vanishes_at_the_exact_posterior(n_draws):
    vae, exact = planted()
    batch = rows_of(exact, 3)
    ours, theirs = (gradients_of(o(n_draws), vae, batch)[0] for o in (DReG, IWAE))
    assert ours.abs().max() < 1e-6 < 1e-2 < theirs.abs().max()


def test_doubly_reparameterised_gradient_leaves_that_of_a_penalty_alone():
    vae, exact = planted(0.3)
    found = []
    for objective in (DReG(3), IWAE(3)):
        step = vae(rows_of(exact, 4), Noise([1]), 3)
        both, alone = objective(step, 0.0, 1) + step.z.square().sum(), objective(step, 0.0, 1)
        weight = vae.network.encoder.weight_0
        for_both, for_one = (
            torch.autograd.grad(part.sum(), weight, retain_graph=True)[0] for part in (both, alone)
        )
        found.append(for_both - for_one)
    assert_allclose(*found, rtol=1e-9, atol=1e-12)


# -------------------------------------------------------------------------------------- priors


def fitted_prior(name, n_latents, codes, seeds=SEEDS):
    """A VAE with the prior of an example, refitted to codes, in evaluation."""
    vae = tiny_vae(seeds, n_components=n_latents, prior=PRIORS[name])
    vae.uncalibrate()
    vae.prior.calibrate(np.stack([codes] * len(seeds)), seeds)
    return vae.eval()


def ring(n_rows, seed=0):
    """Codes on a circle, or about two points of the line."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n_rows)
    return np.c_[np.cos(angle), np.sin(angle)] * 1.5 + 0.1 * rng.normal(size=(n_rows, 2))


def grid(n_latents):
    """Points that cover the codes, ``(points, n_latents)``, and the volume of each."""
    n_points = 2001 if n_latents == 1 else 241
    axis = np.linspace(-6, 6, n_points)
    mesh = np.stack(np.meshgrid(*[axis] * n_latents, indexing="ij"), -1).reshape(-1, n_latents)
    return torch.tensor(mesh, dtype=torch.float32), (axis[1] - axis[0]) ** n_latents


@pytest.mark.parametrize("n_latents", [1, 2])
@pytest.mark.parametrize("name", PRIORS)
def test_prior_integrates_to_one_and_its_draws_have_its_density(name, n_latents):
    vae = fitted_prior(name, n_latents, ring(400)[:, :n_latents])
    prior = vae.codes()
    points, volume = grid(n_latents)

    def density(z):
        log_p = prior.log_prob(z.expand(2, 1, -1, -1)).detach().double()
        return (log_p.sum(-1) if log_p.ndim == 4 else log_p)[:, 0]

    log_p = density(points)
    mass = log_p.exp() * volume
    assert_allclose(mass.sum(-1), 1.0, atol=2e-3)
    drawn = prior.sample(Noise([1, 2]), 10_000).detach()
    assert drawn.shape == (2, 1, 10_000, n_latents)
    for member, (z, found) in enumerate(zip(drawn[:, 0], density(drawn))):
        expected = (mass[member] * log_p[member]).sum()
        error = found.std() / len(z) ** 0.5
        assert abs(found.mean() - expected) < 5 * error + 2e-3
        mean = mass[member] @ points.double()
        spread = mass[member] @ points.double().square() - mean**2
        assert_allclose(z.mean(0), mean, atol=5 * (spread.max() / len(z)).sqrt().item())
        assert_allclose(z.var(0), spread, rtol=0.1)
        moved = density(drawn + 0.5)[member].mean()
        assert abs(moved - expected) > 0.05, "other draws would do as well"


def test_flow_finds_the_ring_that_a_mixture_misses_and_no_ring_in_normal_codes():
    rng = np.random.default_rng(1)
    flow = clone(PRIORS["flow"]).set_params(n_normals=4, n_hidden=32, max_iter=40)
    for codes, gain in ((ring(1500), (0.15, 1.0)), (rng.normal(size=(1500, 2)), (-0.03, 0.03))):
        scores = []
        for prior in (Aggregate(4), flow):
            prior = clone(prior).build(Shapes(3, 2, ()), Noise([0]))
            prior.calibrate(codes[None, :1000], [0])
            held_out = torch.tensor(codes[1000:], dtype=torch.float32)[None, None]
            scores.append(prior.eval()().log_prob(held_out).mean().item())
        assert gain[0] < scores[1] - scores[0] < gain[1]


def test_flow_is_fitted_to_one_draw_of_each_row():
    codes = np.concatenate([ring(200)[None], ring(200, 1)[None]], 1)
    fits = {}
    for place, n_draws in ((slice(None), 2), (slice(None, 200), 1), (slice(None), 1)):
        flow = clone(PRIORS["flow"]).build(Shapes(3, 2, ()), Noise([0]))
        flow.calibrate(codes[:, place], [0], n_draws)
        fits[place.stop, n_draws] = flow.weight_in
    assert torch.equal(fits[None, 2], fits[200, 1])
    assert not torch.equal(fits[None, 2], fits[None, 1])


def test_flow_of_a_member_is_that_of_the_member_alone():
    codes = np.stack([ring(200), ring(200, 1)])
    z = torch.tensor(codes[:, None, :20], dtype=torch.float32)
    stack = clone(PRIORS["flow"]).build(Shapes(3, 2, ()), Noise(SEEDS))
    stack.calibrate(codes, SEEDS)
    together = stack.eval()().log_prob(z)
    assert not torch.equal(together[0], stack().log_prob(z.flip(0))[0])
    for i, seed in enumerate(SEEDS):
        alone = clone(PRIORS["flow"]).build(Shapes(3, 2, ()), Noise([seed]))
        alone.calibrate(codes[i : i + 1], [seed])
        assert torch.equal(alone.eval()().log_prob(z[i : i + 1])[0], together[i])
    stack.uncalibrate()
    assert isinstance(stack(), D.StandardNormal)


def test_vamp_prior_of_all_rows_is_the_aggregate_posterior():
    vae = tiny_vae(prior=VampPrior(6))
    batch = random_batch(blocks_of(vae.likelihood))
    vae.prior.start(batch.inputs)
    z = torch.randn(2, 1, 50, 2, generator=torch.Generator().manual_seed(0))
    q = vae.infer(batch.inputs)
    rows = stats.norm(q.loc.detach()[:, 0, None], q.scale.detach()[:, 0, None])
    terms = rows.logpdf(z[:, 0, :, None]).sum(-1)
    expected = special.logsumexp(terms, axis=-1) - np.log(6)
    assert_allclose(vae.codes().log_prob(z)[:, 0].detach(), expected, rtol=1e-4)
    step = vae(batch, Noise(SEEDS))
    assert_allclose(step.prior.log_prob(z)[:, 0].detach(), expected, rtol=1e-4)
    # What calibration does to the posterior of a row is no matter of the prior.
    vae.eval().posterior.calibrate(torch.tensor([1.0, 1.0]))
    assert_allclose(vae.codes().log_prob(z)[:, 0].detach(), expected, rtol=1e-4)
    vae.prior.start(batch.inputs[:, :, :1])
    one = vae.codes().log_prob(z)[:, 0].detach().numpy()
    assert np.abs(one - expected).max() > 0.1


def clusters(n_rows, n_clusters, n_columns=5, seed=0):
    """Rows about points on a circle in a plane, and the cluster of each."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_clusters, size=n_rows)
    angle = 2 * np.pi * y / n_clusters
    plane = np.random.default_rng(9).normal(size=(2, n_columns))
    X = 4 * np.c_[np.cos(angle), np.sin(angle)] @ plane
    return X + 0.4 * rng.normal(size=X.shape), y


def test_vamp_prior_describes_clusters_better_than_a_standard_normal():
    X, _ = clusters(400, 5)
    settings = {"objective": "elbo", "hidden_layer_sizes": (16,), "max_iter": 30}
    settings["learning_rate_init"] = 0.01
    scores = {
        prior: VAETransformer(2, prior=prior, random_state=0, **settings)
        .fit(X[:300])
        .score(X[300:])
        for prior in (VampPrior(10), "normal")
    }
    assert min(scores.values()) == scores["normal"] < max(scores.values()) - 0.3


def test_vamp_prior_refuses_codes_without_a_density():
    with pytest.raises(ValueError, match="VampPrior .* must be normal.*prior='aggregate'"):
        small(prior="vamp", posterior="deterministic").fit(table())
    with pytest.raises(ValueError, match="what the encoder says.*Use prior='aggregate'"):
        small(prior="vamp", penalty="neighbors").fit(table())


def test_chain_of_latents_is_a_normal_of_falling_correlations():
    n, a = 6, 0.8
    chain = NormalChain(torch.zeros(1, 1, 1, 1).double(), n, a)
    covariance = a ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    z = torch.randn(1, 1, 20, n, generator=torch.Generator().manual_seed(0)).double()
    expected = stats.multivariate_normal(np.zeros(n), covariance).logpdf(z[0, 0].numpy())
    assert_allclose(chain.log_prob(z).sum(-1)[0, 0], expected, rtol=1e-10)
    drawn = chain.sample(Noise([0]), 40_000)[0, 0].numpy()
    assert_allclose(np.cov(drawn.T), covariance, atol=0.05)


def test_no_independent_latents_come_nearer_to_the_chain_than_its_committed_rate():
    n, a = 6, 0.8
    chain = NormalChain(torch.zeros(1, 1, 1, 1).double(), n, a)
    rate = AutoregressiveNormal(a).committed_rate(n)
    assert rate == pytest.approx(1.500218, abs=1e-6)
    # Given its neighbours a latent of the chain has this variance.
    best = torch.full((n,), (1 - a**2) / (1 + a**2)).double()
    best[[0, -1]] = 1 - a**2
    shape = (1, 1, 1, n)
    q = D.Normal(torch.zeros(shape).double(), 0.5 * best.log().view(shape))
    assert kl(q, chain, None).sum().item() == pytest.approx(rate, abs=1e-9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        loc, moved = (0.1 * torch.randn(shape, generator=generator).double() for _ in range(2))
        other = D.Normal(loc, q.log_scale + moved)
        assert kl(other, chain, None).sum() > rate
    z = q.rsample(DoubleNoise([1]), 100_000)
    odds = -q.log_odds(chain, z)
    assert abs(odds.mean() - rate) < 4 * odds.std() / 100_000**0.5


def test_trained_codes_of_a_chain_never_tell_less_than_its_committed_rate():
    # Columns that have nothing in common, so that no code is worth its price.
    X = np.random.default_rng(0).normal(size=(400, 6))
    settings = {"objective": ELBO(beta=4.0), "max_iter": 30, "hidden_layer_sizes": (16,)}
    rate, found = AutoregressiveNormal(0.8).committed_rate(6), {}
    for prior in (AutoregressiveNormal(0.8), "normal"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PosteriorCollapseWarning)
            vae = VAETransformer(6, prior=prior, random_state=0, **settings).fit(X)
        found[prior] = min(vae.history_["kl"] + vae.history_["validation_kl"])
    committed, free = found.values()
    assert committed >= rate > 1.5
    assert committed < rate + 0.1, "training has come to what is committed"
    assert free < 0.05


# ------------------------------------------------------------------------- Epanechnikov codes


def test_epanechnikov_density_and_draws_are_those_of_the_parabola():
    loc, scale = 0.7, 1.3 / 5**0.5
    q = D.Epanechnikov(*(torch.full((1, 1, 1, 1), v).double() for v in (loc, math.log(scale))))
    x = torch.linspace(loc - 1.5, loc + 1.5, 300_001).double().view(1, 1, -1, 1)
    density, step = q.log_prob(x).exp(), 3.0 / 300_000
    assert_allclose(density.sum() * step, 1.0, atol=1e-6)
    assert density[(x - loc).abs() > 1.3 + 1e-4].max() == 0.0
    log_p = stats.norm.logpdf(x.numpy())
    terms = density.numpy() * (q.log_prob(x).clamp_min(-50).numpy() - log_p) * step
    divergence = kl(q, STANDARD, None).item()
    assert divergence == pytest.approx(0.50252, abs=1e-5)
    assert divergence == pytest.approx(terms.sum(), abs=1e-5)
    u = (q.rsample(DoubleNoise([0]), 200_000) - loc) / 1.3
    assert u.abs().max() <= 1.0
    for power, moment in ((2, 1 / 5), (4, 3 / 35)):
        found = u**power
        assert abs(found.mean() - moment) < 4 * found.std() / len(u.flatten()) ** 0.5
    assert abs(u.abs().mean() - 3 / 8) < 0.005, "a normal has 0.357 of this spread"


def test_scores_of_an_epanechnikov_model_leave_out_no_code():
    vae, exact = planted(posterior=Epanechnikov())
    batch = rows_of(exact, 20)
    expected = exact.logpdf(batch.values[0, 0].numpy())
    draws = FixedDraws(4096, 2)
    gaps = []
    for trained in (True, False):
        log_weight = vae.train(not trained)(batch, draws, 4096).log_weight()
        bound = torch.logsumexp(log_weight, 1)[0].detach().numpy() - math.log(4096)
        gaps.append(np.abs(bound - expected).max())
    assert gaps[0] < 1e-4 < 5e-3 < gaps[1]


# ---------------------------------------------------------------------------- quantised codes


def quantized(n_rows=30, **params):
    """A posterior of two members in training, and what an encoder says of rows."""
    posterior = VectorQuantized(**({"n_codes": 5} | params)).build(Shapes(3, 4, ()), Noise(SEEDS))
    raw = torch.randn(2, 1, n_rows, 4, generator=torch.Generator().manual_seed(0))
    return posterior.train(), raw.requires_grad_()


def test_rows_take_the_nearest_code_of_each_level():
    posterior, raw = quantized(n_positions=2, n_levels=2)
    book = posterior.codebook.detach().numpy().copy()
    found = posterior(raw)
    for member in range(2):
        left = raw.detach().numpy()[member, 0].reshape(30, 2, 2)
        for level in range(2):
            distance = np.linalg.norm(left[:, :, None] - book[member, level], axis=-1)
            numbers = distance.argmin(-1)
            assert_allclose(found.numbers[member, :, level], numbers)
            left = left - book[member, level][np.arange(2), numbers]
        expected = raw.detach().numpy()[member, 0] - left.reshape(30, 4)
        assert_allclose(found.mean[member, 0], expected, atol=1e-5)
        assert_allclose(posterior.categories(raw)[member].shape, (30, 4))


def test_codebook_moves_by_one_step_of_the_average_and_only_in_training():
    posterior, raw = quantized(decay=0.9)
    posterior.shares.fill_(0.2)
    book = posterior.codebook.detach().clone()
    with torch.no_grad():
        posterior(raw)
    posterior.eval()(raw)
    assert torch.equal(posterior.codebook, book)
    numbers = posterior.train()(raw).numbers[:, :, 0, 0]
    for member in range(2):
        for code in range(5):
            rows = raw.detach()[member, 0][numbers[member] == code]
            share = 0.9 * 0.2 + 0.1 * len(rows) / 30
            expected = (0.9 * 0.2 * book[member, 0, 0, code] + 0.1 * rows.sum(0) / 30) / share
            assert_allclose(posterior.shares[member, 0, 0, code], share, rtol=1e-6)
            assert_allclose(posterior.codebook.detach()[member, 0, 0, code], expected, atol=1e-6)


def test_codes_that_no_row_takes_move_to_rows():
    posterior, raw = quantized(decay=0.99)
    with torch.no_grad():
        posterior.codebook[:, 0, 0, 3:] = 100.0
    posterior.shares[:] = torch.tensor([0.2, 0.2, 0.2, 0.2, 1e-3])
    posterior(raw)
    moved = posterior.codebook.detach()[:, 0, 0]
    assert torch.equal(moved[:, 4], raw.detach()[:, 0, 0])
    assert (moved[:, 3] == 100.0).all(), "it was in use until now"


def test_gradient_passes_the_code_and_commitment_draws_the_encoder_alone():
    posterior, raw = quantized(commitment=0.25)
    q, prior = posterior(raw), posterior.over(D.StandardNormal(torch.zeros(2, 1, 1, 1), 4))
    upstream = torch.randn(raw.shape, generator=torch.Generator().manual_seed(1))
    through = torch.autograd.grad((q.rsample(None) * upstream).sum(), raw)[0]
    assert torch.equal(through, upstream)
    nats = kl(q, prior, None)
    assert_allclose(nats.detach(), math.log(5), rtol=1e-6)
    drawn = torch.autograd.grad(nats.sum(), [raw, posterior.codebook], allow_unused=True)
    assert_allclose(drawn[0], 0.5 * (raw - q.loc).detach(), rtol=1e-5)
    assert drawn[1] is None


def chain(n_rows, n_positions, stay, seed=0):
    """A Markov chain over three categories, and its nats per row."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=(n_rows, 1))
    for _ in range(n_positions - 1):
        other = (codes[:, -1] + rng.integers(1, 3, size=n_rows)) % 3
        codes = np.c_[codes, np.where(rng.random(n_rows) < stay, codes[:, -1], other)]
    step = -stay * math.log(stay) - (1 - stay) * math.log((1 - stay) / 2)
    return codes[:, np.random.default_rng(5).permutation(n_positions)], step, math.log(3)


def tree_log_prob(tree, codes):
    places = np.arange(codes.shape[1])
    return tree.log_table[places, codes[:, tree.parent], codes].sum(1)


@pytest.mark.parametrize("stay", [0.8, 1 / 3])
def test_tree_of_codes_finds_a_chain_and_nothing_where_there_is_none(stay):
    codes, step, start = chain(4000, 6, stay)
    tree = CodeTree.fit(codes[:2000], 3)
    assert_allclose(np.exp(tree.log_table).sum(-1), 1.0)
    nats = -tree_log_prob(tree, codes[2000:]).mean()
    assert nats == pytest.approx(start + 5 * step, abs=0.05 * 6)
    n_roots = (tree.parent == np.arange(6)).sum()
    assert n_roots == 1 if stay > 0.5 else n_roots >= 4
    alone = CodeTree.fit(np.random.default_rng(0).permuted(codes[:2000], axis=0), 3)
    loss = tree_log_prob(tree, codes[2000:]) - tree_log_prob(alone, codes[2000:])
    assert (loss.mean() > 1.0) == (stay > 0.5)
    every = np.stack(np.meshgrid(*[range(3)] * 6, indexing="ij"), -1).reshape(-1, 6)
    assert_allclose(np.exp(tree_log_prob(tree, every)).sum(), 1.0)


def test_draws_of_codes_have_the_probabilities_of_the_tree():
    posterior, _ = quantized(n_codes=3, n_positions=4)
    codes, *_ = chain(500, 4, 0.8)
    book = posterior.book
    z = book.codes(torch.tensor(codes).expand(2, -1, -1).unsqueeze(2))
    posterior.calibrate_prior([posterior(z.unsqueeze(1))], z.numpy())
    prior = posterior.eval().over(D.StandardNormal(torch.zeros(2, 1, 1, 1), 4))
    drawn = prior.sample(Noise([1, 2]), 3000)
    assert drawn.shape == (2, 1, 3000, 4)
    numbers = book.numbers(drawn[:, 0])
    log_prob = prior.log_prob(drawn)[:, 0].numpy()
    # The numbers of the rows the tree was fitted to are among few; so are those drawn.
    for member in range(2):
        seen, counts = np.unique(numbers[member].flatten(1), axis=0, return_counts=True)
        often = counts > 30
        for row, count in zip(seen[often], counts[often]):
            here = (numbers[member].flatten(1).numpy() == row).all(1)
            expected = 3000 * np.exp(log_prob[member][here][0])
            assert abs(count - expected) < 5 * expected**0.5
    assert (posterior.train().over(STANDARD).log_prob(drawn) == -4 * math.log(3)).all()


def test_score_of_quantised_codes_is_a_bound_on_the_sum_over_all_codes():
    X, y = clusters(300, 6)
    network = MLP((8,), linear_skip=True)
    vae = small(posterior=VectorQuantized(6), network=network, max_iter=30).fit(X[:200])
    scores, model = vae.score_samples(X[200:]), vae.vae_
    encoded = vae.codec_.encode(X[200:])
    values = torch.tensor(encoded.values)[None, None]
    book = model.posterior.codebook.detach()[:, 0, 0]
    with torch.no_grad():
        cells = [model.decode(code.view(1, 1, 1, -1)).log_prob(values).sum(-1) for code in book[0]]
        log_p = model.codes().log_prob(book[:, None])[0, 0]
    terms = (torch.stack(cells)[:, 0, 0] + log_p[:, None]).numpy()
    unit = vae.codec_.log_scale_.sum()
    numbers = vae.categories(X[200:])
    assert numbers.shape == (100, 1)
    assert_allclose(scores, terms[numbers[:, 0], np.arange(100)] - unit, atol=1e-3)
    gap = special.logsumexp(terms, axis=0) - unit - scores
    assert (gap > -1e-3).all() and gap.mean() < 0.3
    assert metrics.adjusted_rand_score(y[200:], numbers[:, 0]) > 0.95
    assert abs(metrics.adjusted_rand_score(y[200:][::-1], numbers[:, 0])) < 0.1
    assert_allclose(vae.transform(X[200:]), book[0, numbers[:, 0]], atol=1e-6)
    drawn = vae.sample(400, random_state=0)
    nearest = np.linalg.norm(drawn[:, None] - X[None, :200], axis=-1).min(1)
    assert np.median(nearest) < 1.0 < np.median(np.linalg.norm(X[:200] - X.mean(0), axis=1))


def test_first_level_has_the_gist_and_the_second_the_detail():
    X, y = clusters(400, 6)
    network = MLP((8,), linear_skip=True)
    one, vae = (
        small(posterior=posterior, network=network, max_iter=30).fit(X[:300])
        # What the first level leaves is noise, whose means are those of many steps.
        for posterior in (VectorQuantized(6, n_levels=n, decay=0.99) for n in (1, 2))
    )
    levels = vae.categories(X)
    assert levels.shape == (400, 2)
    assert metrics.adjusted_rand_score(y, levels[:, 0]) > 0.9
    assert metrics.adjusted_rand_score(y, levels[:, 1]) < 0.3
    errors = [np.square(v.reconstruct(X[300:]) - X[300:]).mean() for v in (one, vae)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_discrete_codes_refuse_what_they_have_no_honest_answer_to():
    vae = small(posterior=VectorQuantized(n_codes=4)).fit(table())
    X = table()[np.argsort(table()[:, 0])][[0, -1]]
    with pytest.raises(ValueError, match="interpolate.*between two categories lies nothing"):
        vae.interpolate(X)
    assert len(vae.interpolate(X[[0, 0]], 3)) == 3
    with pytest.raises(ValueError, match="traverse.*no values in between.*inverse_transform"):
        vae.traverse(X[:1], 0)
    with pytest.raises(ValueError, match="needs a density over codes"):
        vae.sample(given={"x0": 0.0})
    with pytest.raises(ValueError, match="would play no part.*prior='aggregate'"):
        small(posterior="vector_quantized", prior="mixture").fit(table())
    with pytest.raises(ValueError, match="n_components=2 is no multiple"):
        small(posterior=VectorQuantized(n_positions=3)).fit(table())
    with pytest.raises(ValueError, match="categories needs discrete latents"):
        small().fit(table()).categories(X)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("posterior", ["vector_quantized", "epanechnikov", Joint(3)])
def test_model_of_such_codes_survives_pickling_and_a_search(posterior):
    vae = small(posterior=posterior).fit(table())
    twin = pickle.loads(pickle.dumps(vae))
    for method in ("score_samples", "transform"):
        assert_allclose(getattr(twin, method)(table()), getattr(vae, method)(table()))
        alone = getattr(vae, method)(table()[3:5])
        assert np.array_equal(alone, getattr(vae, method)(table())[3:5])
    assert_allclose(twin.sample(5, random_state=1), vae.sample(5, random_state=1))
    going = small(posterior=posterior).partial_fit(table()).partial_fit(table())
    assert np.isfinite(going.recalibrate(table()).score(table()))


# -------------------------------------------------------------------------- joint latent codes


def joint(n_rows=4, temperature=0.67):
    posterior = Joint(3, temperature).build(Shapes(3, 2, ()), Noise(SEEDS))
    raw = torch.randn(2, 1, n_rows, 7, generator=torch.Generator().manual_seed(0))
    return posterior.train(), raw.requires_grad_()


def test_joint_divergence_is_that_of_both_parts_and_equals_monte_carlo():
    posterior, raw = joint()
    q, prior = posterior(raw), posterior.over(STANDARD)
    nats = kl(q, prior, None).detach()
    assert nats.shape == (2, 1, 4, 3)
    share = q.log_share.detach().exp().numpy()
    expected = stats.entropy(share, np.full(3, 1 / 3), axis=-1)
    assert_allclose(nats[..., -1], expected, rtol=1e-5)
    assert (expected <= math.log(3)).all()
    # One-hot draws of the model in evaluation are those of its probabilities.
    q = posterior.eval()(raw)
    z = q.rsample(Noise(SEEDS), 20_000).detach()
    assert ((z[..., 2:] == 0) | (z[..., 2:] == 1)).all() and (z[..., 2:].sum(-1) == 1).all()
    assert_allclose(z.mean(1), q.mean[:, 0].detach(), atol=0.06)
    odds = -q.log_odds(posterior.over(STANDARD), z).detach()
    error = odds.std(1) / 20_000**0.5
    assert ((odds.mean(1) - nats.sum(-1)[:, 0]).abs() < 5 * error).all()


def test_relaxed_categories_are_shares_with_finite_gradients():
    posterior, raw = joint(500, temperature=0.3)
    with torch.no_grad():
        raw[..., 2] = 27.0  # the others have probability 1e-12
    z = posterior(raw).rsample(Noise(SEEDS))[..., 2:]
    assert_allclose(z.sum(-1).detach(), 1.0, rtol=1e-5)
    assert ((z > 0.01) & (z < 0.99)).any() or raw[..., 2].min() > 20
    (gradient,) = torch.autograd.grad((z * torch.arange(3.0)).sum(), raw)
    assert gradient.isfinite().all()
    softer = joint(500, temperature=2.0)
    harder = joint(500, temperature=0.05)
    spread = [p(r).rsample(Noise(SEEDS))[..., 2:].amax(-1).mean() for p, r in (softer, harder)]
    assert spread[0] < 0.8 < 0.95 < spread[1]


def test_draws_of_joint_codes_have_the_fitted_shares():
    posterior, raw = joint()
    codes = np.zeros((2, 100, 5))
    codes[0, :, 2], codes[1, :80, 3], codes[1, 80:, 4] = 1.0, 1.0, 1.0
    posterior.calibrate_prior([], codes)
    drawn = posterior.eval().over(STANDARD_2).sample(Noise(SEEDS), 5000)[:, 0, :, 2:].mean(1)
    assert_allclose(drawn, [[1, 0, 0], [0, 0.8, 0.2]], atol=0.02)
    posterior.uncalibrate()
    drawn = posterior.over(STANDARD_2).sample(Noise(SEEDS), 5000)[:, 0, :, 2:].mean(1)
    assert_allclose(drawn, 1 / 3, atol=0.03)


def clusters_with_a_factor(n_rows, seed):
    """Five clusters in a plane, and across it one number by which their rows differ."""
    rng = np.random.default_rng(seed)
    y, factor = rng.integers(5, size=n_rows), rng.normal(size=n_rows)
    axes = np.linalg.qr(np.random.default_rng(9).normal(size=(6, 3)))[0].T
    angle = 2 * np.pi * y / 5
    X = np.c_[3 * np.cos(angle), 3 * np.sin(angle), factor] @ axes
    return X + 0.2 * rng.normal(size=X.shape), y, factor


def test_joint_codes_find_the_clusters_and_what_varies_within_them():
    X, y, factor = clusters_with_a_factor(500, 0)
    settings = {"max_iter": 20, "objective": "elbo", "random_state": 0, "n_components": 1}
    settings["network"] = MLP((8,), linear_skip=True)
    vae = VAETransformer(posterior=Joint(5), **settings).fit(X[:300])
    codes, found = vae.transform(X[300:]), vae.categories(X[300:])
    assert codes.shape == (200, 6) and found.shape == (200, 1)
    assert_allclose(codes[:, 1:].sum(1), 1.0, rtol=1e-5)
    assert np.array_equal(codes[:, 1:].argmax(1), found[:, 0])
    assert metrics.adjusted_rand_score(y[300:], found[:, 0]) > 0.95
    assert abs(metrics.adjusted_rand_score(np.roll(y[300:], 1), found[:, 0])) < 0.1
    within = [
        np.corrcoef(part)[0, 1]
        for k in range(5)
        if (part := np.stack([codes[:, 0], factor[300:]])[:, y[300:] == k]).size
    ]
    assert np.abs(within).min() > 0.9
    plain = VAETransformer(**settings).fit(X[:300])
    assert vae.score(X[300:]) > plain.score(X[300:]) + 1.0
    drawn = vae.sample(300, random_state=1)
    nearest = np.linalg.norm(drawn[:, None] - X[None, :300], axis=-1).min(1)
    assert np.median(nearest) < 0.8
    same, other = np.flatnonzero(y == 0)[:2], np.flatnonzero(y == 1)[0]
    assert vae.interpolate(X[same], 4).shape == (4, 6)
    with pytest.raises(ValueError, match="between two categories lies nothing"):
        vae.interpolate(X[[same[0], other]])
    assert vae.traverse(X[:1], 0).shape == (7, 6)
    with pytest.raises(ValueError, match="component 3 belongs to discrete latents"):
        vae.traverse(X[:1], 3)
    with pytest.raises(ValueError, match="needs a density over codes"):
        vae.sample(given={"x0": 0.0})


# ----------------------------------------------------------------------------- disentanglement


def known_factors(n_rows=3000):
    rng = np.random.default_rng(0)
    return np.c_[rng.normal(size=(n_rows, 2)), rng.integers(4, size=n_rows)]


MEASURES = {
    # What the factors themselves have at least, what noise has at most.
    "mutual_information_gap": (0.93, 0.05),
    "factor_vae_score": (0.99, 0.5),
    "disentanglement": (0.95, 0.5),
    "completeness": (0.95, 0.5),
    "informativeness": (0.9, 0.05),
    "separated_predictability": (0.6, 0.05),
}


def measured(name, codes, factors):
    if name in skvae_metrics.DCI._fields:
        # Boosted trees need few rows, and time for many.
        return getattr(skvae_metrics.dci(codes[:600], factors[:600], random_state=0), name)
    seeded = {} if name == "mutual_information_gap" else {"random_state": 0}
    return getattr(skvae_metrics, name)(codes, factors, **seeded)


@pytest.mark.parametrize("name, best, noise", [(k, *v) for k, v in MEASURES.items()])
def test_measures_of_disentanglement_know_the_factors_from_a_rotation_and_from_noise(
    name, best, noise
):
    factors = known_factors()
    turned = factors.copy()
    turned[:, :2] = (factors[:, :2] @ [[1, 1], [-1, 1]]) / 2**0.5
    rng = np.random.default_rng(1)
    ours = measured(name, -2.0 * factors[:, [2, 0, 1]] + 7.0, factors)
    assert ours >= best
    assert measured(name, np.c_[factors, np.zeros(3000)], factors) >= best
    assert measured(name, rng.normal(size=(3000, 3)), factors) <= noise
    if name != "informativeness":
        assert measured(name, turned, factors) < ours - 0.15
    else:
        assert measured(name, turned, factors) > 0.7, "nothing is lost by a rotation"


def test_measures_of_disentanglement_take_names_and_refuse_a_factor_that_is_constant():
    factors = known_factors(500)
    frame = pd.DataFrame(
        {"size": factors[:, 0], "kind": np.array(list("abcd"))[factors[:, 2].astype(int)]}
    )
    named = skvae_metrics.mutual_information_gap(factors, frame)
    assert named == pytest.approx(
        skvae_metrics.mutual_information_gap(factors, factors[:, [0, 2]])
    )
    with pytest.raises(ValueError, match="factor 1 has the one value [0-9.]+. Leave it out"):
        skvae_metrics.dci(factors, np.c_[factors[:, 0], np.ones(500)])


def test_a_value_that_most_rows_have_is_a_class_of_its_own():
    rng = np.random.default_rng(0)
    factors = np.where(rng.random((2000, 2)) < 0.96, 0.0, rng.exponential(size=(2000, 2)))
    for sign in (1.0, -1.0):
        gap = skvae_metrics.mutual_information_gap(factors, sign * factors)
        assert gap == pytest.approx(1.0, abs=0.05)
