"""Published choices of objective, prior and posterior: exact identities, then trained toys."""

import numpy as np
import pytest
import torch
from components import blocks_of, random_batch, tiny_vae
from numpy.testing import assert_allclose
from scipy import stats

from skvae.likelihoods import Normal
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE, DReG, Renyi

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
