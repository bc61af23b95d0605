"""Published choices of objective, prior and posterior: exact identities, then trained toys."""

import numpy as np
import pytest
import torch
from components import (
    PRIORS,
    SEEDS,
    blocks_of,
    random_batch,
    small,
    table,
    tiny_vae,
)
from numpy.testing import assert_allclose
from scipy import special, stats
from sklearn.base import clone

from skvae import VAETransformer
from skvae import distributions as D
from skvae._component import Shapes
from skvae.likelihoods import Normal
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE, DReG, Renyi
from skvae.priors import Aggregate, VampPrior

NOISE = 0.5
LOADINGS = torch.tensor([[1.0, 0.5, -0.8], [0.0, 0.7, 0.6]]).double()


def planted(wrong=0.0, seeds=(3,)):
    """A linear model with its exact posterior, or one whose location is wrong by so much.

    The loadings are orthogonal after a rotation, so that the exact posterior has independent
    latents; its log p(x) is that of a normal.
    """
    directions, strength, _ = torch.linalg.svd(LOADINGS, full_matrices=False)
    loadings = directions.T @ LOADINGS
    precision = 1.0 + strength.square() / NOISE**2
    matrix = (loadings.T / NOISE**2) / precision
    vae = tiny_vae(seeds, network=MLP(()), likelihood=Normal(scale=NOISE)).double()
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
