"""Steps differentiated by hand against automatic differentiation, in float64."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skvae import VAETransformer, likelihoods, objectives, priors
from skvae._component import Shapes
from skvae._pass import Batch
from skvae.networks import ACTIVATIONS, MLP
from skvae.noise import Noise
from skvae.posteriors import DiagonalNormal
from skvae.training.closed_form import GaussianStep
from skvae.training.flat import FlatAdam
from skvae.vae import VAE
from skvae.views import Denoising

N_ROWS, N_COLUMNS = 9, 5


class DoubleNoise(Noise):
    """Draws that fit a model in float64."""

    def normal(self, *shape):
        return super().normal(*shape).double()


def built(n_members, network, likelihood, view=None, prior=None):
    shapes = Shapes(N_COLUMNS, 3, (("continuous", (1,) * N_COLUMNS),))
    parts = network, DiagonalNormal(), prior or priors.StandardNormal()
    vae = VAE(*parts, likelihoods.Columnwise(continuous=likelihood), view)
    vae.build(shapes, Noise(range(n_members))).double()
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            # Biases start at 0, where a wrong gradient could hide.
            if "bias" in name:
                parameter[..., :3] += 0.3
    return vae.train()


def batch_of(n_members, missing, weighted):
    rng = np.random.default_rng(0)
    values = torch.as_tensor(rng.normal(size=(n_members, 1, N_ROWS, N_COLUMNS)))
    mask = torch.as_tensor(rng.random(values.shape) < 0.7) if missing else None
    values = values if mask is None else torch.where(mask, values, 0.0)
    weights = torch.as_tensor(rng.random((n_members, N_ROWS)) * 2) if weighted else None
    return Batch(values, values, mask, weights)


def gradients(vae, batch, objective, road):
    """Gradient buffer and terms by one of three roads."""
    optimizer = FlatAdam(vae, 0.0, None)
    noise, epoch, max_iter = DoubleNoise(range(vae.n_members)), 3.0, 10
    if road == "written out":
        step = GaussianStep.of(vae, objective, optimizer)
        weight = objective.weight_at(epoch, max_iter)
        ll, kl = step(batch, noise, weight)
        terms = [ll - kl, ll, kl, weight * kl - ll]
    else:
        if road == "autograd":
            optimizer.by_hand = None
            optimizer.others = optimizer.parameters
            optimizer.other_views = [optimizer.gradient_of(p) for p in optimizer.parameters]
        step = vae(batch, noise, objective.n_draws, optimizer.by_hand)
        loss = objective(step, epoch, max_iter)
        optimizer.differentiate(loss.sum())
        ll, kl = step.mean_log_likelihood, step.mean_kl
        terms = [objective.reported(step, loss), ll, kl, loss]
    result = optimizer.gradient.clone(), [torch.as_tensor(t).detach() for t in terms]
    optimizer.release()
    return result


def assert_same(one, other):
    assert one[0].abs().max() > 1e-3
    assert_allclose(one[0], other[0], atol=1e-12)
    for a, b in zip(one[1], other[1], strict=True):
        # The KL term is kept per latent by one road and summed by the other.
        a, b = (t.sum(-1) if t.ndim == 2 else t for t in (a, b))
        assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", ["shared", "column", "auto", 0.4])
def test_the_written_out_step_equals_autograd(n_members, missing, weighted, scale):
    network, objective = MLP((12, 7)), objectives.ELBO(beta=1.7, warm_up=6)
    vae = built(n_members, network, likelihoods.Normal(scale=scale), Denoising(0.2))
    batch = batch_of(n_members, missing, weighted)
    expected = gradients(vae, batch, objective, "autograd")
    assert_same(gradients(vae, batch, objective, "written out"), expected)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("linear_skip", [False, True])
@pytest.mark.parametrize("hidden", [(), (6,), (33, 16)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_by_hand_equal_autograd(activation, hidden, linear_skip, n_members):
    vae = built(n_members, MLP(hidden, activation, linear_skip), likelihoods.Normal())
    batch = batch_of(n_members, True, False)
    expected = gradients(vae, batch, objectives.ELBO(), "autograd")
    assert_same(gradients(vae, batch, objectives.ELBO(), "by hand"), expected)
    assert_same(gradients(vae, batch, objectives.ELBO(), "written out"), expected)


@pytest.mark.parametrize(
    "objective",
    [objectives.IWAE(3), objectives.ELBO(free_bits=0.5), objectives.ELBO(capacity=1.0)],
    ids=repr,
)
@pytest.mark.parametrize("prior", [priors.StandardNormal(), priors.GaussianMixture(2)], ids=repr)
def test_other_objectives_and_priors_take_the_general_road(objective, prior):
    vae = built(2, MLP((12,)), likelihoods.StudentT(), prior=prior)
    batch = batch_of(2, True, True)
    expected = gradients(vae, batch, objective, "autograd")
    assert_same(gradients(vae, batch, objective, "by hand"), expected)
    assert GaussianStep.of(vae, objective, FlatAdam(vae, 0.0, None)) is None


def test_the_default_is_written_out():
    X = np.random.default_rng(0).normal(size=(60, 4))
    vae = VAETransformer(2, max_iter=1, random_state=0).fit(X)
    optimizer = FlatAdam(vae.vae_, 0.0, None)
    assert GaussianStep.of(vae.vae_, vae.objective_, optimizer) is not None
