"""Objectives: bounds on log p(x) that training maximises, in nats per row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from ._component import Component
from ._pass import Pass

# Orders nearer to 1 than this are 1.
SMALLEST_POWER = 1e-4
# What a group of latents is taken to carry at least, when groups are weighed.
LEAST_NATS = 1e-3


class Objective(Component):
    """Base of the objectives: ``forward`` is minimised, ``bound`` is reported."""

    n_draws = 1
    # Epochs before rows held out tell whether training is to stop.
    n_unjudged = 0

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Loss per member, nats per row; ``epoch`` runs from 0 to ``max_iter``."""
        raise NotImplementedError

    def stack_key(self, max_iter: int) -> tuple:
        """What the objectives of the members of one stack have in common."""
        return repr(self), max_iter

    def joined(self, objectives: Sequence[Objective], max_iter: Sequence[int]) -> Objective:
        """One objective for a stack, given that of each member; keys are equal."""
        return self

    def honest(self) -> Objective:
        """The bound on log p(x) that this objective weighs otherwise."""
        return self

    def judged(self, step: Pass) -> Tensor:
        """What early stopping minimises on held-out rows, ``(members,)``."""
        return -self.mean_bound(step)

    def bound(self, step: Pass) -> Tensor:
        """The bound on log p(x) at weight 1, per row: ``(members, rows)``."""
        return step.bound()

    def reported(self, step: Pass, loss: Tensor) -> Tensor:
        """The bound at weight 1 of a batch whose loss is known, ``(members,)``."""
        return self.mean_bound(step)

    def mean_bound(self, step: Pass) -> Tensor:
        """Weighted mean of the bound over rows, ``(members,)``."""
        return step.mean_log_likelihood - step.mean_kl.sum(-1)


class ELBO(Objective):
    """Evidence lower bound, with the published ways to weigh its KL term.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the KL term; 4 is the beta-VAE, 0 a noisy autoencoder.
    warm_up : float, default=0
        Epochs over which the weight rises from 0 to ``beta``.
    cycles : int, default=0
        If positive, the weight rises again in each of so many equal parts of the run, over
        the first half of each part.
    free_bits : float, default=0.0
        Nats that each latent may carry without a price.
    capacity : float or (float, float), default=None
        Nats that the KL term is drawn to: the loss is ``beta * |KL - capacity|``.  The target
        rises from 0 over ``warm_up`` epochs, and the mean KL over the batch is meant.  A pair
        has a target for the numbers and one for the category of ``posterior="joint"``, each
        with a price of its own; the latter is at most the logarithm of how many there are.
    hold_noise : bool, default=False
        Whether the noise of continuous columns stays as it starts during ``warm_up``.  A noise
        that is small and held keeps a decoder with a memory from learning to do without codes.
    balance : bool, default=False
        Whether, during ``warm_up``, groups of latents pay more than others in proportion to the
        nats that a latent of theirs carries, so that none is left out.  For posteriors in
        groups, as ``Ladder``; the weights of the groups are 1 on average.

    Examples
    --------
    >>> from skvae.objectives import ELBO
    >>> ELBO(beta=4.0)
    ELBO(beta=4.0)
    >>> ELBO(beta=2.0, warm_up=10).weight_at(epoch=5.0, max_iter=100)
    1.0

    References
    ----------
    Kingma and Welling 2014; Higgins et al., beta-VAE, 2017; Burgess et al., Understanding
    disentangling in beta-VAE, 2018; Bowman et al. 2016; Fu et al., Cyclical Annealing
    Schedule, 2019; Kingma et al. (free bits) 2016; Vahdat and Kautz, NVAE (balance), 2020.
    """

    _parameter_constraints = {
        "beta": [Interval(Real, 0, None, closed="left")],
        "warm_up": [Interval(Real, 0, None, closed="left")],
        "cycles": [Interval(Integral, 0, None, closed="left")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "capacity": [None, Interval(Real, 0, None, closed="left"), "array-like"],
        "hold_noise": ["boolean"],
        "balance": ["boolean"],
    }

    def __init__(
        self, beta=1.0, warm_up=0, cycles=0, free_bits=0.0, capacity=None, hold_noise=False,
        balance=False,
    ):  # fmt: skip
        super().__init__()
        self.beta = beta
        self.warm_up = warm_up
        self.cycles = cycles
        self.free_bits = free_bits
        self.capacity = capacity
        self.hold_noise = hold_noise
        self.balance = balance

    @property
    def rows_apart(self) -> bool:  # type: ignore[override]
        """That the price of a code does not depend on those of other rows."""
        return self.capacity is None and not self.free_bits and not self.balance

    @property
    def closed_form(self) -> bool:
        """That the KL term is weighed as a whole."""
        as_a_whole = self.capacity is None and not self.free_bits
        return type(self) is ELBO and as_a_whole and not self.hold_noise and not self.balance

    @property
    def n_unjudged(self) -> float:  # type: ignore[override]
        """The warm-up, where the noise is not learned or groups do not pay what they will."""
        return self.warm_up if self.hold_noise or self.balance else 0

    def stack_key(self, max_iter: int) -> tuple:
        """Weights of the KL term as a whole may differ from member to member."""
        return ("ELBO",) if self.closed_form else super().stack_key(max_iter)

    def joined(self, objectives: Sequence[Objective], max_iter: Sequence[int]) -> Objective:
        """The objective itself where all are the same, else each member's own weight."""
        pairs = list(zip(objectives, map(int, max_iter)))
        if len({(repr(objective), n) for objective, n in pairs}) == 1:
            return self
        return _MemberwiseELBO(pairs)

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Give minus the bound with the KL term weighed for this moment of the run."""
        if self.hold_noise and epoch < self.warm_up:
            step = _with_noise_held(step)
        if self.balance and epoch < self.warm_up:
            step = replace(step, kl=step.kl * group_weights(step)[:, None, None])
        if self.capacity is not None:
            return self._loss(step, self.beta, np.multiply(self.capacity, self._ramp(epoch)))
        return self._loss(step, self.weight_at(epoch, max_iter))

    def honest(self) -> Objective:
        """The bound at weight 1."""
        return ELBO()

    def judged(self, step: Pass) -> Tensor:
        """Minus the bound with the KL term weighed as at the end of warm-up and cycles."""
        return self._loss(step, self.beta, self.capacity)

    def _loss(self, step: Pass, weight: float, target=None) -> Tensor:
        per_latent = step.mean_kl
        if np.ndim(target):
            return weight * _missed(step, self.capacity, target) - step.mean_log_likelihood
        if self.free_bits:
            per_latent = per_latent.clamp_min(self.free_bits)
        kl = per_latent.sum(-1)
        if target is not None:
            kl = (kl - target).abs()
        return weight * kl - step.mean_log_likelihood

    def weight_at(self, epoch: float, max_iter: int) -> float:
        """Weight of the KL term at this epoch of a run of ``max_iter`` epochs."""
        if self.cycles:
            position = math.fmod(epoch * self.cycles / max_iter, 1.0)
            return self.beta * min(2.0 * position, 1.0)
        return self.beta * self._ramp(epoch)

    def _ramp(self, epoch: float) -> float:
        return min(epoch / self.warm_up, 1.0) if self.warm_up else 1.0


def group_weights(step: Pass) -> Tensor:
    """Weight of the KL of each latent, in proportion to the mean of its group, ``(members, n)``.

    The mean over groups is 1.
    """
    nats, sizes = step.mean_kl.detach(), step.posterior.sizes
    if len(sizes) < 2:
        return torch.ones_like(nats)
    # The first group has one column where its prior does not factorise.
    columns = nats.shape[-1] - sum(sizes[1:]), *sizes[1:]
    per_latent = [
        group.sum(-1).clamp_min(LEAST_NATS) / size
        for group, size in zip(nats.split(columns, -1), sizes)
    ]
    weights = torch.stack(per_latent, -1)
    weights = weights / weights.mean(-1, keepdim=True)
    repeated = (w.expand(*w.shape[:-1], n) for w, n in zip(weights.split(1, -1), columns))
    return torch.cat(list(repeated), -1)


def _with_noise_held(step: Pass) -> Pass:
    """The pass without a gradient that flows to the noise of the cells."""
    likelihood = step.likelihood.with_noise_held()
    log_likelihood = likelihood.log_prob_rows(step.batch.values, step.batch.mask)
    return replace(step, likelihood=likelihood, log_likelihood=log_likelihood)


def _missed(step: Pass, capacity, targets) -> Tensor:
    """How far the nats of numbers and of a category are from two targets, ``(members,)``."""
    n_categories = getattr(step.posterior, "n_categories", None)
    nats = step.mean_kl
    if n_categories is None or len(targets) != 2 or nats.shape[-1] < 2 or min(capacity) < 0:
        raise ValueError(
            f"ELBO(capacity={capacity!r}) expects a target for numbers and one for a category, "
            f"neither below 0, and this model gives {nats.shape[-1]} KL terms of "
            f"{type(step.posterior).__name__}. Use posterior='joint' with prior='aggregate' or "
            "prior='normal', or one number."
        )
    numbers, category = nats[..., :-1].sum(-1), nats[..., -1]
    most = math.log(n_categories)
    return (numbers - float(targets[0])).abs() + (category - min(float(targets[1]), most)).abs()


class _MemberwiseELBO(Objective):
    """Evidence lower bounds of a stack whose members weigh the KL term by rules of their own."""

    closed_form = True  # type: ignore[assignment]

    def __init__(self, members=()):
        super().__init__()
        self.members = members

    def select(self, members: Tensor) -> None:
        """Keep only these members, in this order."""
        self.members = [self.members[i] for i in members.tolist()]

    def weight_at(self, epoch: float, max_iter: int) -> np.ndarray:
        """Weight of the KL term of each member, ``(members,)``."""
        return np.array([objective.weight_at(epoch, n) for objective, n in self.members])

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Give minus the bound with the KL term weighed, per member."""
        return self._loss(step, self.weight_at(epoch, max_iter))

    def judged(self, step: Pass) -> Tensor:
        """Minus the bound with the KL term weighed as at the end of warm-up and cycles."""
        return self._loss(step, np.array([objective.beta for objective, _ in self.members]))

    def _loss(self, step: Pass, weight: np.ndarray) -> Tensor:
        by = torch.as_tensor(weight).to(step.mean_kl, non_blocking=True)
        return by * step.mean_kl.sum(-1) - step.mean_log_likelihood


class IWAE(Objective):
    """Importance-weighted bound: tighter with more draws.

    Parameters
    ----------
    n_draws : int, default=5
        Draws from the posterior per row.

    Examples
    --------
    >>> from skvae.objectives import IWAE
    >>> IWAE(n_draws=20)
    IWAE(n_draws=20)

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016.
    """

    _parameter_constraints = {"n_draws": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_draws=5):
        super().__init__()
        self.n_draws = n_draws

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Give minus the bound."""
        return -self.mean_bound(step)

    def reported(self, step: Pass, loss: Tensor) -> Tensor:
        """Give minus the loss, which is the bound."""
        return -loss

    def mean_bound(self, step: Pass) -> Tensor:
        """Weighted mean of the bound over rows."""
        return step.row_mean(self.bound(step))

    def bound(self, step: Pass) -> Tensor:
        """Log of the mean importance weight, per row."""
        return torch.logsumexp(step.log_weight(), 1) - math.log(step.z.shape[1])


class DReG(IWAE):
    """Importance-weighted bound with doubly reparameterised gradients.

    The bound, and its gradient for the decoder and the prior, are those of ``IWAE``.  The
    gradient for the encoder has the same mean and less noise, which counts where draws are
    many: that of ``IWAE`` drowns in noise as they grow.  With one draw it is the gradient that
    vanishes where q(z|x) is the exact posterior.

    Parameters
    ----------
    n_draws : int, default=5
        Draws from the posterior per row.

    Examples
    --------
    >>> from skvae.objectives import DReG
    >>> DReG(n_draws=20)
    DReG(n_draws=20)

    References
    ----------
    Tucker, Lawson, Gu and Maddison, Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives, 2019; Roeder, Wu and Duvenaud, Sticking the Landing, 2017.
    """

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Give minus the bound, with the gradient of weighted log weights."""
        log_weight = step.log_weight().detach()
        share = torch.softmax(log_weight, 1)
        bound = torch.logsumexp(log_weight, 1) - math.log(share.shape[1])
        slope = (share * self._reparameterised(step, share)).sum(1)
        return -step.row_mean(bound + (slope - slope.detach()))

    def _reparameterised(self, step: Pass, share: Tensor) -> Tensor:
        """Log weights through whose codes the gradient flows by ``share``, once more."""
        z = step.z.view_as(step.z)
        for codes in (step.seen, z):
            if codes is not None and codes.requires_grad:
                codes.register_hook(lambda gradient: gradient * share.unsqueeze(-1))
        return replace(step, posterior=step.posterior.detached(), z=z).log_weight()


class Renyi(Objective):
    """Renyi's bound of order alpha, from the evidence lower bound to log p(x) and beyond.

    Parameters
    ----------
    alpha : float, default=0.5
        1 is the evidence lower bound and 0 the importance-weighted bound.  Negative orders
        weigh the best draws more still, and may exceed log p(x); what is then reported is
        the importance-weighted bound.
    n_draws : int, default=5
        Draws from the posterior per row.

    Examples
    --------
    >>> from skvae.objectives import Renyi
    >>> Renyi(alpha=0.0, n_draws=20)
    Renyi(alpha=0.0, n_draws=20)

    References
    ----------
    Li and Turner, Renyi Divergence Variational Inference, 2016.
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, None, None, closed="neither")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, alpha=0.5, n_draws=5):
        super().__init__()
        self.alpha = alpha
        self.n_draws = n_draws

    def forward(self, step: Pass, epoch: float, max_iter: int) -> Tensor:
        """Give minus the bound of order alpha."""
        return -step.row_mean(_of_order(self.alpha, step.log_weight()))

    def honest(self) -> Objective:
        """The bound itself, or that of order 0 where it may exceed log p(x)."""
        return Renyi(max(self.alpha, 0.0), self.n_draws)

    def mean_bound(self, step: Pass) -> Tensor:
        """Weighted mean of the bound over rows."""
        return step.row_mean(self.bound(step))

    def bound(self, step: Pass) -> Tensor:
        """The bound of order alpha, at least 0, per row."""
        return _of_order(max(self.alpha, 0.0), step.log_weight())


def _of_order(alpha: float, log_weight: Tensor) -> Tensor:
    """Log of the mean of order ``1 - alpha`` of weights over draws, ``(members, rows)``."""
    power = 1.0 - alpha
    # Below this the logarithm of a mean of powers near 1 has no digits left.
    if abs(power) < SMALLEST_POWER:
        return log_weight.mean(1)
    log_mean = torch.logsumexp(power * log_weight, 1) - math.log(log_weight.shape[1])
    return log_mean / power


OBJECTIVES = {"elbo": ELBO, "iwae": IWAE, "dreg": DReG, "renyi": Renyi}
