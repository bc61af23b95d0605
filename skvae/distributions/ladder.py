"""Codes whose latents come in groups, each drawn given those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from ..divergences import kl
from ..noise import FixedDraws, Noise
from ._base import Distribution


class Walk(NamedTuple):
    """What is met on the way from the first group to the last.

    Parameters
    ----------
    z : Tensor (members, draws, rows, n_latents)
        The codes, group after group.
    found : list of Distribution
        Of each group given its row and the groups before, where a row is known.
    given : list of Distribution
        Of each group but the first, given the groups before.
    state : Any
        Where the path is behind the last group.
    """

    z: Tensor
    found: list
    given: list
    state: Any


def walk(
    sizes: tuple[int, ...], path, rule, choose: Callable[[int, Any], Tensor],
    first: Distribution | None = None, evidence: tuple[Tensor, ...] = (),
) -> Walk:  # fmt: skip
    """Go from group to group.

    Parameters
    ----------
    sizes : tuple of int
        Latents in each group.
    path : Component
        Its ``advance(level, state, z)`` gives where it is behind a group, ``heads(level,
        state)`` what it says of the next one.
    rule : Posterior
        Its ``given(heads)`` and ``merged(evidence, heads)`` make normals of these.
    choose : callable
        Gives the codes of a group, of its number and its distribution.
    first : Distribution or None
        Of the first group given its row.
    evidence : tuple of Tensor
        What the encoder says of each group; none where no row is known.
    """
    state, found, given = None, [first], []
    z = [choose(0, first)]
    for level in range(1, len(sizes)):
        state = path.advance(level - 1, state, z[-1])
        heads = path.heads(level, state)
        given.append(rule.given(heads))
        found.append(rule.merged(evidence[level], heads) if evidence else given[-1])
        z.append(choose(level, found[-1]))
    if path is not None:
        state = path.advance(len(sizes) - 1, state, z[-1])
    return Walk(torch.cat(z, -1) if len(z) > 1 else z[0], found, given, state)


class LadderCodes(Distribution):
    """Codes of rows: q(z_1|x), then q(z_l|x, z_1, ..., z_(l-1)) for each group that follows.

    Parameters
    ----------
    sizes : tuple of int
        Latents in each group.
    path, rule
        As in ``walk``.
    first : Distribution
        Of the first group.
    evidence : tuple of Tensor (members, 1, rows, 2 * size)
        What the encoder says of each group.

    Attributes
    ----------
    walked : Walk or None
        That of the last draw.
    """

    def __init__(self, sizes: tuple[int, ...], path, rule, first: Any, evidence):
        self.sizes, self.path, self.rule = sizes, path, rule
        self.first, self.evidence = first, evidence
        self.walked: Walk | None = None

    def _walk(self, choose: Callable[[int, Any], Tensor]) -> Walk:
        return walk(self.sizes, self.path, self.rule, choose, self.first, self.evidence)

    def _along(self, value: Tensor) -> Walk:
        if self.walked is not None and value is self.walked.z:
            return self.walked
        parts = value.split(self.sizes, -1)
        return self._walk(lambda level, _: parts[level])

    @property
    def expected(self) -> Walk:
        """The way along the mean of each group given those before it."""
        return self._walk(lambda _, found: found.mean)

    @property
    def mean(self) -> Tensor:
        return self.expected.z

    @property
    def stddev(self) -> Tensor:
        return torch.cat([found.stddev for found in self.expected.found], -1)

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, n_latents)``, and remember the way."""
        eps = noise.normal(n_draws, self.evidence[0].shape[2], sum(self.sizes))
        parts = eps.split(self.sizes, -1)
        self.walked = self._walk(lambda level, q: q.rsample(_Drawn(parts[level]), n_draws))
        return self.walked.z

    def log_prob(self, value: Tensor) -> Tensor:
        found = self._along(value).found
        parts = zip(found, value.split(self.sizes, -1))
        return torch.cat([q.log_prob(z) for q, z in parts], -1)

    def nats(self, prior: LadderPrior, z: Tensor) -> Tensor:
        """KL of each group from the prior at codes ``z``, per latent where there is one."""
        way = self._along(z)
        first = kl(way.found[0], prior.first, z[..., : self.sizes[0]])
        others = [kl_divergence(q, p) for q, p in zip(way.found[1:], way.given)]
        if not others:
            return first
        first = first.expand(-1, others[0].shape[1], -1, -1)
        return torch.cat([first, *others], -1)

    def detached(self) -> Distribution:
        """Refused: weights of the path serve the posterior and the prior alike."""
        raise ValueError(
            "This objective asks for the density of codes without its gradient, as DReG does, "
            "and in groups that one path gives to posterior and prior it cannot be told apart. "
            "Use IWAE."
        )


class LadderPrior(Distribution):
    """Codes before a row is seen: p(z_1), then p(z_l|z_1, ..., z_(l-1)).

    Parameters
    ----------
    sizes, path, rule
        As in ``LadderCodes``.
    first : Distribution
        Of the first group.
    """

    def __init__(self, sizes: tuple[int, ...], path, rule, first: Any):
        self.sizes, self.path, self.rule, self.first = sizes, path, rule, first

    def log_prob(self, value: Tensor) -> Tensor:
        parts = value.split(self.sizes, -1)
        way = walk(self.sizes, self.path, self.rule, lambda level, _: parts[level])
        log_p = self.first.log_prob(parts[0])
        log_p = log_p.sum(-1) if log_p.ndim == value.ndim else log_p
        return sum((p.log_prob(z).sum(-1) for p, z in zip(way.given, parts[1:])), log_p)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, n_latents)``."""
        first = self.first.sample(noise, n_rows)
        return walk(
            self.sizes, self.path, self.rule, lambda level, p: p.sample(noise) if level else first
        ).z


class _Drawn:
    """Numbers that were drawn for all groups at once."""

    def __init__(self, eps: Tensor):
        self.eps = eps

    def normal(self, n_draws: int, n_rows: int, n_components: int) -> Tensor:
        return self.eps


@register_kl(LadderCodes, LadderPrior)
def _kl_ladder(q: LadderCodes, p: LadderPrior) -> Tensor:
    """Nats of each latent along the last draw."""
    if q.walked is None:
        raise NotImplementedError("Groups depend on those before them: codes are to be drawn.")
    return q.nats(p, q.walked.z)
