"""Objectives, the optimiser, the history and what ends a run."""

import math
import warnings

import numpy as np
import pytest
import torch
from components import (
    OBJECTIVES,
    PRIORS,
    SEEDS,
    STANDARD,
    blocks_of,
    normal,
    over,
    random_batch,
    small,
    table,
    tiny_vae,
    vae_and_batch,
)
from numpy.testing import assert_allclose
from scipy import special, stats
from sklearn.base import clone

from skvae import distributions as D
from skvae import likelihoods
from skvae._pass import Pass
from skvae.divergences import kl, log_ratio
from skvae.exceptions import DivergedError, PosteriorCollapseWarning
from skvae.networks.mlp import Perceptron
from skvae.noise import FixedDraws, Noise
from skvae.objectives import ELBO, IWAE
from skvae.training import Rows, Settings, train
from skvae.training.flat import FlatAdam, _plain
from skvae.training.history import History

# ---------------------------------------------------------------------------------- objectives


def hand_made_pass(loc, log_scale, log_likelihood=None, weights=None):
    """A pass of one member and one draw with these codes and a reconstruction of 0."""
    q = normal(loc, log_scale) if isinstance(loc, list) else D.Normal(loc, log_scale)
    rows = torch.zeros(q.loc.shape[:-1]) if log_likelihood is None else log_likelihood
    return Pass(rows, kl(q, STANDARD, q.loc), q, STANDARD, None, q.loc, weights)


@pytest.mark.parametrize(
    "objective, weights",
    [
        (ELBO(), [1] * 10),
        (ELBO(beta=2.0, warm_up=4), [0, 0.5, 1, 1.5, 2, 2, 2, 2, 2, 2]),
        (ELBO(cycles=2), [0, 0.4, 0.8, 1, 1, 0, 0.4, 0.8, 1, 1]),
        (ELBO(beta=3.0, cycles=1), [0, 0.6, 1.2, 1.8, 2.4, 3, 3, 3, 3, 3]),
    ],
)
def test_weight_of_the_kl_over_the_run(objective, weights):
    assert_allclose([objective.weight_at(e, 10) for e in range(10)], weights, atol=1e-12)
    step = hand_made_pass([1.0, 2.0], [0.0, 0.0])
    losses = [objective(step, e, 10).item() for e in range(10)]
    assert_allclose(losses, np.multiply(weights, 2.5), rtol=1e-6)
    assert objective.bound(step).item() == pytest.approx(-2.5), "the report is at weight 1"


def test_free_bits_are_free_for_the_latent_below_and_only_for_it():
    gradients = []
    for objective in (ELBO(), ELBO(free_bits=0.5)):
        # Latent 0 carries 0.08 nats on average though one row carries 0.6, latent 1 carries 2.
        loc = torch.tensor([[0.0, 2.0], [0.1, 2.0], [0.0, 2.0], [1.0, 2.0]])[None, None]
        leaves = [t.clone().requires_grad_() for t in (loc * 0.8, torch.zeros_like(loc))]
        loss = objective(hand_made_pass(*leaves), 0.0, 1)
        loss.sum().backward()
        gradients.append(torch.stack([leaf.grad for leaf in leaves]))
    plain, free = gradients
    assert (free[..., 0] == 0).all() and (plain[0, ..., 3, 0] != 0).all()
    assert torch.equal(free[..., 1], plain[..., 1])


def test_capacity_draws_the_mean_over_the_batch():
    loc = torch.tensor([[1.0, 1.0], [3.0, 1.0]])[None, None]  # KL 1 and 5 nats, mean 3
    step = hand_made_pass(loc, torch.zeros_like(loc))
    assert ELBO(beta=7.0, capacity=3.0)(step, 0.0, 1).item() == pytest.approx(0.0, abs=1e-5)
    assert ELBO(beta=7.0, capacity=1.0)(step, 0.0, 1).item() == pytest.approx(14.0)
    assert ELBO(beta=7.0, capacity=4.0)(step, 0.0, 1).item() == pytest.approx(7.0)
    ramped = ELBO(beta=7.0, capacity=4.0, warm_up=10)
    assert ramped(step, 5.0, 100).item() == pytest.approx(7.0)  # target 2, one nat above


@pytest.mark.parametrize("masked, weighted", [(False, False), (True, False), (True, True)])
def test_elbo_equals_numpy(masked, weighted):
    vae = tiny_vae(likelihood=likelihoods.Normal(scale="column", initial_scale=0.6))
    batch = random_batch(blocks_of(vae.likelihood), masked=masked, weighted=weighted)
    step = vae(batch, FixedDraws(1, 2))
    loss = ELBO(beta=1.5)(step, 0.0, 1).detach()
    x, z, loc, scale, mean = (
        t.detach().numpy().astype(float)
        for t in (
            batch.values, step.z, step.posterior.loc, step.posterior.scale, step.likelihood.loc
        )
    )  # fmt: skip
    terms = stats.norm(mean, 0.6).logpdf(x)
    terms = terms if batch.mask is None else np.where(batch.mask, terms, 0.0)
    nats = 0.5 * (scale**2 + loc**2 - 1.0 - np.log(scale**2))
    rows = -terms.sum(-1)[:, 0] + 1.5 * nats.sum(-1)[:, 0]
    weights = np.ones((2, 6)) if batch.weights is None else batch.weights.numpy()
    assert_allclose(loss, (weights * rows).mean(-1), rtol=1e-5)


@pytest.mark.parametrize("objective", over(OBJECTIVES))
def test_a_row_of_weight_two_equals_the_row_twice(objective):
    vae = tiny_vae()
    once = random_batch(blocks_of(vae.likelihood), masked=True)
    weights = torch.tensor([2.0, 1, 1, 1, 3, 1])
    once.weights = (weights / weights.mean()).expand(2, -1)
    rows = torch.arange(6).repeat_interleave(weights.long())
    twice = type(once)(*(t[:, :, rows] for t in (once.inputs, once.values, once.mask)), None)
    noise = FixedDraws(5, 2)
    losses = [objective(vae(b, noise, objective.n_draws), 5.0, 10).detach() for b in (once, twice)]
    assert_allclose(*losses, rtol=1e-5)
    once.weights = None
    assert (objective(vae(once, noise, objective.n_draws), 5.0, 10) - losses[1]).abs().min() > 1e-3


@pytest.mark.parametrize("prior", over(PRIORS))
def test_iwae_of_one_draw_is_the_elbo_with_monte_carlo_kl(prior):
    vae, batch = vae_and_batch("prior", prior, masked=True, weighted=True)
    step = vae(batch, Noise(SEEDS))
    step.kl = log_ratio(step.posterior, step.prior, step.z)
    gradients = []
    for objective in (IWAE(n_draws=1), ELBO()):
        vae.zero_grad()
        loss = objective(step, 0.0, 1)
        loss.sum().backward(retain_graph=True)
        gradients.append([loss.detach()] + [p.grad.clone() for p in vae.parameters()])
    for ours, theirs in zip(*gradients):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_iwae_is_finite_for_hopeless_rows():
    log_weights = np.array([-1e4, -10_003.0, -9_990.0, -10_200.0], dtype=np.float32)
    step = hand_made_pass(torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, 2))
    step.log_likelihood = torch.tensor(log_weights).reshape(1, 4, 1).requires_grad_()
    bound = IWAE(4).bound(step)
    assert_allclose(
        bound.item(), special.logsumexp(log_weights.astype(float)) - np.log(4), rtol=1e-6
    )
    bound.sum().backward()
    assert step.log_likelihood.grad.isfinite().all()


# ------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("update", over({"fused": "fused", "plain": "plain"}))
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_flat_adam_equals_torch(update, clip_norm):
    build = Perceptron(3, 2, (4,), "tanh", True).build
    ours, theirs = (clone(build.__self__).build(None, Noise(SEEDS)) for _ in range(2))
    named = dict(theirs.named_parameters())
    decayed = [p for n, p in named.items() if "weight" in n]
    others = [p for n, p in named.items() if "weight" not in n]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, weight_decay=0.1)
    optimizer = FlatAdam(ours, 0.1, clip_norm)
    if update == "plain":
        optimizer._update = _plain
    generator = torch.Generator().manual_seed(0)
    for step in range(30):
        rate = 0.01 * (1 + step % 3)
        terms = []
        for parameter, other in zip(ours.parameters(), named.values()):
            other.grad = torch.randn(parameter.shape, generator=generator)
            terms.append((parameter * other.grad.clone()).sum())
        optimizer.differentiate(sum(terms))
        if clip_norm:
            for member in range(2):
                norm = sum(p.grad[member].square().sum() for p in named.values()) ** 0.5
                for p in named.values():
                    p.grad[member] *= min(clip_norm / norm, 1.0)
        for group in reference.param_groups:
            group["lr"] = rate
        optimizer.step([(0, len(optimizer.flat), rate)])
        reference.step()
    for (name, other), parameter in zip(named.items(), ours.parameters()):
        assert_allclose(parameter.detach(), other.detach(), atol=1e-6, err_msg=name)


class NotANumber(likelihoods.Normal):
    def forward(self, parameters):
        return super().forward(parameters * math.nan)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_divergence_is_an_error_that_names_epoch_and_remedy(early_stopping):
    keep = {"early_stopping": early_stopping}
    with pytest.raises(DivergedError, match=r"epoch 1: .* learning_rate_init .*clip_norm"):
        small(likelihood=NotANumber(), **keep).fit(table())
    with pytest.raises(DivergedError, match=r"epoch [12]: .*learning_rate_init \(now 1e\+25\)"):
        small(learning_rate_init=1e25, clip_norm=None, batch_size=100, **keep).fit(table())


@pytest.mark.parametrize("early_stopping", [True, False])
def test_divergence_in_the_last_step_is_an_error_too(early_stopping):
    vae = small(max_iter=1, learning_rate_init=1e25, batch_size=100, early_stopping=early_stopping)
    with pytest.raises(DivergedError):
        vae.fit(table())


def test_training_a_stack_does_not_warn():
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PosteriorCollapseWarning)
            small(n_members=2).fit(table())
    finally:
        torch.set_warn_always(False)


def interrupted_run(vae, stop_at):
    batch = random_batch(blocks_of(vae.likelihood), n_rows=40)
    rows = Rows(batch.inputs[0, 0], batch.values[0, 0], None, None)
    index = torch.arange(40).expand(2, -1)
    snapshots, losses = [], []

    def on_epoch(record):
        snapshots.append([p.detach().clone() for p in vae.parameters()])
        losses.append(-record["validation_bound"])
        if len(losses) == stop_at:
            raise KeyboardInterrupt

    settings = Settings(50, 10, learning_rate=0.1)
    history = train(
        vae, ELBO(), rows, index[:, :30], index[:, 30:], Noise(SEEDS), settings, on_epoch
    )
    return history, snapshots, np.array(losses)


def test_interrupt_keeps_the_best_epoch_of_each_member():
    vae = tiny_vae()
    history, snapshots, losses = interrupted_run(vae, stop_at=9)
    best = losses.argmin(0)
    assert history.interrupted and history.n_epochs == 9 and not vae.training
    assert (history.best_epoch == best).all() and (best < 8).any(), "the last would do"
    for i, parameter in enumerate(vae.parameters()):
        for member, epoch in enumerate(best):
            assert torch.equal(parameter[member], snapshots[epoch][i][member])


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("stop_at", [1, 4])
def test_interrupted_fit_warns_and_leaves_a_working_model(monkeypatch, stop_at):
    calls = []

    class Interrupting(ELBO):
        def forward(self, step, epoch, max_iter):
            calls.append(epoch)
            if int(epoch) + 1 == stop_at:
                raise KeyboardInterrupt
            return super().forward(step, epoch, max_iter)

    with pytest.warns(UserWarning, match=rf"interrupted in epoch {stop_at} of 9.*best model"):
        vae = small(max_iter=9, objective=Interrupting()).fit(table())
    assert vae.n_iter_ == stop_at - 1 and np.isfinite(vae.score_samples(table())).all()
    assert len(vae.history_.get("loss", [])) == stop_at - 1


def test_history_judges_each_member_by_itself():
    history = History(3, n_iter_no_change=2, tol=0.1, max_iter=9)
    losses = [(5, 5, 5), (4, 6, np.nan), (3.95, 5.5, np.nan), (3.9, 1, 1), (3.85, 1, 0)]
    improved = []
    for epoch, loss in enumerate(losses):
        loss = np.array(loss, dtype=float)
        held_out = {"bound": -loss, "loss": loss}
        history.append(epoch, np.arange(3), {"loss": np.zeros(3)}, held_out)
        improved.append(history.improved.tolist())
    # Member 0 gains less than tol after epoch 1 and stops in epoch 3; the others wait from
    # epoch 0 and stop in epoch 2, so that what they do later does not count.
    assert improved == [
        [True, True, True], [True, False, False], [True, False, False],
        [True, False, False], [False, False, False],
    ]  # fmt: skip
    assert history.all_stopped and history.n_iter.tolist() == [4, 3, 3]
    assert history.best_epoch.tolist() == [3, 0, 0]
    assert_allclose(history.best_loss, [3.9, 5, 5])
    assert history.member(1)["validation_bound"] == [-5.0, -6.0, -5.5]
    assert history.member(0)["epoch"] == [1.0, 2.0, 3.0, 4.0]
