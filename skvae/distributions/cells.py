"""Distributions of cells: heavy tails, categories, levels, and several kinds side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..noise import Noise
from ._base import Distribution
from .counts import softplus

# Along fewer numbers than a vector of the processor holds, softmax takes one at a time.
VECTOR = 16


class StudentT(Distribution):
    """Student's t with ``df`` degrees of freedom around ``loc``; heavy tails."""

    def __init__(self, loc: Tensor, log_scale: Tensor, df: Tensor):
        self.loc = loc
        self.log_scale = log_scale
        self.df = df

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        df = self.df
        z = (value - self.loc) * (-self.log_scale).exp()
        constant = (
            torch.lgamma(0.5 * (df + 1))
            - torch.lgamma(0.5 * df)
            - 0.5 * (df * math.pi).log()
            - self.log_scale
        )
        return constant - 0.5 * (df + 1) * torch.log1p(z * z / df)

    def with_noise_held(self) -> StudentT:
        return StudentT(self.loc, self.log_scale.detach(), self.df)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        shape = self.loc.shape
        chi2 = 2 * noise.gamma((0.5 * self.df).expand(shape).contiguous())
        return self.loc + self.log_scale.exp() * noise.normal(*shape[1:]) * (self.df / chi2).sqrt()


class Bernoulli(Distribution):
    """A binary column with the given ``logits``; values between 0 and 1 are allowed."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.logits - softplus(self.logits)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return (noise.uniform(*self.logits.shape[1:]) < self.mean).to(self.logits.dtype)


class Categorical(Distribution):
    """Categorical columns of the given ``sizes``: ``logits (..., categories of all columns)``.

    Columns are worked on one after the other, and are padded with -inf to one size only where
    all are asked for at once.
    """

    def __init__(self, logits: Tensor, sizes: Sequence[int]):
        self.columns = logits.split(list(sizes), -1)

    @property
    def logits(self) -> Tensor:
        """Those of each column, ``(..., columns, categories)``."""
        width = max(column.shape[-1] for column in self.columns)
        return torch.stack([_padded(column, width) for column in self.columns], -2)

    @property
    def probs(self) -> Tensor:
        """Probability of each category, ``(..., columns, categories)``."""
        return self.logits.softmax(-1)

    @property
    def shares(self) -> Tensor:
        """The same, the categories of all columns side by side."""
        return torch.cat([self._shares(column) for column in self.columns], -1)

    @property
    def point(self) -> Tensor:
        codes = torch.stack([column.argmax(-1) for column in self.columns], -1)
        return codes.to(self.columns[0].dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        parts = []
        for column, code in zip(self.columns, value.long().unbind(-1)):
            code = code.unsqueeze(-1).expand(*column.shape[:-1], 1)
            parts.append(_padded(column).log_softmax(-1).gather(-1, code))
        return torch.cat(parts, -1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        uniform = noise.uniform(*self.columns[0].shape[1:-1], len(self.columns))
        parts = []
        for column, level in zip(self.columns, uniform.unsqueeze(-1).unbind(-2)):
            codes = (level > self._shares(column).cumsum(-1)).sum(-1)
            parts.append(codes.clamp_(max=column.shape[-1] - 1))
        return torch.stack(parts, -1).to(uniform.dtype)

    @staticmethod
    def _shares(column: Tensor) -> Tensor:
        return _padded(column).softmax(-1)[..., : column.shape[-1]]


def _padded(column: Tensor, width: int = VECTOR) -> Tensor:
    """The logits of a column with as many of -inf behind them as fill a vector, or a width."""
    missing = width - column.shape[-1]
    return functional.pad(column, (0, missing), value=-math.inf) if missing > 0 else column


class Ordinal(Distribution):
    """Ordered levels 0, 1, ...: between which thresholds a logistic variable falls.

    Parameters
    ----------
    loc : Tensor (members, draws, rows, columns)
        Location of the logistic variable.
    thresholds : Tensor (members, 1, 1, columns, levels - 1)
        In rising order; infinite beyond the levels of a column.
    """

    def __init__(self, loc: Tensor, thresholds: Tensor):
        self.loc = loc
        self.thresholds = thresholds

    @property
    def exceedance(self) -> Tensor:
        """Probabilities of more than level 0, 1, ..., ``(..., columns, levels - 1)``."""
        return (self.loc.unsqueeze(-1) - self.thresholds).sigmoid()

    @property
    def mean(self) -> Tensor:
        return self.exceedance.sum(-1)

    @property
    def probs(self) -> Tensor:
        """Probabilities of each level, ``(..., columns, levels)``."""
        at_least = functional.pad(self.exceedance, (1, 0), value=1.0)
        return at_least - functional.pad(at_least[..., 1:], (0, 1))

    @property
    def point(self) -> Tensor:
        # The median: it uses the order, and unlike the mode it can name a narrow level.
        return (self.loc.unsqueeze(-1) > self.thresholds).sum(-1).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        # One table of cells may serve all members.
        code = value.long().unsqueeze(-1).expand(len(self.thresholds), *value.shape[1:], 1)
        n_edges = self.thresholds.shape[-1] + 2
        edges = functional.pad(self.thresholds, (0, 1), value=math.inf)
        edges = functional.pad(edges, (1, 0), value=-math.inf)
        edges = edges.expand(*code.shape[:-1], n_edges)
        lower, upper = (edges.gather(-1, place).squeeze(-1) for place in (code, code + 1))
        # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)), which cancels in neither tail.
        within = (-torch.expm1(lower - upper)).log()
        return within - softplus(self.loc - upper) - softplus(lower - self.loc)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        uniform = noise.uniform(*self.loc.shape[1:], 1)
        return (uniform < self.exceedance).sum(-1).to(self.loc.dtype)


class Blocks(Distribution):
    """Blocks of columns, each with its own distribution, behind one ``log_prob``."""

    def __init__(self, parts: list[Distribution], widths: list[int]):
        self._parts = parts
        self.widths = widths

    @property
    def parts(self) -> list[Distribution]:
        """The distributions of the blocks, in the order of the columns."""
        return self._parts

    @property
    def point(self) -> Tensor:
        return torch.cat([part.point for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        values = value.split(self.widths, -1)
        return torch.cat([p.log_prob(v) for p, v in zip(self.parts, values)], -1)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        cells = self._split(value, mask)
        return sum(p.log_prob_rows(v, m) for p, v, m in cells)  # type: ignore[return-value]

    def in_training(self, noise: Noise) -> Blocks:
        return Blocks([part.in_training(noise) for part in self.parts], self.widths)

    def given(self, value: Tensor, mask: Tensor | None) -> Blocks:
        cells = self._split(value, mask)
        return Blocks([part.given(v, m) for part, v, m in cells], self.widths)

    def drawn_around(self, noise: Noise) -> tuple[Tensor, Tensor] | None:
        found = [part.drawn_around(noise) for part in self.parts]
        if all(pair is None for pair in found):
            return None
        cells = [
            part.sample(noise) if pair is None else pair[0]
            for part, pair in zip(self.parts, found)
        ]
        return torch.cat(cells, -1), sum(pair[1] for pair in found if pair is not None)  # type: ignore[return-value]

    def with_noise_held(self) -> Blocks:
        return Blocks([part.with_noise_held() for part in self.parts], self.widths)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return torch.cat([part.sample(noise) for part in self.parts], -1)

    def _split(self, value: Tensor, mask: Tensor | None):
        masks = [None] * len(self.parts) if mask is None else mask.split(self.widths, -1)
        return zip(self.parts, value.split(self.widths, -1), masks)
