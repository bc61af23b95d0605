"""What a likelihood of one block of columns must offer."""

from __future__ import annotations

from torch import Tensor

from .. import distributions
from .._component import Component, Shapes
from .._pass import Cells
from ..noise import Noise


class Likelihood(Component):
    """Base of the likelihoods of one block of columns of one kind."""

    kind = "continuous"
    # Whether rows have sizes of their own; "auto" lets the table decide.
    row_sizes: bool | str = False

    def build(self, shapes: Shapes, noise: Noise) -> Likelihood:
        """Create the weights for ``shapes.blocks``, which holds one block."""
        ((_, self.sizes),) = shapes.blocks
        return self

    @property
    def n_parameters(self) -> int:
        """How many numbers per row the decoder must give."""
        return len(self.sizes)

    def forward(self, parameters: Tensor) -> distributions.Distribution:
        """Turn ``(members, draws, rows, n_parameters)`` into a distribution over cells."""
        raise NotImplementedError

    @property
    def n_locations(self) -> int:
        """How many columns have the decoder's output as their location, unchanged."""
        return 0

    @property
    def n_expanded(self) -> int:
        """How many numbers of a row have the means that training starts at."""
        return self.n_parameters

    def expand(self, values: Tensor) -> Tensor:
        """Cells ``(rows, columns)`` as ``(rows, n_expanded)``: categories become one-hot."""
        return values

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat what holds per column for each number that ``expand`` makes of its cells."""
        return columns

    @property
    def parts(self) -> list[Likelihood]:
        """The likelihoods of a row, which is this one alone."""
        return [self]

    @property
    def widths(self) -> list[int]:
        """How many columns each part is of."""
        return [len(self.sizes)]

    # Whether ``slopes`` tells how to start at a linear model of what ``expand`` gives.
    has_slopes = False

    def slopes(self, mean: Tensor) -> Tensor:
        """How far the decoder's output must move for a unit of each mean, ``(n_expanded,)``."""
        raise NotImplementedError

    def start(self, mean: Tensor) -> Tensor:
        """Decoder output that gives every row these means of what ``expand`` gives.

        Parameters
        ----------
        mean : Tensor (members, n_expanded) or (n_expanded,)

        Returns
        -------
        Tensor (members, n_parameters) or (n_parameters,)
        """
        return mean

    @property
    def shares_noise(self) -> bool | None:
        """Whether all columns have one noise; None lets the rows decide."""
        return None

    @property
    def given_noise(self) -> float | None:
        """The noise scale where it is not learned."""
        return None

    def start_scale(self, scale: Tensor | None, shared: Tensor) -> None:
        """Begin training at this noise; a likelihood without one ignores it."""

    def untie(self) -> None:
        """Go on training with a noise per column, from the calibrated one."""

    def calibrate(self, train: Cells, held_out: Cells) -> None:
        """Refit what does not depend on the code, the networks fixed."""

    def uncalibrate(self) -> None:
        """Forget the calibration."""

    def noise_scale(self, member: int) -> list[float]:
        """Noise of each column of one member, in standardised units; empty without one."""
        return []
