"""Steps differentiated by hand against automatic differentiation, in float64."""

import copy

import numpy as np
import pytest
import torch
from components import EVERY, vae_and_batch
from numpy.testing import assert_allclose
from sklearn.datasets import load_wine

from skvae import VAETransformer, likelihoods, objectives, priors
from skvae._component import Shapes
from skvae._pass import Batch
from skvae.model_selection import StackedGridSearchCV
from skvae.networks import ACTIVATIONS, MLP, activations, by_hand
from skvae.noise import Noise
from skvae.posteriors import DiagonalNormal
from skvae.training import cells, closed_form, flat
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
        terms = step(batch, noise, objective.weight_at(epoch, max_iter))
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


@pytest.fixture
def as_on_a_device(monkeypatch):
    """Tensors have no NumPy twin, as on a GPU."""
    for module in (activations, by_hand, cells, closed_form, flat):
        monkeypatch.setattr(module, "twin", lambda tensor: tensor)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_step_without_numpy_equals_autograd(
    as_on_a_device, activation, weighted, missing, n_members
):
    network, objective = MLP((12, 7), activation, linear_skip=True), objectives.ELBO()
    vae = built(n_members, network, likelihoods.Normal(scale="column"))
    batch = batch_of(n_members, missing, weighted)
    expected = gradients(vae, batch, objective, "autograd")
    assert_same(gradients(vae, batch, objective, "written out"), expected)


def test_the_loop_without_numpy_trains_the_same(as_on_a_device, monkeypatch):
    X, fits = load_wine().data[:90], {}
    grid = {"learning_rate_init": [1e-3, 1e-2], "objective__beta": [0.5, 1.0]}
    vae = VAETransformer(2, max_iter=5, clip_norm=1.0, random_state=0)
    fits["device"] = StackedGridSearchCV(vae, grid, cv=2, refit=False).fit(X)
    monkeypatch.undo()
    fits["host"] = StackedGridSearchCV(vae, grid, cv=2, refit=False).fit(X)
    device, host = (f.cv_results_["mean_test_score"] for f in fits.values())
    assert_allclose(device, host, atol=0.02)


@pytest.mark.parametrize("full", [True, False], ids=["full", "holes and weights"])
@pytest.mark.parametrize("name", EVERY)
def test_every_example_component_has_the_gradients_of_autograd(name, full):
    axis, example = EVERY[name]
    objective = example if axis == "objective" else objectives.ELBO()
    vae, batch = vae_and_batch(axis, example, masked=not full, weighted=not full)
    vae = vae.double().train()
    weights = None if full else batch.weights.double()
    batch = Batch(batch.inputs.double(), batch.values.double(), batch.mask, weights)
    # A codebook moves with each step: both roads begin where it was.
    expected = gradients(copy.deepcopy(vae), batch, objective, "autograd")
    assert_same(gradients(vae, batch, objective, "by hand"), expected)
    if GaussianStep.of(vae, objective, FlatAdam(vae, 0.0, None)) is not None:
        assert_same(gradients(vae, batch, objective, "written out"), expected)


# Of one block of columns that stands beside others: no texts, and no counts that share a size.
LIKELIHOODS = [
    name
    for name, (axis, example) in EVERY.items()
    if axis == "likelihood" and "token" not in name and example.row_sizes is not True
]


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("full", [True, False], ids=["full", "holes and weights"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_blocks_of_every_likelihood_equal_autograd(name, full, n_members):
    likelihood = likelihoods.Columnwise.of(EVERY[name][1])
    seeds = range(n_members)
    vae, batch = vae_and_batch("likelihood", likelihood, seeds, masked=not full, weighted=not full)
    vae, objective = vae.double().train(), objectives.ELBO(beta=0.7)
    weights = None if full else batch.weights.double()
    batch = Batch(batch.inputs.double(), batch.values.double(), batch.mask, weights)
    expected = gradients(vae, batch, objective, "autograd")
    assert_same(gradients(vae, batch, objective, "written out"), expected)


class Given:
    """Parameters of cells that a step gets from nowhere else."""

    def __init__(self, likelihood, kind, sizes, parameters, values):
        shapes = Shapes(sum(sizes), 2, ((kind, sizes),))
        self.likelihood = likelihood.build(shapes, Noise([0])).double().train()
        self.weights = [*self.likelihood.parameters()]
        self.parameters = torch.as_tensor(parameters, dtype=torch.float64)[None]
        self.values = torch.as_tensor(values, dtype=torch.float64)[None]

    def by(self, kind):
        """Log-likelihood and gradients, by cells of this kind."""
        gradients = {id(p): torch.zeros_like(p) for p in self.weights}
        step = kind(self.likelihood, lambda p: gradients[id(p)])
        found = self.parameters.clone()
        total = step(found.numpy(), self.values.numpy(), None, None, None)
        return [total, found.numpy(), *(g.numpy() for g in gradients.values())]


@pytest.mark.parametrize("far", [0.0, 50.0, 900.0])
def test_cells_far_out_are_those_of_automatic_differentiation(far):
    logits = np.array(
        [[far, -far, 1.0, -far, far], [0.5, far, -far, -1.0, 2.0], [0, 1, 2, 3, 4.0]]
    )
    cases = {
        cells.CategoricalCells: Given(
            likelihoods.Categorical(), "categorical", (2, 3), logits, [[0, 2], [1, 0], [0, 1]]
        ),
        cells.BernoulliCells: Given(
            likelihoods.Bernoulli(), "binary", (1,) * 5, logits, (logits > 0.7) * 1.0
        ),
        cells.OrdinalCells: Given(
            likelihoods.Ordinal(), "ordinal", (2, 3, 5, 1, 4), logits,
            [[0, 2, 4, 0, 0], [1, 0, 0, 0, 3], [0, 1, 2, 0, 1]],
        ),
        cells.NegativeBinomialCells: Given(
            likelihoods.NegativeBinomial(), "count", (1,) * 5, logits, abs(logits).round() ** 2
        ),
    }  # fmt: skip
    for kind, given in cases.items():
        for mine, theirs in zip(given.by(kind), given.by(cells.DifferentiatedCells), strict=True):
            assert np.isfinite(mine).all()
            assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("full", [True, False], ids=["full", "holes and weights"])
@pytest.mark.parametrize("far", [1.0, 40.0])
def test_levels_between_thresholds_of_any_distance_equal_autograd(far, full, n_members):
    sizes, rng = (4, 2, 7, 3), np.random.default_rng(0)
    shapes = Shapes(16, 2, (("ordinal", sizes),))
    likelihood = likelihoods.Ordinal().build(shapes, Noise(range(n_members))).double()
    raw = likelihood.first_and_log_steps
    with torch.no_grad():
        raw += torch.as_tensor(rng.normal(scale=4.0, size=raw.shape))
        # Steps at their limits, from which no gradient leads on.
        raw[..., 2, 1:3] = torch.tensor([-80.0, 12.0])
    shape = n_members, 50, len(sizes)
    parameters = far * rng.normal(size=shape)
    values = rng.integers(0, sizes, size=shape).astype(float)
    mask = None if full else rng.random(shape) < 0.7
    share = None if full else rng.random((n_members, 50, 1)) / 50
    found = []
    for kind in (cells.OrdinalCells, cells.DifferentiatedCells):
        gradient, given = torch.zeros_like(raw), parameters.copy()
        step = kind(likelihood.train(), lambda p, of=gradient: of)
        total = step(given, values.copy(), mask, share, None)
        found.append([total, given, gradient.numpy()])
    for mine, theirs in zip(*found, strict=True):
        assert abs(theirs).max() > 1e-3
        assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_levels_are_written_out():
    shapes = Shapes(6, 2, (("ordinal", (3, 3)),))
    built = likelihoods.Ordinal().build(shapes, Noise([0]))
    found = [type(cells.cells_of(built, torch.zeros_like, host)) for host in (True, False)]
    assert found == [cells.OrdinalCells, cells.DifferentiatedCells]


def test_mixed_tables_are_written_out_but_what_shares_sizes_and_what_is_wide():
    shapes = Shapes(3, 2, (("count", (1, 1, 1)),), row_size=(2.0, 0.5))
    wide = Shapes(99, 2, (("count", (1,) * 99),))
    plain = Shapes(3, 2, (("count", (1, 1, 1)),))
    found = [
        type(
            cells.cells_of(
                likelihoods.NegativeBinomial().build(s, Noise([0])), torch.zeros_like, host
            )
        )
        for s, host in [(plain, True), (shapes, True), (wide, True), (plain, False)]
    ]
    assert found == [cells.NegativeBinomialCells, *[cells.DifferentiatedCells] * 3]


def test_the_fast_loop_gives_nothing_away(monkeypatch):
    """Held-out scores of twelve seeds, against training by automatic differentiation alone."""
    X = load_wine().data
    train, held_out = X[::2], X[1::2]

    def scores(**params):
        return np.array(
            [
                VAETransformer(3, max_iter=40, random_state=seed, **params)
                .fit(train)
                .score(held_out)
                for seed in range(12)
            ]
        )

    fast = scores()
    # Negative control: the test can tell a worse loop.
    worse = scores(learning_rate_init=3e-4)
    monkeypatch.setattr(MLP, "by_hand", lambda self, gradient_of: None)
    slow = scores()

    def distance(others):
        difference = others - slow
        # Rounding is no difference.
        return abs(difference.mean()) / (difference.std(ddof=1) / np.sqrt(12) + 1e-3)

    assert abs(fast - slow).max() < 0.5
    assert distance(fast) < 3
    assert distance(worse) > 3
