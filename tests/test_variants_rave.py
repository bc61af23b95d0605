"""RAVE in its three forms: exact identities, planted directions, and simulations with controls."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA

from skvae import VAETransformer
from skvae.networks import MLP, LinearEncoder
from skvae.objectives import ELBO
from skvae.posteriors import FixedNormal
from skvae.rave import Bias, MolecularRAVE
from skvae.rave.line_density import LineDensity
from skvae.rave.screening import screened
from skvae.training import Rows
from skvae.views import PastFuture, TimeLagged

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]
ANGLE = np.deg2rad(30.0)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
SLOW = TURN[:, 0]
SEEDS = range(5)


# ------------------------------------------------------------------------- what is simulated


def potential(x, height=5.0, tilt=0.5):
    """Two wells at -1 and 1, the left one deeper, in kT."""
    return height * (x * x - 1.0) ** 2 + tilt * x


def between_wells(energy, x):
    """Free energy of the right well over that of the left, kT."""
    share = np.exp(-energy)
    return -np.log(share[x > 0].sum() / share[x < 0].sum())


LINE = np.linspace(-2.0, 2.0, 4001)
EXACT = between_wells(potential(LINE), LINE)


def drawn(n, seed=0, bias=0.0):
    """Frames in equilibrium under the potential plus a bias along the line, kT."""
    rng = np.random.default_rng(seed)
    share = np.exp(-potential(LINE) - bias)
    x = rng.choice(LINE, n, p=share / share.sum()) + rng.uniform(-5e-4, 5e-4, n)
    return np.stack([x, rng.normal(size=n)], 1) @ TURN.T


def simulated(bias, seed, n_frames=400, every=50, dt=1e-3, n_walkers=64):
    """Overdamped Langevin dynamics that starts in the left well, with the force of a bias."""
    rng = np.random.default_rng(seed)
    at = np.stack([np.full(n_walkers, -1.0), rng.normal(size=n_walkers)], 1)
    mobility, frames = dt * np.array([1.0, 10.0]), []
    for step in range(n_frames * every):
        x, y = at.T
        force = np.stack([-20.0 * x * (x * x - 1.0) - 0.5, -y], 1)
        if bias is not None:
            force = force - bias.gradient(at @ TURN.T) @ TURN
        at = at + mobility * force + np.sqrt(2.0 * mobility) * rng.normal(size=at.shape)
        if step % every == 0:
            frames.append(at)
    return np.concatenate(frames) @ TURN.T


def degrees_off(direction):
    return np.degrees(np.arccos(min(abs(float(direction @ SLOW)), 1.0)))


def found_difference(rave):
    """That of the wells, by the free energy along the direction found."""
    along = rave.grid_ * np.sign(rave.coef_ @ SLOW)
    return between_wells(rave.free_energy_ / rave.kT, along)


# ----------------------------------------------------------------------------- exact identities


def test_gradient_of_a_bias_is_that_of_its_energy():
    grid = np.linspace(-1.0, 2.0, 31)
    bias = Bias(np.array([0.6, 0.8]), grid, np.sin(3.0 * grid))
    rng = np.random.default_rng(0)
    X, step = rng.normal(size=(50, 2)), 1e-7
    ahead, behind = (
        np.stack([bias(X + sign * step * axis) for axis in np.eye(2)], 1) for sign in (1, -1)
    )
    assert_allclose(bias.gradient(X), (ahead - behind) / (2 * step), atol=1e-5)
    far = np.array([[9.0, 9.0], [-9.0, -9.0]])
    assert_array_equal(bias.gradient(far), 0.0)
    assert_array_equal(bias(far), [bias.energy[-1], bias.energy[0]])


def test_density_of_a_line_is_that_of_the_numbers_and_divergence_tells_two_apart():
    rng = np.random.default_rng(0)
    values, limits = rng.normal(size=20_000), (-5.0, 5.0)
    line = LineDensity.of(values, limits=limits)
    exact = np.exp(-0.5 * line.centers**2) / np.sqrt(2 * np.pi)
    assert_allclose(line.density, exact, atol=0.02)
    # Numbers that are twice as frequent, by weights or by being there twice.
    right = values > 0
    weighted = LineDensity.of(values, 1.0 + right, limits)
    twice = LineDensity.of(np.concatenate([values, values[right]]), limits=limits)
    assert_allclose(weighted.density, twice.density, atol=0.01)
    assert line.kl(line) == 0.0
    assert line.kl(line.reversed()) < 0.005 < 0.05 < line.kl(weighted)
    assert_allclose(weighted.kl(line), weighted.reversed().kl(line.reversed()))


def test_a_density_of_one_value_is_a_peak():
    line = LineDensity.of(np.full(50, 3.7))
    assert line.density.sum() * (line.centers[1] - line.centers[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("of_the_slow", [True, False])
def test_screening_finds_the_direction_whose_distribution_a_code_has(of_the_slow):
    X = drawn(4000)
    white = (X - X.mean(0)) @ TURN / X.std()
    white = white / white.std(0)
    # A code that has nothing to do with the rows but its distribution.
    other = np.random.default_rng(1).permutation(white[:, 0 if of_the_slow else 1])
    found, divergence = screened(other, white, np.ones(4000), 60, np.random.RandomState(0))
    slow, fast = np.abs(found)
    assert (slow > 0.99) if of_the_slow else (fast > 0.9)
    assert divergence < 0.01


def test_both_rows_of_a_pair_are_one_point_for_squared_errors():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(8, 3)))
    w = torch.tensor(rng.uniform(0.2, 3.0, 8))
    rows = Rows(x, x, None, w / w.mean())
    view = PastFuture(lag=2, starts=[4])
    seen, later = view.pairs(8)
    pairs = view.lagged(rows, seen, later)
    told = torch.tensor(rng.normal(size=(len(seen), 3)), requires_grad=True)
    past, future = w[seen].sqrt(), w[later].sqrt()

    def loss(weight, target):
        return (weight[:, None] * (target - told) ** 2).sum()

    both = loss(past * future, x[later]) + loss(past * (past - future), x[seen])
    (expected,) = torch.autograd.grad(both, told)
    (ours,) = torch.autograd.grad(loss(pairs.weights, pairs.values), told)
    assert_allclose(ours, expected / w[seen].mean(), rtol=1e-12)
    (plain,) = torch.autograd.grad(loss(past * future, x[later]), told)
    assert (plain - expected).abs().max() > 0.1


def bottleneck(lag, starts=(), **params):
    defaults = {
        "network": LinearEncoder((32,)), "posterior": FixedNormal(), "objective": ELBO(beta=0.0),
        "view": PastFuture(lag, starts), "max_iter": 10, "random_state": 0,
    }  # fmt: skip
    return VAETransformer(1, **defaults | params)


@pytest.mark.parametrize("view", [TimeLagged, PastFuture, lambda lag: None])
def test_equal_weights_are_no_weights_bit_for_bit(view):
    X = drawn(300)
    codes = [
        bottleneck(1, view=view(2), max_iter=2).fit(X, sample_weight=weights).transform(X)
        for weights in (None, np.full(300, 3.0), np.linspace(0.5, 2.0, 300))
    ]
    assert_array_equal(codes[0], codes[1])
    assert (codes[0] != codes[2]).any()
    # Without weights both views are one.
    if view is PastFuture:
        lagged = bottleneck(1, view=TimeLagged(2), max_iter=2).fit(X).transform(X)
        assert_array_equal(lagged, codes[0])


def test_projections_have_directions_of_length_one_and_a_width_that_stays():
    X = drawn(300) + 5.0
    vae = bottleneck(1).fit(X)
    encoder = vae.vae_.network.encoder
    assert_allclose(encoder.directions[0, :2, 0].square().sum().detach(), 1.0, rtol=1e-6)
    encoded = vae.codec_.encode(X).inputs
    expected = encoded @ encoder.directions[0, :2, :1].detach().numpy()
    posterior = vae.vae_.infer(torch.as_tensor(encoded)[None, None])
    assert_allclose(posterior.mean[0, 0].detach(), expected, atol=1e-5)
    assert_allclose(posterior.stddev.detach(), 0.005, rtol=1e-6)
    assert not hasattr(encoder, "bias_0")
    scales = bottleneck(1, posterior="normal").fit(X).infer(X)[1]
    assert_allclose(scales, scales[0, 0], rtol=1e-6)


def test_a_linear_decoder_behind_projections_starts_where_the_linear_model_is():
    X = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0, -3.0]
    X = X + np.random.default_rng(1).normal(size=X.shape)
    still = {"learning_rate_init": 1e-12, "max_iter": 1, "calibrate": False}
    still |= {"view": None, "early_stopping": False}
    rows = [
        bottleneck(0, network=network, **still).fit(X).reconstruct(X)
        for network in (MLP(()), LinearEncoder(()), LinearEncoder((8,)))
    ]
    assert_allclose(rows[1], rows[0], atol=1e-4)
    assert np.abs(rows[2] - rows[0]).max() > 1.0


def test_bottleneck_refuses_what_it_cannot_weigh():
    X, weights = drawn(60), np.linspace(1.0, 2.0, 60)
    gaps = X.copy()
    gaps[3, 0] = np.nan
    with pytest.raises(ValueError, match="some cells are missing"):
        bottleneck(1).fit(gaps, sample_weight=weights)
    with pytest.raises(ValueError, match="points between two rows"):
        bottleneck(1, likelihood="poisson").fit(np.abs(X).round(), sample_weight=weights)
    with pytest.raises(ValueError, match="explains later rows by earlier ones"):
        bottleneck(1).fit(X).score_samples(X)


# ------------------------------------------------------------------------------ the slow direction


def trajectories(seed, n_walkers=64, n_frames=400, every=50, dt=1e-3):
    """A particle with slow jumps along x and fast, wide motion along y, seen from an angle."""
    rng = np.random.default_rng(seed)
    x, y = rng.choice([-1.0, 1.0], n_walkers), np.sqrt(10.0) * rng.normal(size=n_walkers)
    kicks, frames = np.sqrt(2 * dt * np.array([1.0, 20.0])), []
    for step in range(n_frames * every):
        noise = rng.normal(size=(2, n_walkers))
        x = x - 16.0 * dt * x * (x * x - 1.0) + kicks[0] * noise[0]
        y = y - 2.0 * dt * y + kicks[1] * noise[1]
        if step % every == 0:
            frames.append(np.stack([x, y], 1))
    plane = np.stack(frames, 1).reshape(-1, 2)
    return plane @ TURN.T, plane[:, 0], list(range(n_frames, len(plane), n_frames))


def committor(x):
    """Probability of being in the right well before the left one: from -1 to 1."""
    line = np.linspace(-1.0, 1.0, 2001)
    total = np.cumsum(np.exp(4.0 * (line * line - 1.0) ** 2))
    return np.interp(x, line, total / total[-1])


def correlation(a, b):
    return abs(np.corrcoef(a, b)[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_lagged_code_and_the_bottleneck_find_the_slow_direction(seed):
    X, slow, starts = trajectories(seed)
    white = PCA(whiten=True).fit_transform(X)
    kinds = {
        "bottleneck": partial(bottleneck, random_state=seed),
        "lagged": lambda lag, starts: VAETransformer(
            1, posterior="deterministic", objective=ELBO(beta=0.0), view=TimeLagged(lag, starts),
            hidden_layer_sizes=(16,), max_iter=10, random_state=seed,
        ),
    }  # fmt: skip
    for kind in kinds.values():
        codes = kind(20, starts).fit_transform(white)[:, 0]
        assert correlation(codes, slow) >= 0.95
        assert correlation(codes, committor(slow)) >= 0.93
        # Of columns as they are, the fast motion has more to tell at a short lag.
        assert correlation(kind(1, starts).fit_transform(X)[:, 0], slow) < 0.6
    assert correlation(PCA(1).fit_transform(X)[:, 0], slow) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_told_of_frames_out_of_order(seed):
    X, _, starts = trajectories(seed)
    white = PCA(whiten=True).fit_transform(X)
    place = np.random.default_rng(seed).permutation(len(white))
    told = []
    for rows, begun in ((white, starts), (white[place], ())):
        vae = bottleneck(20, begun, random_state=seed).fit(rows)
        seen, later = TimeLagged(20, begun).pairs(len(rows))
        error = rows[later] - vae.reconstruct(rows[seen])
        told.append(1.0 - np.mean(error**2) / np.mean(rows[later] ** 2))
    assert told[0] > 0.2
    assert told[1] < 0.02


# ------------------------------------------------------------------------------------------ RAVE


def test_the_direction_of_two_wells_is_found():
    X = drawn(2000)
    rave = MolecularRAVE(n_candidates=40, random_state=0).fit(X)
    assert degrees_off(rave.coef_) < 5.0
    assert degrees_off(PCA(1).fit(X).components_[0]) > 20.0
    assert_allclose(np.linalg.norm(rave.coef_), 1.0)
    assert_allclose(rave.transform(X)[:, 0], X @ rave.coef_)
    assert_allclose(rave.bias(X), rave.bias_(X))
    assert rave.free_energy_.min() == 0.0 and rave.free_energy_.max() <= rave.max_bias
    again = pickle.loads(pickle.dumps(rave))
    assert_array_equal(again.bias(X), rave.bias(X))
    assert_array_equal(clone(rave).fit(X).coef_, rave.coef_)
    ones = clone(rave).fit(X, sample_weight=np.ones(len(X)))
    assert_array_equal(ones.coef_, rave.coef_)
    assert_array_equal(ones.free_energy_, rave.free_energy_)
    # In another unit of energy all but the unit is the same.
    warm = clone(rave).set_params(kT=2.5).fit(X)
    assert_allclose(warm.free_energy_, 2.5 * rave.free_energy_)


def test_weights_undo_a_known_bias():
    bias = 2.0 * np.exp(-((LINE + 1.0) ** 2) / 0.1)  # pushes out of the left well
    X = drawn(3000, bias=bias)
    energy = np.interp(X @ SLOW, LINE, bias)
    weighed = MolecularRAVE(n_candidates=40, random_state=0).fit(X, sample_weight=np.exp(energy))
    assert abs(found_difference(weighed) - EXACT) < 0.3
    plain = MolecularRAVE(n_candidates=40, random_state=0).fit(X)
    assert abs(found_difference(plain) - EXACT) > 0.6


def test_rounds_hand_over_the_bias_and_weigh_frames_by_it(monkeypatch):
    given, weights = [], []
    fit = MolecularRAVE.fit

    def noted(self, X, y=None, sample_weight=None):
        weights.append(sample_weight)
        return fit(self, X, sample_weight=sample_weight)

    def simulate(bias):
        given.append(bias)
        return drawn(400, seed=len(given))

    monkeypatch.setattr(MolecularRAVE, "fit", noted)
    small = VAETransformer(1, hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    rave = MolecularRAVE(small, kT=0.5, n_candidates=5, random_state=0)
    assert rave.run(simulate, n_rounds=3) is rave
    assert given[0] is None and weights[0] is None
    for round_ in (1, 2):
        expected = np.exp(given[round_](drawn(400, seed=round_ + 1)) / 0.5)
        assert_allclose(weights[round_] / weights[round_].max(), expected / expected.max())
    assert [sorted(record) for record in rave.rounds_] == 3 * [
        ["coef", "divergence", "n_effective"]
    ]
    assert_array_equal(rave.rounds_[-1]["coef"], rave.coef_)
    with pytest.raises(ValueError, match="n_rounds to be an integer of at least 1"):
        rave.run(simulate, n_rounds=0)


def test_frames_of_weight_zero_are_left_out():
    X, weights = drawn(120), np.tile([0.0, 1.0, 2.0], 40)
    rave = MolecularRAVE(
        VAETransformer(1, max_iter=2, random_state=0), n_candidates=5, random_state=0
    )
    first = clone(rave).fit(X, sample_weight=weights)
    second = clone(rave).fit(X[weights > 0], sample_weight=weights[weights > 0])
    assert_array_equal(first.free_energy_, second.free_energy_)
    assert_array_equal(first.coef_, second.coef_)
    with pytest.raises(ValueError, match="two frames with a positive weight, got 1"):
        rave.fit(X, sample_weight=np.eye(120)[0])


def test_one_code_is_compared():
    with pytest.raises(ValueError, match="gives 2. Use n_components=1"):
        MolecularRAVE(VAETransformer(2, max_iter=1)).fit(drawn(60))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_rounds_cross_the_barrier_and_find_what_one_run_misses(seed):
    count = iter(range(100 * seed, 100 * seed + 99))
    rave = MolecularRAVE(max_bias=8.0, random_state=seed)
    first = rave.run(lambda bias: simulated(bias, next(count)), n_rounds=1)
    assert abs(found_difference(first) - EXACT) > 0.5
    rave.run(lambda bias: simulated(bias, next(count)), n_rounds=4)
    assert degrees_off(rave.coef_) < 5.0
    assert abs(found_difference(rave) - EXACT) < 0.3
