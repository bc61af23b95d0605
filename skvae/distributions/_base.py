"""What a distribution over codes or cells must offer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import Distribution as _TorchDistribution

from ..noise import FixedDraws, Noise


class Distribution(_TorchDistribution):
    """A distribution per cell: ``log_prob`` per column, a ``point`` and seeded draws."""

    # Latents in each group, where some are drawn given others.
    sizes: tuple[int, ...] = ()

    def __init__(self):
        # The base class validates and copies shapes on every call, which a training step
        # pays for and never uses.
        pass

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def point(self) -> Tensor:
        """The single best value: the mean, or the mode of a discrete distribution."""
        return self.mean

    @property
    def parts(self) -> list[Distribution]:
        """The distributions of the blocks of columns, which this one alone covers."""
        return [self]

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Sum of ``log_prob`` over the observed cells of each row."""
        log_prob = self.log_prob(value)
        return (log_prob if mask is None else torch.where(mask, log_prob, 0.0)).sum(-1)

    def in_training(self, noise: Noise) -> Distribution:
        """The distribution that a step of training sees; it may hide cells from one another."""
        return self

    def given(self, value: Tensor, mask: Tensor | None) -> Distribution:
        """The distribution of the other cells of rows of which some are known.

        It differs where cells share more than the code.
        """
        return self

    def drawn_around(self, noise: Noise) -> tuple[Tensor, Tensor] | None:
        """Cells drawn around known ones, and log weights by which these are exact.

        The weights are relative to the ``log_prob_rows`` of the known cells.  None where all
        that ``sample`` draws is exact.
        """
        return None

    def with_noise_held(self) -> Distribution:
        """The distribution with a noise that no gradient flows to, where it has a noise."""
        return self

    def log_odds(self, prior: Distribution, z: Tensor) -> Tensor:
        """Log p(z) - log q(z) of codes drawn from this distribution, per row."""
        log_p, log_q = prior.log_prob(z), self.log_prob(z).sum(-1)
        return (log_p.sum(-1) if log_p.ndim > log_q.ndim else log_p) - log_q

    def detached(self) -> Distribution:
        """The same distribution with parameters that no gradient flows to."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, Distribution)):
                detach = value.detach if isinstance(value, Tensor) else value.detached
                vars(twin)[name] = detach()
        return twin

    def rsample(self, noise: Noise | FixedDraws, n_draws: int = 1) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, n_draws, rows, columns)``, differentiably."""
        raise NotImplementedError

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        """Draw one value per cell."""
        raise NotImplementedError
