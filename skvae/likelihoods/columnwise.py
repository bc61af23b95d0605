"""Likelihoods of several kinds of columns side by side."""

from __future__ import annotations

from dataclasses import replace

import torch
from sklearn.base import clone
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from .. import distributions
from .._component import Component, Shapes
from .._pass import Cells
from .._shorthand import expand_shorthands, outer_first
from ..noise import Noise
from ._base import Likelihood
from .continuous import Normal, StudentT
from .counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from .discrete import Bernoulli, Categorical, Ordinal
from .mixture import NormalMixture
from .token_sequence import TokenSequence

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "student_t": StudentT,
    "normal_mixture": NormalMixture,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "token_sequence": TokenSequence,
}


class Columnwise(Component):
    """One likelihood per kind of column, side by side.

    Parameters
    ----------
    continuous, count, binary, categorical, ordinal, token : str or Likelihood
        The likelihood of the columns of that kind.

    Examples
    --------
    >>> from skvae.likelihoods import Columnwise, StudentT
    >>> Columnwise(continuous=StudentT()).get_params()["continuous__df"]
    4.0
    """

    _parameter_constraints = {
        kind: [StrOptions({n for n, c in LIKELIHOODS.items() if c.kind == kind}), Likelihood]
        for kind in ("continuous", "count", "binary", "categorical", "ordinal", "token")
    }

    def __init__(
        self,
        continuous="normal",
        count="negative_binomial",
        binary="bernoulli",
        categorical="categorical",
        ordinal="ordinal",
        token="token_sequence",
    ):
        super().__init__()
        self.continuous = continuous
        self.count = count
        self.binary = binary
        self.categorical = categorical
        self.ordinal = ordinal
        self.token = token

    @classmethod
    def of(cls, likelihood: Likelihood | Columnwise) -> Columnwise:
        """The likelihood itself, or the one of its kind of columns."""
        if isinstance(likelihood, Likelihood):
            return cls(**{likelihood.kind: likelihood})
        return likelihood

    def set_params(self, **params):
        """Set parameters; ``continuous__df=3`` turns a shorthand into its object first."""
        own, nested = outer_first(params)
        super().set_params(**own)
        kinds = self._get_param_names()
        objects = expand_shorthands(self, nested, kinds, lambda _, name: LIKELIHOODS[name]())
        super().set_params(**objects)
        return super().set_params(**nested)

    def uncalibrate(self) -> None:
        """Forget the calibration of each kind."""
        for part in self.parts:
            part.uncalibrate()

    def build(self, shapes: Shapes, noise: Noise) -> Columnwise:
        """Build one likelihood for each kind that the table has."""
        self.kinds = [kind for kind, _ in shapes.blocks]
        self.widths = [len(sizes) for _, sizes in shapes.blocks]
        for kind, sizes in shapes.blocks:
            chosen = getattr(self, kind)
            part = LIKELIHOODS[chosen]() if isinstance(chosen, str) else clone(chosen)
            part._validate_params()
            if part.kind != kind:
                raise ValueError(
                    f"The {kind!r} parameter of Columnwise must be a likelihood of {kind} "
                    f"columns. Got {part!r}, which models {part.kind} ones."
                )
            block = replace(shapes, blocks=((kind, sizes),))
            self.add_module(f"{kind}_block", part.build(block, noise))
        return self

    @property
    def row_sizes(self) -> bool:
        """Whether the counts of a row share a size, which must be asked for."""
        return isinstance(self.count, Likelihood) and self.count.row_sizes is True

    @property
    def parts(self) -> list[Likelihood]:
        """The built likelihoods, in the order of the columns."""
        return [self._modules[f"{kind}_block"] for kind in self.kinds]  # type: ignore[misc]

    @property
    def closed_form(self) -> bool:
        """That the cells of a row are those of its parts."""
        return type(self) is Columnwise

    @property
    def n_parameters(self) -> int:
        """How many numbers per row the decoder must give."""
        return sum(part.n_parameters for part in self.parts)

    def forward(self, parameters: Tensor) -> distributions.Distribution:
        """Give one distribution over all cells of a row."""
        parts = self.parts
        if len(parts) == 1:
            return parts[0](parameters)
        split = parameters.split([part.n_parameters for part in parts], -1)
        return distributions.Blocks([p(s) for p, s in zip(parts, split)], self.widths)

    @property
    def n_expanded(self) -> int:
        """How many numbers of a row have the means that training starts at."""
        return sum(part.n_expanded for part in self.parts)

    @property
    def n_locations(self) -> int:
        """How many leading columns have the decoder's output as their location."""
        return self.parts[0].n_locations

    def expand(self, values: Tensor) -> Tensor:
        """Cells as the numbers whose means training starts at, kind by kind."""
        columns = values.split(self.widths, -1)
        return torch.cat([part.expand(v) for part, v in zip(self.parts, columns)], -1)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat what holds per column for each of these numbers, kind by kind."""
        split = columns.split(self.widths, -1)
        return torch.cat([part.repeat(c) for part, c in zip(self.parts, split)], -1)

    def start(self, mean: Tensor) -> Tensor:
        """Decoder output that gives every row the mean of the observed cells."""
        widths = [part.n_expanded for part in self.parts]
        return torch.cat([p.start(m) for p, m in zip(self.parts, mean.split(widths, -1))], -1)

    @property
    def shares_noise(self) -> bool | None:
        """Whether all continuous columns have one noise; None lets the rows decide."""
        return self.parts[0].shares_noise

    @property
    def given_noise(self) -> float | None:
        """The noise scale of the continuous columns where it is not learned."""
        return self.parts[0].given_noise

    def start_scale(self, scale: Tensor | None, shared: Tensor) -> None:
        """Begin training at this noise of the continuous columns, which come first."""
        self.parts[0].start_scale(scale, shared)

    def noise_scale(self, member: int) -> list[float]:
        """Noise of the continuous columns of one member, in standardised units."""
        return self.parts[0].noise_scale(member)

    def untie(self) -> None:
        """Go on training with a noise per continuous column, from the calibrated one."""
        self.parts[0].untie()

    def calibrate(self, train: Cells, held_out: Cells) -> None:
        """Calibrate each kind on its own columns."""
        for part, *cells in zip(self.parts, self._split(train), self._split(held_out)):
            part.calibrate(*cells)

    def _split(self, cells: Cells) -> list[Cells]:
        parameters = cells.parameters.split([part.n_parameters for part in self.parts], -1)
        values, weights = (t.split(self.widths, -1) for t in (cells.values, cells.weights))
        return [Cells(*parts) for parts in zip(parameters, values, weights)]
