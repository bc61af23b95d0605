"""Contracts of the components, over the table in ``components.py``."""

import copy
import pickle

import numpy as np
import pytest
import torch
from components import (
    BLOCK_LIKELIHOODS,
    EVERY,
    LIKELIHOODS,
    PARTS,
    PRIORS,
    SEEDS,
    TABLE,
    blocks_of,
    is_unbuilt,
    of_member,
    over,
    random_batch,
    small,
    table,
    tiny_vae,
    vae_and_batch,
)
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvae import VAETransformer, _base, likelihoods, networks, views
from skvae._component import Shapes
from skvae.noise import FixedDraws, Noise
from skvae.objectives import ELBO
from skvae.training import Rows, Settings, train

BETAS = [0.2, 4.0]
NAMES = {type(c).__name__: type(c) for _, c in EVERY.values()}


# --------------------------------------------------------------------------- one contract each


def test_table_holds_every_registered_class():
    for axis, registry in _base.AXES.items():
        if axis == "supervision":
            # Built from classes: tests/test_variants_supervised.py has its contracts.
            continue
        registered = {getattr(part, "func", part) for part in registry.values()} - {None}
        # Walked through step by step: tests/test_variants_sequences.py has their contracts.
        registered = {part for part in registered if not getattr(part, "unrolls", False)}
        assert registered <= {type(example) for example in TABLE[axis].values()}, axis


@pytest.mark.parametrize("axis, component", over(EVERY))
def test_unbuilt_component_is_a_parameter_object(axis, component):
    params = component.get_params()
    copies = [clone(component), copy.deepcopy(component), pickle.loads(pickle.dumps(component))]
    copies += [eval(repr(component), dict(NAMES)), type(component)().set_params(**params)]
    for other in copies:
        assert other is not component and type(other) is type(component)
        assert repr(other) == repr(component) and is_unbuilt(other)
        assert {k: repr(v) for k, v in other.get_params().items()} == {
            k: repr(v) for k, v in params.items()
        }


@pytest.mark.parametrize("axis, component", over(EVERY))
def test_building_leaves_parameters_alone_and_clone_unbuilds(axis, component):
    vae, _ = vae_and_batch(axis, component)
    part = component if axis == "objective" else getattr(vae, axis)
    assert repr(part) == repr(component)
    assert is_unbuilt(component), "the example itself was built"
    assert is_unbuilt(clone(part))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
@pytest.mark.parametrize(
    "axis, component",
    over(PARTS),
)
def test_built_component_survives_copying(axis, component, copier):
    vae, batch = vae_and_batch(axis, component, masked=True, weighted=True)
    for training in (True, False):
        twin = copier(vae.train(training))
        assert twin.training is training and twin.n_members == 2
        for (name, tensor), (other_name, other) in zip(
            sorted(vae.state_dict().items()), sorted(twin.state_dict().items()), strict=True
        ):
            assert name == other_name and torch.equal(tensor, other) and tensor is not other
        assert all(not isinstance(v, torch.Tensor) for v in _leaves(vae.__getstate__()))
        step, again = (v(batch, Noise(SEEDS)) for v in (vae, twin))
        assert torch.equal(step.log_likelihood, again.log_likelihood)
        assert torch.equal(step.kl, again.kl)
    trainable = {n: p.requires_grad for n, p in vae.named_parameters()}
    assert {n: p.requires_grad for n, p in twin.named_parameters()} == trainable


def _leaves(state):
    for value in state.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]


@pytest.mark.parametrize("likelihood", over(LIKELIHOODS))
def test_select_keeps_the_chosen_member(likelihood):
    vae, batch = vae_and_batch("likelihood", likelihood)
    trainable = [p.requires_grad for p in vae.parameters()]
    noise = FixedDraws(1, 2)
    both = vae(batch, noise).log_likelihood
    vae.select(torch.tensor([1]))
    assert torch.equal(vae(of_member(batch, 1), noise).log_likelihood, both[1:])
    assert [p.requires_grad for p in vae.parameters()] == trainable


# Codes that are known leave the encoder without a gradient: test_neighbors.py has theirs.
@pytest.mark.parametrize(
    "axis, component", over({k: pair for k, pair in EVERY.items() if pair[0] != "penalty"})
)
def test_gradient_reaches_every_trainable_parameter(axis, component):
    vae, batch = vae_and_batch(axis, component, masked=True)
    objective = component if axis == "objective" else ELBO()
    loss = objective(vae(batch, Noise(SEEDS), objective.n_draws), 9.0, 10)
    assert loss.shape == (2,)
    loss.sum().backward()
    trainable = {n: p.grad for n, p in vae.named_parameters() if p.requires_grad}
    # A codebook follows the encoder by a moving average and needs none.
    trainable.pop("posterior.codebook", None)
    # A fixed noise is a parameter that is not trained.  At beta = 0 nothing reads a learned
    # prior: that pair is the one to leave out, and no example combines them.
    assert len(trainable) >= len(list(vae.parameters())) - 1
    for name, gradient in trainable.items():
        assert gradient is not None and gradient.isfinite().all(), name
        assert (gradient.flatten(1) != 0).any(1).all(), name


@pytest.mark.parametrize("axis, component", over(EVERY))
def test_stack_equals_its_members_bit_for_bit(axis, component):
    objective = component if axis == "objective" else ELBO()
    results = []
    for seeds in (SEEDS, SEEDS[:1], SEEDS[1:]):
        vae, batch = vae_and_batch(axis, component, seeds, masked=True, weighted=True)
        step = vae.train()(batch, Noise(seeds), objective.n_draws)
        loss = objective(step, 3.0, 10)
        results.append((step.log_likelihood, step.kl, step.log_weight(), loss))
    stack, *alone = results
    for i, members in enumerate(alone):
        for ours, theirs in zip(stack, members):
            assert torch.equal(ours[i : i + 1], theirs)
    assert not torch.equal(stack[0][0], stack[0][1]), "both members have the same weights"


def test_padding_stays_zero_in_training():
    vae, batch = vae_and_batch("network", networks.MLP((5, 3), "gelu", linear_skip=True))
    rows = Rows(batch.inputs[0, 0], batch.values[0, 0], None, None)
    train(vae, ELBO(), rows, torch.arange(6).expand(2, -1), None, Noise(SEEDS), Settings(5, 3))
    assert (vae.network.encoder.weight_1[:, :5, :3] != 0).all()
    assert (vae.network.encoder.weight_1[:, 5:] == 0).all()
    assert (vae.network.encoder.weight_1[:, :, 3:] == 0).all()


def test_view_is_for_training_only():
    view = views.Denoising(scale=0.5)
    vae, batch = vae_and_batch("view", view, n_rows=20_000)
    seen = vae.view(batch.inputs, Noise(SEEDS), 3) - batch.inputs
    assert_allclose(seen.std(dim=(1, 2)), 0.5, rtol=0.02)
    plain = tiny_vae()
    noise = FixedDraws(1, 2)
    assert torch.equal(vae.eval()(batch, noise).kl, plain.eval()(batch, noise).kl)
    assert not torch.equal(vae.train()(batch, Noise(SEEDS)).kl, plain(batch, noise).kl)


@pytest.mark.parametrize("likelihood", over(LIKELIHOODS))
def test_masking_a_cell_removes_its_term_and_nothing_else(likelihood):
    vae, batch = vae_and_batch("likelihood", likelihood)
    noise = FixedDraws(3, 2)
    step = vae(batch, noise, 3)
    terms = step.likelihood.log_prob(batch.values)
    n_columns = batch.values.shape[-1]
    assert terms.shape == (2, 3, 6, n_columns)
    assert_allclose(step.log_likelihood.detach(), terms.sum(-1).detach(), rtol=1e-5, atol=1e-5)
    coded = ("categorical", "ordinal")
    n_coded = sum(len(sizes) for kind, sizes in blocks_of(likelihood) if kind in coded)
    for column in range(n_columns):
        batch.mask = torch.ones_like(batch.values, dtype=torch.bool)
        batch.mask[:, :, 2, column] = False
        hidden = batch.values.clone()
        # A category is an index, so that what the codec writes, 0, is the only wrong value.
        hidden[:, :, 2, column] = 1e9 if column < n_columns - n_coded else 0.0
        masked = vae(type(batch)(batch.inputs, hidden, batch.mask, None), noise, 3)
        kept = [c for c in range(n_columns) if c != column]
        assert_allclose(
            masked.log_likelihood[:, :, 2].detach(),
            terms[:, :, 2, kept].sum(-1).detach(),
            atol=1e-5,
        )
        others = [0, 1, 3, 4, 5]
        assert_allclose(
            masked.log_likelihood[:, :, others].detach(),
            step.log_likelihood[:, :, others].detach(),
            rtol=1e-5,
        )
        vae.zero_grad()
        ELBO()(masked, 0.0, 1).sum().backward()
        assert all(p.grad.isfinite().all() for p in vae.parameters() if p.requires_grad)


@pytest.mark.parametrize("likelihood", over(BLOCK_LIKELIHOODS))
def test_a_second_copy_of_every_column_adds_its_log_prob(likelihood):
    ((kind, sizes),) = blocks_of(likelihood)
    one, two = clone(likelihood), clone(likelihood)
    one.build(Shapes(3, 2, ((kind, sizes),)), Noise(SEEDS))
    two.build(Shapes(6, 2, ((kind, sizes * 2),)), Noise(SEEDS))
    values = random_batch(((kind, sizes),)).values
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(2, 1, 6, one.n_parameters, generator=generator)
    single = one(parameters).log_prob(values)
    double = two(torch.cat([parameters] * 2, -1)).log_prob(torch.cat([values] * 2, -1))
    assert_allclose(double.detach(), torch.cat([single] * 2, -1).detach(), atol=1e-6)


# ----------------------------------------------------------------------------------- parameters


def test_shorthand_strings_take_nested_parameters():
    vae = VAETransformer().set_params(objective__beta=4.0, prior__n_mixture_components=3)
    assert vae.objective.get_params()["beta"] == 4.0 and vae.prior.n_mixture_components == 3
    assert VAETransformer().objective == "auto", "the class default changed"
    with pytest.raises(ValueError, match="Invalid parameter"):
        VAETransformer().set_params(objective__gamma=1.0)


def test_shorthand_and_its_parameter_in_one_call():
    vae = VAETransformer().set_params(objective="iwae", objective__n_draws=3)
    assert repr(vae.objective) == "IWAE(n_draws=3)"


def test_shorthand_of_the_network_follows_the_sizes_set_with_it():
    vae = VAETransformer().set_params(network__linear_skip=True, hidden_layer_sizes=(4,))
    assert vae.network.hidden_layer_sizes == (4,)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize(
    "grid",
    [
        {"objective__beta": BETAS, "n_components": [1, 2]},
        {"likelihood__continuous__scale": ["shared", 0.5], "view__scale": [0.2]},
    ],
)
def test_grid_search_on_the_default_strings(grid):
    search = GridSearchCV(small(), grid, cv=2, error_score="raise").fit(table())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.unique(search.cv_results_["mean_test_score"]).size == len(
        search.cv_results_["params"]
    )
    assert set(search.best_params_) == set(grid)


def test_search_and_fit_leave_the_users_objects_unbuilt():
    parts = {
        "objective": ELBO(beta=0.5),
        "prior": PRIORS["mixture"],
        "likelihood": likelihoods.Columnwise(continuous=likelihoods.Normal(scale="column")),
        "network": networks.MLP((4,)),
        "view": views.Denoising(),
        "posterior": TABLE["posterior"]["diagonal"],
    }
    before = {axis: repr(part) for axis, part in parts.items()}
    vae = small(**parts)
    grid = {"objective__beta": BETAS, "likelihood__continuous__min_scale": [0.02, 0.1]}
    search = GridSearchCV(vae, grid, cv=2, error_score="raise").fit(table())
    vae.fit(table())
    assert search.best_estimator_.objective_.beta in BETAS
    for axis, part in parts.items():
        assert getattr(vae, axis) is part and repr(part) == before[axis]
        assert is_unbuilt(part), axis
    assert is_unbuilt(parts["likelihood"].continuous)
