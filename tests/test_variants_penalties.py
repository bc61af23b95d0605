"""Penalties: what they are in closed form, whom they reach, and what they do to codes."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from components import (
    PENALTIES,
    SEEDS,
    blocks_of,
    over,
    random_batch,
    small,
    table,
    tiny_vae,
    vae_and_batch,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvae import distributions as D
from skvae import penalties
from skvae._component import Shapes
from skvae._pass import Pass
from skvae.likelihoods import Columnwise
from skvae.model_selection import StackedGridSearchCV
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE
from skvae.penalties import (
    DIP,
    MMD,
    DecoderCritic,
    DecoderDecay,
    DecoderGradient,
    DecoderSpectrum,
    FactorCritic,
    LatentCritic,
    RadonSobolev,
    TotalCorrelation,
)
from skvae.penalties.appearance import expected_cells, real_cells, width_of
from skvae.penalties.decoder import largest_square
from skvae.penalties.dip import covariance
from skvae.penalties.factor_critic import shuffled
from skvae.penalties.mmd import KERNELS, SCALES, mmd
from skvae.penalties.pairs import drawn_by_weight
from skvae.penalties.radon_sobolev import distance_to_normal, half_energy
from skvae.penalties.sliced_wasserstein import sliced_wasserstein
from skvae.penalties.total_correlation import log_aggregate, log_shares
from skvae.posteriors import POSTERIORS, Deterministic
from skvae.training import Rows, Settings, train
from skvae.training.flat import FlatAdam

# Those that place rows have tests of their own.
SHAPING = {name: part for name, part in PENALTIES.items() if "neighbors" not in name}
CRITICS = {name: part for name, part in SHAPING.items() if part.has_critic}


def double(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


def step_of(codes, posterior=None, weights=None):
    """A pass of which only the codes ``(members, rows, d)`` count."""
    z = codes[:, None]
    nothing = torch.zeros(z.shape[:3])
    prior = D.StandardNormal(z.new_zeros(len(z), 1, 1, 1), z.shape[-1])
    posterior = posterior or D.Delta(z)
    return Pass(nothing, nothing[..., None], posterior, prior, posterior, z, weights)


# ------------------------------------------------------------------------- maximum discrepancy


def plain_mmd(x, y, weights, kernel):
    widths = [2 * x.shape[1] * scale for scale in SCALES]

    def k(a, b):
        squares = torch.tensor(float(((a - b) ** 2).sum()), dtype=torch.float64).view(1)
        return np.mean([KERNELS[kernel](squares, width)[0].item() for width in widths])

    n, m = len(x), len(y)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    both = np.array([weights[i] * weights[j] for i, j in pairs])
    within = (both * [k(x[i], x[j]) for i, j in pairs]).sum() / both.sum()
    prior = np.mean([k(y[i], y[j]) for i in range(m) for j in range(m) if i != j])
    across = np.array([[k(a, b) for b in y] for a in x]).mean(1)
    return within + prior - 2 * np.average(across, weights=weights)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_mmd_equals_two_loops(kernel, weighted):
    x, y = double(2, 7, 3), double(2, 9, 3, seed=1) + 0.3
    weights = torch.as_tensor(np.random.default_rng(2).random((2, 7))) if weighted else None
    found = mmd(x, y, kernel, weights)
    for member in range(2):
        w = np.ones(7) if weights is None else weights[member].numpy()
        expected = plain_mmd(x[member].numpy(), y[member].numpy(), w, kernel)
        assert_allclose(found[member], expected, atol=1e-10)


def test_slopes_of_the_kernels_are_those_of_their_values():
    x, y = double(1, 5, 2).requires_grad_(), double(1, 6, 2, seed=1)
    for kernel in KERNELS:
        assert torch.autograd.gradcheck(lambda a, k=kernel: mmd(a, y, k), x)


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (0.8, 0.5)])
def test_mmd_of_normals_is_the_closed_form_on_average(mean, scale):
    # Each member is a sample of its own.
    x, y = mean + scale * double(400, 40, 1), double(400, 40, 1, seed=1)

    def kernel_of(variance, shift):
        widths = 2.0 * np.array(SCALES)
        return np.mean(
            np.exp(-(shift**2) / (widths + 2 * variance)) / np.sqrt(1 + 2 * variance / widths)
        )

    expected = kernel_of(2 * scale**2, 0) + kernel_of(2, 0) - 2 * kernel_of(1 + scale**2, mean)
    found = mmd(x, y, "gaussian").numpy()
    error = found.std() / 20
    assert abs(found.mean() - expected) < 4 * error
    # With the pairs of a row and itself it would be too large by far more than that.
    itself = 2 / 40 - (kernel_of(2 * scale**2, 0) + kernel_of(2, 0)) / 40
    assert itself > 5 * error, "negative control"


# ------------------------------------------------------------------------------------- slices


def test_sliced_distance_on_a_line_is_that_of_the_best_assignment():
    x, y = double(2, 30, 1), double(2, 30, 1, seed=1) * 2 + 1
    found = sliced_wasserstein(x, y, torch.ones(2, 1, 1, dtype=torch.float64))
    for ours, theirs, distance in zip(x.numpy(), y.numpy(), found):
        cost = (ours - theirs.T) ** 2
        rows, columns = linear_sum_assignment(cost)
        assert_allclose(distance, cost[rows, columns].mean(), rtol=1e-10)


def test_sliced_distance_of_shifted_normals():
    noise, mean = Noise([0]), torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0])
    x, y = noise.normal(4000, 5).clone() + mean, noise.normal(4000, 5).clone()
    directions = torch.nn.functional.normalize(noise.normal(500, 5), dim=-1)
    assert_allclose(sliced_wasserstein(x, y, directions), mean.square().sum() / 5, rtol=0.1)
    assert sliced_wasserstein(x - mean, y, directions) < 0.02


def test_weights_of_sliced_distances_are_repetitions():
    x, y, directions = double(1, 4, 2), double(1, 6, 2, seed=1), double(1, 3, 2, seed=2)
    expected = sliced_wasserstein(x[:, [0, 0, 1, 2, 3, 3]], y, directions)
    weights = torch.tensor([[2.0, 1.0, 1.0, 2.0]])
    assert_allclose(sliced_wasserstein(x, y, directions, weights), expected)
    equal = [sliced_wasserstein(x, y[:, :4], directions, w) for w in (None, torch.ones(1, 4))]
    assert_allclose(*equal)
    assert abs(expected - equal[0]) > 0.05


# ------------------------------------------------------------------------------------- energy


@pytest.mark.parametrize("d", [2, 3, 8, 40])
def test_distance_to_a_normal_is_its_hypergeometric_function(d):
    length = np.array([0.0, 1e-3, 1.0, 3.0, 12.0, 45.0])
    ratio = math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    expected = math.sqrt(2) * ratio * special.hyp1f1(-0.5, d / 2, -(length**2) / 2)
    found = distance_to_normal(torch.as_tensor(length**2)[None], d)[0]
    assert_allclose(found, expected, atol=2e-5)
    far = distance_to_normal(torch.tensor([[1e4]]), d)
    assert_allclose(far, 100 + (d - 1) / 200, rtol=1e-3)


def test_half_energy_of_known_samples():
    penalty = RadonSobolev(weight=1.0)
    codes = Noise(list(range(10))).normal(1000, 8)

    def of(z):
        return penalty(step_of(z[:, :256]), None).numpy()

    assert_allclose(of(codes), 0.0, atol=0.02)
    apart = 2 * math.exp(math.lgamma(4.5) - math.lgamma(4))
    full = [
        half_energy(z, distance_to_normal(z.square().sum(-1), 8), apart, None)
        for z in (codes, codes[:2] + 0.5, 1.5 * codes[:2])
    ]
    # A shift of 0.5 per axis has 0.239, a scale of 1.5 has 0.097.
    for found, expected, atol in zip(full, (0.0, 0.239, 0.097), (0.003, 0.012, 0.012)):
        assert_allclose(found, expected, atol=atol)
    assert abs(full[0].mean()) < 0.0006
    # With the pairs of a code and itself it would be that much too large.
    assert apart / 2000 > 3 * 0.0006, "negative control"


@pytest.mark.parametrize("weighted", [False, True])
def test_half_energy_equals_a_loop(weighted):
    codes, to_prior = double(1, 6, 3), double(1, 6, seed=1).square()
    w = np.random.default_rng(2).random(6) if weighted else np.ones(6)
    z = codes[0].numpy()
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    both = [w[i] * w[j] for i, j in pairs]
    within = np.average([np.linalg.norm(z[i] - z[j]) for i, j in pairs], weights=both)
    expected = np.average(to_prior[0], weights=w) - 0.5 * within - 0.5 * 1.7
    weights = torch.as_tensor(w)[None] if weighted else None
    assert_allclose(half_energy(codes, to_prior, 1.7, weights), expected, atol=1e-6)


def test_half_energy_against_draws_of_a_prior():
    # A mixture of one standard normal is what has a closed form, and is drawn from here.
    step = step_of(Noise([0]).normal(256, 3) + 0.7)
    closed = RadonSobolev(1.0)(step, None).item()
    prior = D.NormalMixture(torch.zeros(1, 1), torch.zeros(1, 1, 3), torch.eye(3)[None, None])
    drawn = []
    for seed in range(20):
        step.prior = prior
        drawn.append(RadonSobolev(1.0)(step, Noise([seed])).item())
    assert abs(np.mean(drawn) - closed) < 0.1 * closed
    assert closed > 0.2


def test_half_energy_of_equal_codes_has_a_slope():
    codes = torch.ones(1, 6, 2, requires_grad=True)
    RadonSobolev()(step_of(codes), None).sum().backward()
    assert codes.grad.isfinite().all() and (codes.grad != 0).any()


# -------------------------------------------------------------------------- total correlation

MIXING = torch.tensor([[0.9, 0.0], [0.6, 0.5]], dtype=torch.float64)
NOISE = torch.tensor([0.3, 0.2], dtype=torch.float64)
# Mutual information, total correlation and what single latents lack, from determinants.
INFORMATION, CORRELATION, MARGINAL = 1.1575, 0.1960, 0.0132


def planted(n, members=1, seed=0, mixing=MIXING):
    loc = double(members, n, 2, seed=seed) @ mixing.T
    posterior = D.Normal(loc[:, None], 0.5 * NOISE.log().expand_as(loc[:, None]))
    return posterior, loc + NOISE.sqrt() * double(members, n, 2, seed=seed + 1)


def test_parts_of_the_divergence_of_all_rows():
    # Rows and noise whose moments are exact leave little to chance.
    white = double(2000, 4, seed=0)
    white = white - white.mean(0)
    factor = torch.linalg.cholesky(white.T @ white / 2000)
    white = torch.linalg.solve_triangular(factor, white.T, upper=False).T[None]
    loc = white[..., :2] @ MIXING.T
    posterior = D.Normal(loc[:, None], 0.5 * NOISE.log().expand_as(loc[:, None]))
    z = loc + NOISE.sqrt() * white[..., 2:]
    shares = log_shares(2000, None, None, z)
    assert_allclose(shares.exp().sum(-1), 1.0)
    joint, marginal, own = log_aggregate(posterior, z, shares)
    prior = (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(-1)
    parts = [own - joint, joint - marginal.sum(-1), marginal.sum(-1) - prior]
    for part, expected in zip(parts, (INFORMATION, CORRELATION, MARGINAL)):
        assert abs(part.mean() - expected) < 0.01
    assert_allclose(sum(parts), own - prior, atol=1e-10)
    assert parts[1].mean() > 10 * 0.01, "negative control: nothing in common would not do"


def test_total_correlation_of_a_batch_is_that_of_the_table():
    # Members are batches of one table.
    penalty = TotalCorrelation(weight=1.0)
    penalty.n_rows = 5000
    for mixing, expected in ((MIXING, CORRELATION), (MIXING.diag().diag(), 0.0)):
        posterior, z = planted(256, members=40, mixing=mixing)
        assert abs(penalty(step_of(z, posterior), None).mean() - expected) < 0.02


def test_shares_are_those_of_stratified_sampling():
    shares = log_shares(3, 100, None, torch.zeros(1, dtype=torch.float64)).exp()[0]
    assert_allclose(shares.diagonal(), 0.01)
    assert_allclose(shares[0, 1:], 0.99 / 2)
    weights = torch.tensor([[0.5, 1.0, 1.5]], dtype=torch.float64)
    weighted = log_shares(3, 100, weights, weights).exp()[0]
    assert_allclose(weighted.sum(-1), 1.0)
    assert_allclose(weighted[0, 2] / weighted[0, 1], 1.5)
    assert_allclose(weighted[2, 2], 0.015)


def test_total_correlation_refuses_point_codes():
    with pytest.raises(ValueError, match="TotalCorrelation compares densities.*FactorCritic"):
        small(penalty="total_correlation", posterior="deterministic").fit(table())
    with pytest.raises(ValueError, match="TotalCorrelation"):
        tiny_vae(posterior=Deterministic(), penalty=TotalCorrelation())


# ------------------------------------------------------------------------------------ moments


def test_covariance_is_numpys():
    rows, weights = double(2, 20, 3), np.random.default_rng(1).random((2, 20))
    for w in (None, weights):
        found = covariance(rows, None if w is None else torch.as_tensor(w))
        for member in range(2):
            aweights = None if w is None else w[member]
            expected = np.cov(rows[member].T, ddof=0, aweights=aweights)
            assert_allclose(found[member], expected, atol=1e-12)


def test_dip_of_known_moments():
    codes = double(1, 50, 2)
    codes = codes - codes.mean(1, keepdim=True)
    white = codes @ torch.linalg.inv(torch.linalg.cholesky(covariance(codes, None))).mT
    moments = torch.tensor([[1.5, 0.6], [0.6, 0.5]], dtype=torch.float64)
    loc = white @ torch.linalg.cholesky(moments).T
    posterior = D.Normal(loc[:, None], torch.full_like(loc[:, None], math.log(0.5)))
    step = step_of(loc, posterior)
    off, diagonal = 2 * 0.36, np.array([0.5, -0.5])
    means = DIP(weight=3.0, diagonal_weight=2.0, of="means")(step, None)
    assert_allclose(means, 3 * off + 2 * (diagonal**2).sum(), rtol=1e-10)
    codes = DIP(weight=3.0)(step, None)
    assert_allclose(codes, 3 * off + 3 * ((diagonal + 0.25) ** 2).sum(), rtol=1e-10)
    assert_allclose(DIP(3.0, of="means")(step, None), 3 * off + 30 * 0.5, rtol=1e-10)


# ------------------------------------------------------------------------------------ critics


def test_shuffling_keeps_what_each_latent_holds():
    codes = Noise([1]).normal(50, 3)
    mixed = shuffled(codes, Noise([2]))
    assert_array_equal(mixed.sort(1).values, codes.sort(1).values)
    assert not torch.equal(mixed, codes)
    rows = mixed[0].tolist()
    assert sum(row in codes[0].tolist() for row in rows) < 5


def test_rows_are_drawn_as_often_as_their_weights_say():
    codes = torch.arange(4.0).view(1, 4, 1).repeat(1, 50, 1)
    weights = torch.tensor([[0.5, 1.5, 0.0, 2.0]]).repeat(1, 50)
    drawn = drawn_by_weight(codes, weights, Noise([0]))
    counts = torch.bincount(drawn.flatten().long(), minlength=4)
    assert_allclose(counts, [25, 75, 0, 100], atol=12)
    assert drawn_by_weight(codes, None, Noise([0])) is codes


def test_critic_finds_the_total_correlation_of_a_planted_normal():
    # The first member's latents are correlated, the second one's are not.
    noise = Noise([0, 1])
    penalty = FactorCritic(1.0, (32, 32)).build(Shapes(2, 2, ()), noise)
    optimizer, found = FlatAdam(penalty, 0.0, None), []
    moments = torch.eye(2).repeat(2, 1, 1)
    moments[0, 0, 1] = moments[0, 1, 0] = 0.8
    factor = torch.linalg.cholesky(moments)
    for i in range(400):
        step = step_of(noise.normal(512, 2) @ factor.mT)
        optimizer.differentiate(penalty.critic_loss(step, noise).sum())
        optimizer.step([(0, 2, 3e-3 if i < 300 else 5e-4)])
        if i >= 350:
            found.append(penalty(step, noise).detach().numpy())
    correlated, independent = np.mean(found, 0)
    assert abs(correlated + 0.5 * math.log(1 - 0.8**2)) < 0.08
    assert abs(independent) < 0.03


def gradients(vae, loss):
    vae.zero_grad()
    loss.sum().backward()
    return {n: None if p.grad is None else p.grad.clone() for n, p in vae.named_parameters()}


@pytest.mark.parametrize("penalty", over(CRITICS))
def test_critic_and_model_do_not_train_each_other(penalty):
    vae, batch = vae_and_batch("penalty", penalty, masked=True, weighted=True)
    step = vae.train()(batch, Noise(SEEDS))
    ours = gradients(vae, vae.penalty(step, Noise(SEEDS)))
    step = vae(batch, Noise(SEEDS))
    theirs = gradients(vae, vae.penalty.critic_loss(step, Noise(SEEDS)))
    for name in ours:
        mine, its = ours[name], theirs[name]
        if ".critic." in name:
            assert mine is None or not mine.any(), name
            assert (its.flatten(1) != 0).any(1).all(), name
        else:
            assert its is None or not its.any(), name
    assert any(g is not None and g.any() for n, g in ours.items() if "encoder" in n)


def test_only_the_decoder_is_trained_to_pass_as_real():
    found = []
    for adversarial_weight in (1.0, 10.0):
        penalty = DecoderCritic(adversarial_weight=adversarial_weight, hidden_layer_sizes=(5,))
        vae, batch = vae_and_batch("penalty", penalty)
        step = vae.train()(batch, Noise(SEEDS))
        found.append(gradients(vae, vae.penalty(step, Noise(SEEDS))))
    for name, gradient in found[0].items():
        if "encoder" in name:
            assert_allclose(gradient, found[1][name], atol=1e-7, err_msg=name)
        elif "decoder" in name:
            assert not torch.allclose(gradient, found[1][name]), name


def test_critic_layers_are_checked():
    with pytest.raises(ValueError, match="'hidden_layer_sizes' parameter of LatentCritic must"):
        small(penalty=LatentCritic(hidden_layer_sizes=())).fit(table())


# ------------------------------------------------------------------------------------ decoder


def decoder_step(penalty, network, n_rows=30):
    vae, batch = vae_and_batch("penalty", penalty, n_rows=n_rows)
    vae = tiny_vae(network=network, penalty=penalty)
    return vae, vae.train()(batch, Noise(SEEDS))


def test_slopes_of_a_linear_decoder_are_its_weights():
    vae, step = decoder_step(DecoderGradient(1.0, n_directions=None), MLP(()))
    squares = vae.network.decoder.weight_0.square().sum((1, 2)).detach()
    assert_allclose(vae.penalty(step, Noise(SEEDS)).detach(), squares, rtol=1e-5)
    random, step = decoder_step(DecoderGradient(1.0), MLP(()), n_rows=3000)
    assert_allclose(random.penalty(step, Noise(SEEDS)).detach(), squares, rtol=0.1)


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "elu", "tanh"])
def test_slopes_of_a_network_are_its_jacobian(activation):
    vae, step = decoder_step(DecoderGradient(1.0, n_directions=None), MLP((5, 4), activation), 4)
    expected = torch.zeros(2, 4)
    for row in range(4):
        z = step.z[:, :, row : row + 1].detach()
        jacobian = torch.autograd.functional.jacobian(lambda c: vae.decode(c).mean, z)
        for member in range(2):
            expected[member, row] = jacobian[member, 0, 0, :, member].square().sum()
    assert_allclose(vae.penalty(step, Noise(SEEDS)).detach(), expected.mean(1), rtol=1e-4)


def test_largest_singular_value():
    for shape in ((3, 20, 7), (3, 7, 20), (2, 1, 5)):
        matrix = double(*shape)
        expected = torch.linalg.matrix_norm(matrix, 2).square()
        assert_allclose(largest_square(matrix), expected, rtol=1e-2)


@pytest.mark.parametrize("penalty", [DecoderDecay(1.0), DecoderSpectrum(1.0)], ids=repr)
def test_decay_of_the_decoder_leaves_the_encoder_alone(penalty):
    vae, step = decoder_step(penalty, MLP((5,)))
    found = gradients(vae, vae.penalty(step, Noise(SEEDS)))
    for name, gradient in found.items():
        if "decoder.weight" in name:
            assert gradient.any(), name
        else:
            assert gradient is None or not gradient.any(), name


# ----------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("penalty", over(SHAPING))
def test_gradient_reaches_every_weight(penalty):
    vae, batch = vae_and_batch("penalty", penalty, masked=True, weighted=True)
    step = vae.train()(batch, Noise(SEEDS))
    loss = ELBO()(step, 0.0, 1) + vae.penalty(step, Noise(SEEDS))
    apart = vae.penalty.critic_loss(step, Noise(SEEDS))
    for name, gradient in gradients(vae, loss if apart is None else loss + apart).items():
        assert gradient.isfinite().all() and (gradient.flatten(1) != 0).any(1).all(), name


@pytest.mark.parametrize("penalty", over(SHAPING))
def test_no_weight_no_term(penalty):
    weights = {name: 0.0 for name in penalty.get_params() if "weight" in name}
    penalty = clone(penalty).set_params(**weights | {"weight": 0.0})
    if hasattr(penalty, "likelihood_weight"):
        penalty.set_params(likelihood_weight=1.0)
    vae, batch = vae_and_batch("penalty", penalty)
    step = vae.train()(batch, Noise(SEEDS))
    assert not vae.penalty(step, Noise(SEEDS)).any()


def trained(penalty, seeds, kinds):
    vae, batch = vae_and_batch("penalty", penalty, seeds, n_rows=40, masked=True, weighted=True)
    parts = (batch.inputs, batch.values, batch.mask)
    weights = batch.weights[0] if len(batch.weights.shape) == 2 else batch.weights
    rows = Rows(*(part[0, 0] for part in parts), weights)
    index = torch.arange(40).expand(len(seeds), -1)
    history = train(
        vae, ELBO(), rows, index[:, :30], index[:, 30:], Noise(seeds), Settings(4, 11, 0.01)
    )
    return vae, history


@pytest.mark.parametrize("penalty", over(SHAPING))
def test_a_stack_is_trained_as_its_members_are(penalty):
    before, _ = vae_and_batch("penalty", penalty)
    (stack, history), *alone = (trained(penalty, s, {}) for s in (SEEDS, SEEDS[:1], SEEDS[1:]))
    for member, (vae, its_history) in enumerate(alone):
        for (name, ours), theirs in zip(stack.named_parameters(), vae.parameters()):
            assert torch.equal(ours[member], theirs[0]), name
        for ours, theirs in zip(history.records, its_history.records):
            assert ours["loss"][member] == theirs["loss"][0]
            assert ours["validation_loss"][member] == theirs["validation_loss"][0]
    for (name, ours), theirs in zip(stack.named_parameters(), before.parameters()):
        assert not torch.equal(ours, theirs), f"{name} has not been trained"


@pytest.mark.parametrize("name", [name for name in penalties.PENALTIES if name != "neighbors"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning")
def test_fitted_by_name_pickled_and_repeated(name):
    X = table()
    X[::7, 1] = np.nan
    one, other = (small(penalty=name, max_iter=2).fit(X) for _ in range(2))
    read = pickle.loads(pickle.dumps(one))
    for again in (other, read, copy.deepcopy(one)):
        assert_array_equal(again.score_samples(X), one.score_samples(X))
        for ours, theirs in zip(one.vae_.parameters(), again.vae_.parameters()):
            assert torch.equal(ours, theirs)
    assert one.penalty == name and np.isfinite(one.sample(3)).all()


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_weights_can_be_searched():
    assert small(penalty="mmd").set_params(penalty__weight=3.0).penalty.weight == 3.0
    for penalty in (MMD(), "factor_critic"):
        grid = {"penalty__weight": [0.0, 1000.0]}
        search = GridSearchCV(small(penalty=penalty), grid, cv=2, error_score="raise").fit(table())
        assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_the_last_epoch_is_kept_against_a_critic():
    # No epoch is better by so much, so that a fit that is judged ends with the second one.
    settings = {"max_iter": 6, "n_iter_no_change": 1, "tol": 100.0}
    judged = small(penalty=MMD(), **settings).fit(table())
    assert judged.n_iter_ == 2
    model = small(penalty=LatentCritic(), **settings).fit(table())
    assert model.best_epoch_ == model.n_iter_ == 6


def test_the_reported_bound_is_that_of_the_objective():
    # Steps of no size: only what is added to the loss differs.
    X, bounds, losses = table(), [], []
    for objective in (ELBO(), IWAE(n_draws=3)):
        for weight in (0.0, 1000.0):
            model = small(penalty=MMD(weight), objective=objective, learning_rate_init=1e-12)
            model.fit(X)
            bounds.append(model.history_["bound"] + model.history_["validation_bound"])
            losses.append(model.history_["loss"][0])
    assert_allclose(bounds[0], bounds[1], rtol=1e-6)
    assert_allclose(bounds[2], bounds[3], rtol=1e-6)
    assert abs(losses[0] - losses[1]) > 0.1 and abs(losses[2] - losses[3]) > 0.1


def test_a_critic_goes_on_where_it_was():
    X = table()
    model = small(penalty=FactorCritic(hidden_layer_sizes=(8,)), batch_size=20)
    before = model.partial_fit(X).vae_.penalty.critic.matrix_0.detach().clone()
    after = model.partial_fit(X).vae_.penalty.critic.matrix_0.detach()
    assert not torch.equal(before, after)
    moved = (after - before).abs().max()
    assert moved < 0.1 * before.abs().max()


@pytest.mark.parametrize(
    "penalty",
    [DecoderCritic(), DecoderGradient(1.0), LatentCritic()],
    ids=lambda p: type(p).__name__,
)
@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning")
def test_tables_of_all_kinds_and_conditions(penalty):
    blocks = blocks_of(Columnwise())
    vae = tiny_vae(likelihood=Columnwise(), penalty=penalty)
    batch = random_batch(blocks, masked=True)
    shown = real_cells(blocks, batch)
    step = vae.train()(batch, Noise(SEEDS))
    expected = expected_cells(blocks, step.likelihood, batch)
    assert shown.shape == expected.shape == (2, 1, 6, width_of(blocks))
    n_numbers = sum(len(sizes) for kind, sizes in blocks if kind != "categorical")
    assert width_of(blocks) == n_numbers + 2 * 3
    # A missing cell looks the same from both sides; shares of a category sum to one.
    missing = (shown == 0) & (expected == 0)
    assert missing.any() and not missing.all()
    found = gradients(vae, vae.penalty(step, Noise(SEEDS)))
    assert all(g is None or g.isfinite().all() for g in found.values())
    rng = np.random.default_rng(0)
    X = np.c_[table(), rng.integers(0, 2, 80)]
    given = small(penalty=penalty, condition=[3], max_iter=2).fit(X)
    assert np.isfinite(given.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_stacked_search_equals_the_plain_one():
    grid = {"learning_rate_init": [1e-3, 3e-3], "penalty__weight": [1.0, 5.0]}
    for penalty in (MMD(), LatentCritic(hidden_layer_sizes=(8,))):
        scores = [
            search(small(penalty=penalty), grid, cv=2).fit(table()).cv_results_["mean_test_score"]
            for search in (GridSearchCV, StackedGridSearchCV)
        ]
        assert_array_equal(*scores)


@pytest.mark.parametrize("posterior", [n for n in POSTERIORS if n != "normal"])
@pytest.mark.parametrize("penalty", ["mmd", "dip", "total_correlation", "factor_critic"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning")
def test_other_posteriors_have_penalties_too(posterior, penalty):
    model = small(posterior=posterior, penalty=penalty, max_iter=2)
    kind = POSTERIORS[posterior]
    if penalty == "total_correlation" and kind.is_ladder:
        with pytest.raises(ValueError, match="depend on one another"):
            model.fit(table())
    elif penalty == "total_correlation" and not kind.has_density:
        with pytest.raises(ValueError, match="TotalCorrelation compares densities"):
            model.fit(table())
    else:
        assert np.isfinite(model.fit(table()).reconstruct(table())).all()
