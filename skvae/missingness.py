"""Missingness: how likely a cell is to be missing, given the value that it has."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from ._component import Component, Shapes
from .distributions import Distribution
from .expectations import log_expectation
from .noise import FixedDraws, Noise

# Cells that are judged by fixed draws of the code get fixed draws of their own.
SEED = 0
# How much faster the odds move than the weights of the networks: these follow what the mask
# says, and would settle without it otherwise.
SPEED = 10.0
# Log-odds of a column without a gap: it may have one yet.
SMALLEST_SHARE = 1e-3


class Missingness(Component):
    """Base of the models of the mask: log-odds of being missing for each cell."""

    n_draws = 8

    def forward(self, values: Tensor, columns: slice = slice(None)) -> Tensor:
        """Log-odds of being missing of the cells ``(members, draws, rows, ...)`` of columns."""
        raise NotImplementedError

    def start(self, share: Tensor) -> None:
        """Begin at these shares of missing cells ``(members, columns)``."""

    def log_prob_rows(
        self, likelihood: Distribution, values: Tensor, mask: Tensor, noise: Noise | FixedDraws
    ) -> Tensor:
        """Log-probability of the mask of each row, ``(members, draws, rows)``.

        The values of the missing cells are integrated out by draws from ``likelihood``.

        Parameters
        ----------
        likelihood : Distribution
            Of the cells given the code.
        values, mask : Tensor (members, 1, rows, columns)
        noise : Noise or FixedDraws
            The latter brings numbers for codes only; cells then have the same at each call.
        """
        if not isinstance(noise, Noise):
            noise = Noise([SEED] * len(values), values.device)
        missing = log_expectation(
            likelihood, lambda x, columns: F.logsigmoid(self(x, columns)), noise, self.n_draws
        )
        return torch.where(mask, F.logsigmoid(-self(values)), missing).sum(-1)


class SelfMasking(Missingness):
    """Cells missing not at random: the odds depend on the value that the cell itself has.

    The odds are logistic in the value, with a slope and an offset per column, and one number
    per category.  They are learned along with the model, from which the values of the missing
    cells are drawn; imputation takes them into account.

    No data can check this.  Whether large values are missing more often, or are merely rare,
    shows in the observed cells only through what the model takes their distribution to be; use
    it where you know how the gaps arose, and report it as the assumption that it is.  Where the
    gaps depend on other observed cells, leave it out.

    Parameters
    ----------
    n_draws : int, default=8
        Draws of each missing cell in training, where its value cannot be summed over.

    Attributes
    ----------
    slope, offset : Tensor
        Of the fitted model, ``estimator.vae_.missingness``: log-odds per standard deviation of
        each continuous column, per unit of a binary or ordinal one, per log(1 + count), and one
        number per category, ``slope[member, 0, 0]``; and ``offset[member, 0, 0]`` per column.

    Examples
    --------
    >>> from skvae import VAETransformer
    >>> from skvae.missingness import SelfMasking
    >>> VAETransformer(missingness=SelfMasking(n_draws=4))
    VAETransformer(missingness=SelfMasking(n_draws=4))

    References
    ----------
    Ipsen, Mattei and Frellsen, not-MIWAE: Deep Generative Modelling with Missing not at Random
    Data, 2021.
    """

    _parameter_constraints = {"n_draws": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_draws=8):
        super().__init__()
        self.n_draws = n_draws

    def build(self, shapes: Shapes, noise: Noise) -> SelfMasking:
        """Create slopes of 0 and offsets."""
        pairs = [(kind, size) for kind, sizes in shapes.blocks for size in sizes]
        coded = [kind in ("categorical", "token") for kind, _ in pairs]
        widths = [size if is_code else 1 for is_code, (_, size) in zip(coded, pairs)]
        facts = {
            "place": torch.tensor([0, *widths[:-1]]).cumsum(0),
            "is_code": torch.tensor(coded),
            "is_count": torch.tensor([kind == "count" for kind, _ in pairs]),
        }
        for name, fact in facts.items():
            self.register_buffer(name, fact.expand(noise.n_members, -1).to(noise.device))
        zeros = torch.zeros(1, 1, sum(widths), device=noise.device)
        self.raw_slope: nn.Parameter = self.weight(noise, lambda g: zeros)
        self.raw_offset: nn.Parameter = self.weight(noise, lambda g: zeros[..., : len(widths)])
        return self

    @property
    def slope(self) -> Tensor:
        """Log-odds per unit of the value, ``(members, 1, 1, columns and categories)``."""
        return SPEED * self.raw_slope

    @property
    def offset(self) -> Tensor:
        """Log-odds of a cell of value 0, ``(members, 1, 1, columns)``."""
        return SPEED * self.raw_offset

    @torch.no_grad()
    def start(self, share: Tensor) -> None:
        """Begin at these shares of missing cells ``(members, columns)``."""
        share = share.clamp(SMALLEST_SHARE, 1.0 - SMALLEST_SHARE)
        self.raw_offset.copy_(share.logit().view_as(self.raw_offset) / SPEED)

    def forward(self, values: Tensor, columns: slice = slice(None)) -> Tensor:
        """Log-odds of being missing of the cells ``(members, draws, rows, ...)`` of columns."""
        is_code, is_count = self.is_code[0, columns], self.is_count[0, columns]
        index = self.place[0, columns] + torch.where(is_code, values, 0.0).long()
        slope = self.slope.flatten(1).gather(1, index.flatten(1)).view_as(values)
        feature = torch.where(is_count, values.clamp_min(0.0).log1p(), values)
        feature = torch.where(is_code, 1.0, feature)
        return self.offset[..., columns] + slope * feature


MISSINGNESS: dict[str, type[Missingness]] = {"self_masking": SelfMasking}
