"""Latents in groups, each given those before it: exact identities, then trained toys."""

import math
import pickle

import numpy as np
import pytest
import torch
from components import SEEDS, of_member, over, random_batch, table, tiny_vae
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.datasets import load_digits

from skvae import VAETransformer
from skvae._pass import Batch
from skvae.exceptions import PosteriorCollapseWarning, UnusedLatentsWarning
from skvae.likelihoods import Normal
from skvae.networks import MLP, Convolutional, ResidualConvolutional
from skvae.noise import FixedDraws, Noise, Tempered
from skvae.objectives import ELBO, DReG, group_weights
from skvae.penalties import MMD, SpectralNorm, TotalCorrelation
from skvae.penalties.decoder import largest_square
from skvae.posteriors import DiagonalNormal, Ladder, ResidualLadder
from skvae.priors import GaussianMixture, StandardNormal

pytestmark = [
    pytest.mark.filterwarnings("ignore", category=PosteriorCollapseWarning),
    pytest.mark.filterwarnings("ignore", category=UnusedLatentsWarning),
]
LADDERS = {"ladder": Ladder(), "residual": ResidualLadder()}
IMAGE = (("continuous", (1,) * 12),)
DEEP = ResidualConvolutional((3, 4), channels=(4, 6))
NETWORKS = {"mlp": MLP((5,)), "deep": DEEP}


def ladder_vae(seeds=SEEDS, posterior=None, network=DEEP, n_components=10, **parts):
    posterior = Ladder() if posterior is None else posterior
    return tiny_vae(seeds, n_components, IMAGE, posterior=posterior, network=network, **parts)


# ------------------------------------------------------------------- nested linear Gaussian

BOUND = 7.0
A = np.array([0.9, -0.6])  # z1 given z2
S1 = np.array([0.7, 0.5])
W = np.array([[1.0, 0.0, 1.0], [0.0, 1.5, 0.0]])  # x given z1, with columns at right angles
B, SIGMA = np.array([0.3, -1.0, 2.0]), 0.4


def raw(log_scale):
    return BOUND * np.arctanh(np.asarray(log_scale) / BOUND)


def planted(forget=False):
    """z2 -> z1 -> x with every conditional as it is; or a top group that forgets its row."""
    vae = tiny_vae(
        (0,), 3, (("continuous", (1, 1, 1)),), posterior=Ladder(2),
        network=MLP((), linear_skip=False), likelihood=Normal(scale=SIGMA),
    ).double()  # fmt: skip
    lengths = (W**2).sum(1)
    covariance = W.T @ np.diag(S1**2) @ W + SIGMA**2 * np.eye(3)
    gain = np.linalg.solve(covariance, A @ W)
    variance = 1.0 / (1.0 + gain @ (A @ W))
    gain = variance * gain * (not forget)
    variance = 1.0 if forget else variance
    told = W / lengths[:, None]
    encoder = np.zeros((3, 6))
    encoder[:, :3] = np.column_stack([gain, told.T])
    offset = np.concatenate([-B @ encoder[:, :3], raw([0.5 * math.log(variance)]),
                             raw(np.log(SIGMA) - 0.5 * np.log(lengths))])  # fmt: skip
    heads = np.zeros((1, 8))
    heads[0, :2] = A
    head_offset = np.concatenate([np.zeros(2), raw(np.log(S1)), np.zeros(4)])
    decoder = np.vstack([np.zeros(3), W])
    network = vae.network
    for layers, matrix, bias in (
        (network.encoder, encoder, offset),
        (network.groups.group_1, heads, head_offset),
        (network.decoder, decoder, B),
    ):
        layers.start(torch.as_tensor(matrix)[None])
        layers.start_offset(torch.as_tensor(bias)[None])
    return vae, variance, gain, covariance


def planted_rows(n=50):
    x = np.random.default_rng(0).normal(size=(n, 3)) * 1.5 + B
    rows = torch.as_tensor(x)[None, None]
    return x, Batch(rows, rows, None, None)


def test_bound_of_the_planted_ladder_is_the_likelihood():
    vae, *_, covariance = planted()
    x, batch = planted_rows()
    exact = stats.multivariate_normal(B, A_(covariance)).logpdf(x)
    with torch.no_grad():
        step = vae(batch, FixedDraws(4, 3), 4)
        # The exact posterior: every draw has the same weight, which is the likelihood.
        assert_allclose(step.log_weight()[0], np.tile(exact, (4, 1)), atol=1e-4)
        many = vae(batch, FixedDraws(1 << 14, 3), 1 << 14)
    assert_allclose(many.bound()[0], exact, atol=2e-3)
    # A top group that forgets its row pays for it.
    vae, *_ = planted(forget=True)
    with torch.no_grad():
        step = vae(batch, FixedDraws(64, 3), 64)
    assert (exact - step.bound()[0].numpy()).mean() > 0.1
    assert step.log_weight().std(1).mean() > 0.1


def A_(covariance):
    """Covariance of x: that given z2, and what z2 adds."""
    return covariance + np.outer(A @ W, A @ W)


def test_nats_of_each_level_are_those_of_the_closed_form():
    vae, variance, gain, _ = planted()
    x, batch = planted_rows()
    n = 1 << 14
    with torch.no_grad():
        step = vae(batch, FixedDraws(n, 3), n)
    loc = (x - B) @ gain
    top = 0.5 * (loc**2 + variance - 1.0 - math.log(variance))
    assert_allclose(step.kl[0, 0, :, 0], top, atol=1e-4)
    precision = (W**2).sum(1) / SIGMA**2
    share = precision / (precision + S1**-2)
    apart = (x - B) @ W.T / (W**2).sum(1) - loc[:, None] * A
    ratio = 1.0 / (1.0 + precision * S1**2)
    square = (share * apart / S1) ** 2 + (share * A / S1) ** 2 * variance
    below = 0.5 * (square + ratio - 1.0 - np.log(ratio))
    assert_allclose(step.kl[0].mean(0)[:, 1:], below, rtol=2e-3, atol=2e-3)
    # Given the draw of the level above, to the last digits.
    z2 = step.z[0, 0, :, :1].numpy()
    apart = share * ((x - B) @ W.T / (W**2).sum(1) - z2 * A) / S1
    assert_allclose(step.kl[0, 0, :, 1:], 0.5 * (apart**2 + ratio - 1 - np.log(ratio)), atol=1e-4)
    assert np.abs(below - below.mean(0)).max() > 0.1, "the same for every row"


# -------------------------------------------------------------------------- one group, or more


@pytest.mark.parametrize("posterior", over({"ladder": Ladder(1), "residual": ResidualLadder(1)}))
@pytest.mark.parametrize("network", over({"mlp": MLP((5,)), "deep": DEEP}))
def test_one_group_is_the_plain_model_to_the_bit(posterior, network):
    batch = random_batch(IMAGE)
    found = []
    for kind in (DiagonalNormal(), posterior):
        vae = ladder_vae(posterior=kind, network=network)
        step = vae(batch, Noise(SEEDS), 3)
        step.log_weight().sum().backward()
        slopes = [p.grad for p in vae.parameters() if p.grad is not None]
        found.append([(step.z, step.kl, step.log_likelihood, step.log_weight()), slopes])
    for plain, one in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(plain, one)
    for plain, one in zip(found[0][1], found[1][1], strict=True):
        assert_allclose(one, plain, rtol=1e-4, atol=1e-4)
    two = ladder_vae(posterior=type(posterior)(2), network=network)(batch, Noise(SEEDS), 3)
    assert not torch.allclose(two.log_weight(), found[0][0][3], atol=1e-3)


def test_one_group_is_fitted_as_the_plain_model():
    X = nested(300)[0]
    # Calibration goes on where the posterior is known to be the plain one.
    plain, one, two = (
        quick(4, posterior=posterior, max_iter=10, calibrate=False).fit(X).score(X)
        for posterior in ("normal", Ladder(1), Ladder(2))
    )
    assert one == pytest.approx(plain, abs=0.01)
    assert abs(two - plain) > 0.02


@pytest.mark.parametrize("posterior", over(LADDERS))
@pytest.mark.parametrize("prior", [StandardNormal(), GaussianMixture(3)], ids=repr)
def test_densities_of_codes_integrate_to_one(posterior, prior):
    vae = tiny_vae((3,), 2, posterior=posterior, prior=prior).double()
    batch = random_batch((("continuous", (1, 1, 1)),), n_members=1)
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[None, :, None]
    cell = float(axis[1] - axis[0]) ** 2
    with torch.no_grad():
        log_p = vae.codes().log_prob(grid)
        log_q = vae.infer(batch.inputs.double()[:, :, :1]).log_prob(grid).sum(-1)
    assert_allclose(log_p.exp().sum() * cell, 1.0, rtol=1e-3)
    assert_allclose(log_q.exp().sum() * cell, 1.0, rtol=1e-3)


@pytest.mark.parametrize("posterior", over(LADDERS))
@pytest.mark.parametrize("network", over(NETWORKS))
def test_what_a_draw_remembers_is_what_its_codes_say(posterior, network):
    vae, batch = ladder_vae(posterior=posterior, network=network), random_batch(IMAGE)
    with torch.no_grad():
        step = vae(batch, Noise(SEEDS), 3)
        q, p, z = vae.infer(batch.inputs), vae.codes(), step.z.clone()
        anew = p.log_prob(z) - q.log_prob(z).sum(-1)
        cells = vae.decode(z).log_prob_rows(batch.values, batch.mask)
        remembered = step.posterior.log_odds(step.prior, step.z)
        weight = step.log_weight()
    assert_allclose(remembered, anew, rtol=1e-4, atol=1e-4)
    assert_allclose(step.log_likelihood, cells, rtol=1e-4, atol=1e-4)
    assert_allclose(weight, cells + anew, rtol=1e-4, atol=1e-4)
    other = z + 0.5
    with torch.no_grad():
        moved = p.log_prob(other) - q.log_prob(other).sum(-1)
    assert (moved - anew).abs().min() > 1e-3


@pytest.mark.parametrize("posterior", over(LADDERS))
def test_linear_start_is_that_of_the_plain_model(posterior):
    vae = tiny_vae((0,), 5, posterior=posterior)
    generator = torch.Generator().manual_seed(0)
    matrix, offset = (0.3 * torch.randn(1, *n, 5, generator=generator) for n in ((3,), ()))
    log_scale = torch.tensor([[-2.0, -1.0, -0.5, -1.5, -0.1]])
    weights, biases = vae.posterior.start(matrix, offset, log_scale)
    x = torch.randn(1, 1, 20, 3, generator=generator)
    evidence = vae.posterior.evidence(x @ weights.unsqueeze(1) + biases)
    found = vae.posterior.merged(evidence[1], torch.zeros(1, 1, 20, 4 * 3))
    wanted = (x @ matrix.unsqueeze(1) + offset)[..., 2:]
    # What the residual posterior bounds softly is bent a little.
    bent = {} if type(posterior) is Ladder else {"atol": 0.3}
    assert_allclose(found.loc, wanted, **{"rtol": 1e-4, "atol": 1e-5} | bent)
    assert_allclose(found.scale[0, 0, 0], log_scale[0, 2:].exp(), **{"rtol": 1e-4} | bent)
    assert (found.loc - found.loc.mean(2, keepdim=True)).abs().max() > 0.3


# -------------------------------------------------------------------------------- NVAE's parts


@pytest.mark.parametrize("network", over(NETWORKS))
def test_nats_of_the_residual_posterior_are_those_of_its_formula(network):
    vae = ladder_vae(posterior=ResidualLadder(2), network=network).double()
    rows = random_batch(IMAGE).values.double()
    step = vae(Batch(rows, rows, None, None), FixedDraws(3, 10), 3)
    way = step.posterior.walked
    q, p = way.found[1], way.given[0]
    change, log_factor = q.loc - p.loc, q.log_scale - p.log_scale
    square, factor = (change / p.scale).square(), (2 * log_factor).exp()
    formula = 0.5 * (square + factor - 2 * log_factor - 1.0)
    found = step.kl[..., step.posterior.sizes[0] :]
    assert_allclose(found.detach(), formula.detach(), rtol=1e-6, atol=1e-6)
    plain = 0.5 * (change.square() + factor - 2 * log_factor - 1.0)
    assert (plain - found).abs().max() > 1e-4


def test_weights_of_groups_are_one_on_average_and_end_with_the_warm_up():
    vae = ladder_vae(network=MLP((5,)), posterior=Ladder(3), n_components=7)
    with torch.no_grad():
        step = vae(random_batch(IMAGE), Noise(SEEDS))
    weights = group_weights(step)
    assert weights.shape == (2, 7) and step.posterior.sizes == (2, 2, 3)
    groups = torch.stack([part[:, 0] for part in weights.split((2, 2, 3), -1)], -1)
    assert_allclose(groups.mean(-1), 1.0, rtol=1e-5)
    carried = torch.stack([part.mean(-1) for part in step.mean_kl.split((2, 2, 3), -1)], -1)
    assert_allclose(groups, carried / carried.mean(-1, keepdim=True), rtol=1e-4)
    assert (groups - 1.0).abs().max() > 0.05
    plain, balanced = ELBO(warm_up=4), ELBO(warm_up=4, balance=True)
    for epoch, same in ((1.0, False), (3.9, False), (4.0, True), (9.0, True)):
        losses = plain(step, epoch, 10), balanced(step, epoch, 10)
        assert bool((losses[0] == losses[1]).all()) is same, epoch
    assert torch.equal(balanced.judged(step), plain.judged(step))
    # One group has nothing to share.
    alone = tiny_vae().eval()(random_batch((("continuous", (1, 1, 1)),)), Noise(SEEDS))
    assert torch.equal(plain(alone, 1.0, 10), balanced(alone, 1.0, 10))


def test_spectral_norm_of_a_convolution_is_that_of_its_matrix():
    network = ResidualConvolutional((8, 8), channels=(8, 16))
    vae = tiny_vae((0,), 20, (("continuous", (1,) * 64),), posterior=Ladder(), network=network)
    kernels = {n: w for n, w in vae.network.named_parameters() if "weight_kernel" in n}
    assert len(kernels) > 20
    total = 0.0
    for name, kernel in kernels.items():
        matrix = kernel[0].detach().flatten(1)
        exact = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
        total += exact
        assert_allclose(largest_square(matrix[None]).sqrt(), exact, rtol=0.01, err_msg=name)
    step = vae(random_batch((("continuous", (1,) * 64),), n_members=1), Noise([0]))
    assert SpectralNorm(0.5)(step, None).item() == pytest.approx(0.5 * total, rel=0.01)
    frobenius = sum(float(kernel.norm()) for kernel in kernels.values())
    assert frobenius > 1.2 * total


@pytest.mark.parametrize("shape", [(8, 128), (128, 64), (64, 8), (128, 128), (40, 36), (6, 54)])
def test_singular_values_of_a_stack_are_those_of_its_members(shape):
    stack = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    found = []
    for matrices in (stack, *stack.split(1)):
        matrices = matrices.clone().requires_grad_()
        square = largest_square(matrices)
        found.append((square, *torch.autograd.grad(square.sqrt().sum(), matrices)))
    for ours, *theirs in zip(*found):
        assert torch.equal(ours, torch.cat(theirs))
    exact = [np.linalg.svd(matrix, compute_uv=False)[0] for matrix in stack.numpy()]
    assert_allclose(found[0][0].sqrt().detach(), exact, rtol=0.02)
    assert np.ptp(exact) > 0.01


def test_spectral_norm_keeps_layers_flat():
    X = nested(300)[0]
    spectra = []
    for weight in (0.0, 1.0):
        vae = quick(4, posterior="ladder", penalty=SpectralNorm(weight), max_iter=15).fit(X)
        vae.vae_.network.double()
        matrices = [w for n, w in vae.vae_.network.named_parameters() if "weight_" in n]
        spectra.append(sum(float(largest_square(w.detach()).sqrt()) for w in matrices))
    assert spectra[1] < 0.8 * spectra[0]


@pytest.mark.parametrize("network", over(NETWORKS))
def test_temperature_narrows_draws_and_zero_takes_the_chance_out(network):
    vae = ladder_vae((5,), network=network)
    with torch.no_grad():
        drawn = {t: vae.codes().sample(Tempered(Noise([1]), t), 400) for t in (0.0, 0.5, 1.0)}
        again = vae.codes().sample(Tempered(Noise([2]), 0.0), 400)
        means = {t: vae.decode(z).mean for t, z in drawn.items()}
    assert torch.equal(drawn[0.0], again)
    assert_allclose(means[0.0].std(2), 0.0, atol=1e-6)
    spread = {t: float(mean.var(2).sum()) for t, mean in means.items()}
    assert spread[0.5] < 0.6 * spread[1.0]
    assert torch.equal(drawn[1.0], vae.codes().sample(Noise([1]), 400))


def test_rows_of_a_low_temperature_differ_less():
    X = nested(300)[0]
    vae = quick(4, posterior="ladder", prior="normal", max_iter=10).fit(X)
    cold, warm = (vae.sample(2000, temperature=t, random_state=0) for t in (0.3, 1.0))
    assert cold.var(0).sum() < 0.8 * warm.var(0).sum()
    assert_array_equal(warm, vae.sample(2000, random_state=0))
    for bad in (-1.0, "warm", np.nan):
        with pytest.raises(ValueError, match="temperature"):
            vae.sample(3, temperature=bad)
    with pytest.raises(ValueError, match="temperature=1.0"):
        vae.sample(3, given={0: 1.0}, temperature=0.5)


# ------------------------------------------------------------------------------------ contracts


@pytest.mark.parametrize("posterior", over(LADDERS))
@pytest.mark.parametrize("network", over(NETWORKS))
def test_stack_equals_its_members_bit_for_bit(posterior, network):
    found = []
    for seeds in (SEEDS, SEEDS[:1], SEEDS[1:]):
        vae = ladder_vae(seeds, posterior, network)
        batch = random_batch(IMAGE, n_rows=7, masked=True, n_members=len(seeds))
        step = vae.train()(batch, Noise(seeds), 3)
        found.append((step.z, step.kl, step.log_likelihood, step.log_weight()))
    stack, *alone = found
    for i, members in enumerate(alone):
        for ours, theirs in zip(stack, members):
            assert torch.equal(ours[i : i + 1], theirs)
    assert not torch.equal(stack[2][0], stack[2][1])


@pytest.mark.parametrize("posterior", over(LADDERS))
def test_gradient_reaches_every_parameter_of_the_deep_network(posterior):
    vae = ladder_vae(posterior=posterior)
    ELBO()(vae(random_batch(IMAGE, masked=True), Noise(SEEDS)), 0.0, 1).sum().backward()
    for name, parameter in vae.named_parameters():
        reached = parameter.grad is not None and parameter.grad.isfinite().all()
        assert reached and (parameter.grad.flatten(1) != 0).any(1).all(), name


def test_deep_network_survives_pickling_and_selection():
    vae, batch = ladder_vae(), random_batch(IMAGE)
    draws = FixedDraws(2, 10)
    both = vae(batch, draws, 2).log_weight()
    assert torch.equal(pickle.loads(pickle.dumps(vae))(batch, draws, 2).log_weight(), both)
    vae.select(torch.tensor([1]))
    assert torch.equal(vae(of_member(batch, 1), draws, 2).log_weight(), both[1:])


# ---------------------------------------------------------------------------------- trained toys


def nested(n, seed=0, n_columns=6):
    """Rows of 5 groups of 4 subgroups each, the numbers of both beside."""
    rng = np.random.default_rng(100)
    centres = 6.0 * rng.normal(size=(5, n_columns))
    around = 1.5 * rng.normal(size=(5, 4, n_columns))
    rng = np.random.default_rng(seed)
    group, sub = rng.integers(5, size=n), rng.integers(4, size=n)
    X = centres[group] + around[group, sub] + 0.3 * rng.normal(size=(n, n_columns))
    return X, group, sub


def quick(n_components, **parameters):
    network = MLP((32,), linear_skip=True)
    defaults = {"max_iter": 30, "random_state": 0, "network": network}
    return VAETransformer(n_components, **defaults | parameters)


# Over five seeds the groups before tell 0.61 nats or more of the second one, and 0.02 at most
# where columns have nothing in common.
TOLD, LEAST_NATS = 0.3, 0.3


def without_top(vae):
    """The model with a first group that hears nothing of its row."""
    deaf = pickle.loads(pickle.dumps(vae))
    encoder, n, size = deaf.network.encoder, deaf.n_latents, deaf.posterior.sizes[0]
    last = f"weight_{encoder.output_layer}", f"bias_{encoder.output_layer}", "weight_skip"
    with torch.no_grad():
        for name in last:
            getattr(encoder, name)[..., :size] = 0.0
            getattr(encoder, name)[..., n : n + size] = 0.0
    return deaf


def told_by_groups_before(vae, X):
    """Nats that p(z_2|z_1) knows of codes of rows beyond their mean and spread."""
    single = vae._coder()
    with torch.no_grad():
        inputs = torch.as_tensor(vae._encode(X).inputs)[None, None]
        found = single.infer(inputs)
        found.rsample(Noise([0]))
    z = found.walked.z[..., found.sizes[0] :]
    alone = stats.norm(z.mean(2).numpy()[:, :, None], z.std(2).numpy()[:, :, None]).logpdf(z)
    return float((found.walked.given[0].log_prob(z).numpy() - alone).sum(-1).mean())


@pytest.mark.parametrize(
    "posterior", [Ladder(2), pytest.param(ResidualLadder(2), marks=pytest.mark.slow)], ids=repr
)
def test_every_level_of_nested_groups_is_used(posterior):
    X, group, _ = nested(1500)
    new = nested(500, seed=50)[0]
    vae = quick(4, posterior=posterior, objective=ELBO(warm_up=8)).fit(X)
    # Over five seeds at least 0.59 nats; 0.15 below where columns have nothing in common.
    assert (vae.diagnostics_["kl_per_group"] >= LEAST_NATS).all()
    assert vae.diagnostics_["kl_per_group"].sum() == pytest.approx(
        vae.diagnostics_["kl_per_latent"].sum()
    )
    assert told_by_groups_before(vae, new) > TOLD
    whole, vae.vae_ = vae._bound(new, 64).mean(), without_top(vae.vae_)
    assert vae._bound(new, 64).mean() < whole - 0.1
    # Columns that have nothing in common leave the second level empty.
    empty = np.random.default_rng(0).normal(size=(1500, 6))
    alone = quick(4, posterior=posterior, objective=ELBO(warm_up=8)).fit(empty)
    assert alone.diagnostics_["kl_per_group"][-1] < LEAST_NATS
    assert told_by_groups_before(alone, empty) < 0.5 * TOLD


def digits():
    X = load_digits().data > 7.5
    return X[np.random.default_rng(0).permutation(len(X))].astype(float)


def deep(n_groups, seed, n_components=40):
    network = ResidualConvolutional((8, 8), channels=(8, 16))
    return VAETransformer(
        n_components, posterior=ResidualLadder(n_groups), network=network, prior="normal",
        likelihood="bernoulli", objective=ELBO(warm_up=2, balance=True), max_iter=5,
        penalty=SpectralNorm(0.001), learning_rate_init=0.01, batch_size=32, view=None,
        random_state=seed, calibrate=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_groups_on_maps_of_two_sizes_are_used(seed):
    X = digits()
    several, one = (deep(n, seed).fit(X[:1400]) for n in (4, 1))
    assert (several.diagnostics_["kl_per_group"] >= 0.1).sum() >= 2
    scores = [vae.score_samples(X[1400:], 16) for vae in (several, one)]
    assert scores[0].mean() > scores[1].mean()
    assert one.diagnostics_["kl_per_group"].shape == (1,)


@pytest.mark.slow
def test_the_large_network_is_trained():
    """By a step, on a CPU; hours on a GPU are what it is for."""
    network = ResidualConvolutional.large((28, 28))
    X = (np.random.default_rng(0).random((16, 784)) < 0.2).astype(float)
    settings = {
        "posterior": ResidualLadder(20), "network": network, "likelihood": "bernoulli",
        "prior": "normal", "penalty": SpectralNorm(0.01), "view": None, "calibrate": False,
        "objective": ELBO(warm_up=1, balance=True), "early_stopping": False, "random_state": 0,
        "learning_rate_init": 3e-4,
    }  # fmt: skip
    vae = VAETransformer(network.n_places(20), max_iter=1, batch_size=16, **settings).fit(X)
    assert sum(weight.numel() for weight in vae.vae_.parameters()) > 10_000_000
    assert vae.diagnostics_["kl_per_group"].shape == (20,)
    before = vae.history_["bound"][0]
    assert np.isfinite(before) and vae.sample(2).shape == (2, 784)
    # The one step is one for the better, or the network would be for show.
    assert vae.partial_fit(X).history_["bound"][-1] > before + 1.0


# ------------------------------------------------------------------------------- beside the rest


@pytest.mark.parametrize(
    "parameters",
    [
        {"posterior": Ladder(3), "n_members": 2},
        {"posterior": Ladder(2), "prior": "vamp"},
        {"posterior": ResidualLadder(2), "prior": "flow"},
        {"posterior": Ladder(2), "condition": [0]},
        {"posterior": ResidualLadder(2), "network": DEEP, "n_components": 5},
        {"posterior": Ladder(2), "network": DEEP, "n_components": 5, "condition": [12]},
        {"posterior": Ladder(2), "penalty": MMD()},
    ],
    ids=repr,
)
def test_a_fitted_ladder_does_what_every_model_does(parameters):
    X = np.column_stack([nested(120, n_columns=12)[0], np.arange(120) % 3.0])
    X = X if "condition" in parameters else X[:, :12]
    vae = quick(**{"n_components": 4, "max_iter": 2} | parameters).fit(X)
    codes, scores = vae.transform(X), vae.score_samples(X)
    assert_array_equal(vae.score_samples(X[5:6]), scores[5:6])
    assert_array_equal(vae.transform(X[5:9]), codes[5:9])
    twin = pickle.loads(pickle.dumps(vae))
    assert_array_equal(twin.score_samples(X), scores)
    assert_array_equal(twin.transform(X), codes)
    assert np.isfinite(scores).all() and np.ptp(scores) > 0
    given = {"condition": X} if "condition" in parameters else {}
    assert_allclose(vae.inverse_transform(codes, **given), vae.reconstruct(X), rtol=1e-4)
    drawn = vae.sample(len(X), random_state=0, **given)
    assert drawn.shape == X.shape and np.isfinite(drawn).all()
    groups = vae.diagnostics_["kl_per_group"]
    assert len(groups) == vae.vae_.posterior.n_groups
    # Groups stay in their order, whatever each carries.
    assert_array_equal(vae._axes.order, np.arange(codes.shape[1]))


def test_ways_through_code_space_are_of_all_groups():
    X, group, _ = nested(300)
    vae = quick(4, posterior=Ladder(2), max_iter=10).fit(X)
    codes, has = vae.transform(X), group < 2
    vector = vae.attribute_vector(X, has)
    assert_allclose(vector, codes[has].mean(0) - codes[~has].mean(0), rtol=1e-4, atol=1e-6)
    assert (np.abs(vector) > 1e-3).all()
    for component in (0, 3):
        moved = np.repeat(codes[:1], 3, axis=0)
        moved[:, component] = values = [-1.0, 0.0, 2.0]
        rows = vae.traverse(X[:1], component, values)
        assert_array_equal(rows, vae.inverse_transform(moved))
        assert np.ptp(rows, axis=0).max() > 1e-3


def test_cells_may_be_missing_and_given():
    X = nested(300)[0]
    X[::3, 0] = np.nan
    vae = quick(4, posterior=Ladder(2), max_iter=5).fit(X)
    assert np.isfinite(vae.score_samples(X)).all()
    assert np.isfinite(vae.impute(X)).all()
    rows = vae.sample(5, given={1: 2.0}, random_state=0)
    assert_allclose(rows[:, 1], 2.0)


def test_automatic_number_of_latents_leaves_no_group_empty_handed():
    X = table(100, 4)
    vae = quick("auto", posterior=Ladder(2), max_iter=2).fit(X)
    assert vae.n_components_ >= 2 and len(vae.diagnostics_["kl_per_group"]) == 2


def test_what_does_not_go_together_is_an_error_that_names_the_remedy():
    X = nested(100, n_columns=12)[0]
    for message, parameters in (
        ("no path from one group", {"network": Convolutional((3, 4))}),
        ("cannot share n_components=1", {"n_components": 1}),
        ("multiple of 5. Got 4", {"network": DEEP}),
        ("depend on one another", {"penalty": TotalCorrelation()}),
        ("depend on one another", {"penalty": "neighbors"}),
        ("Use IWAE", {"objective": DReG()}),
    ):
        with pytest.raises(ValueError, match=message):
            quick(**{"n_components": 4, "posterior": Ladder(2)} | parameters).fit(X)
    with pytest.raises(ValueError, match="one group after the other"):
        quick(4, posterior=Ladder(2), supervision="classes").fit(X, np.arange(100) % 2)
    with pytest.raises(ValueError, match="a location and a scale of each latent"):
        quick(5, posterior="deterministic", network=DEEP).fit(X)


def test_network_tells_what_its_groups_must_share():
    network = ResidualConvolutional((28, 28), channels=(16, 32, 32))
    assert network.n_places(4) == 2 * (4 * 4 + 7 * 7)
    assert network.n_places(3) == 2 * 4 * 4 + 7 * 7 and network.n_places(1) == 4 * 4
    assert ResidualConvolutional.large((28, 28)).n_places(20) == 10 * (4 * 4 + 7 * 7)
    with pytest.raises(ValueError, match="image_shape"):
        ResidualConvolutional().n_places(2)
    with pytest.raises(ValueError, match="at least 2"):
        ResidualConvolutional((8, 8), channels=(4,)).n_places(2)
