"""Likelihoods of continuous columns: a location per cell and a learned scale."""

from __future__ import annotations

import math
from numbers import Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .. import distributions
from .._component import Shapes
from .._pass import Cells
from ..noise import Noise
from ._base import Likelihood

# How far a refitted noise may move from one number for all columns to one per column; which
# of these is decided by the held-out cells.
COLUMN_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class _LearnedScale(Likelihood):
    """A location per cell and a learned scale, shared or per column."""

    _parameter_constraints: dict = {
        "scale": [
            StrOptions({"auto", "shared", "column"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "initial_scale": [Interval(Real, 0, None, closed="neither")],
        "min_scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, scale="shared", initial_scale=0.37, min_scale=0.01):
        super().__init__()
        self.scale = scale
        self.initial_scale = initial_scale
        self.min_scale = min_scale

    def build(self, shapes: Shapes, noise: Noise) -> Likelihood:
        """Create the log-scale, one number or one per column."""
        super().build(shapes, noise)
        # "auto" shares the noise until the rows speak for one per column.
        width = len(self.sizes) if self.scale == "column" else 1
        start = float(self.scale) if self.fixed else self.initial_scale
        excess = start if self.fixed else max(start - self.min_scale, 1e-3 * self.min_scale)
        value = torch.full((1, 1, width), math.log(excess), device=noise.device)
        self.log_excess = self.weight(noise, lambda g: value)
        self.log_excess.requires_grad_(not self.fixed)
        members = noise.n_members
        tied = torch.ones(members, 1, 1, 1, dtype=torch.bool, device=noise.device)
        self.register_buffer("tied", tied)
        self.partly_tied = False
        return self

    @property
    def n_locations(self) -> int:
        """Every column."""
        return len(self.sizes)

    @property
    def shares_noise(self) -> bool | None:
        """Whether all columns have one noise; None lets the rows decide."""
        return None if self.scale == "auto" else self.scale != "column"

    @property
    def given_noise(self) -> float | None:
        """The noise scale where it is not learned."""
        return float(self.scale) if self.fixed else None

    @property
    def fixed(self) -> bool:
        """Whether the scale is a given number."""
        return not isinstance(self.scale, str)

    def log_scale(self) -> Tensor:
        """Logarithm of the noise in standardised units, ``(members, 1, 1, columns or 1)``."""
        if not self.training and "calibrated" in self._buffers:
            return self.calibrated
        if self.fixed:
            return self.log_excess
        excess: Tensor = self.log_excess
        if self.partly_tied:
            excess = torch.where(self.tied, excess.mean(-1, keepdim=True), excess)
        return (excess.exp() + self.min_scale).log()

    @torch.no_grad()
    def start_scale(self, scale: Tensor | None, shared: Tensor) -> None:
        """Begin training at ``scale (members, columns)``, or at ``initial_scale`` if None.

        ``shared (members,)`` says which members explain held-out rows as well with one noise
        for all columns; only ``scale="auto"`` follows it.
        """
        if self.scale == "auto":
            self.tied.copy_(shared.view(-1, 1, 1, 1))
            if not shared.all():
                self.partly_tied = bool(shared.any())
                own = self.log_excess.detach().expand(-1, -1, -1, len(self.sizes))
                self.log_excess = nn.Parameter(own.clone())
        if self.fixed or scale is None:
            return
        scale = scale[:, None, None, :]
        mean = scale.square().mean(-1, keepdim=True).sqrt()
        if self.scale == "auto":
            scale = torch.where(self.tied, mean, scale)
        elif self.scale == "shared":
            scale = mean
        excess = (scale - self.min_scale).clamp_min(0.1 * self.min_scale).log()
        self.log_excess.copy_(excess[..., : self.log_excess.shape[-1]])

    def noise_scale(self, member: int) -> list[float]:
        """Noise of each column of one member, in standardised units."""
        scale = self.log_scale()[member, 0, 0].exp()
        return scale.expand(len(self.sizes)).tolist()

    def calibrate(self, train: Cells, held_out: Cells) -> None:
        """Refit the scale per column: its pattern from all rows, its level from held-out ones.

        The rows held out are few, so they decide only two numbers: the level, and how far
        the columns may differ.
        """
        if self.fixed:
            return
        pattern = self._variance(train, (1, 2)).clamp_min(self.min_scale**2).log()
        mean = pattern.mean(-1, keepdim=True)
        candidates, scores = [], []
        for share in COLUMN_SHARES:
            scale = (0.5 * (mean + share * (pattern - mean))).exp()
            residual = held_out._replace(
                parameters=held_out.parameters / scale, values=held_out.values / scale
            )
            level = self._variance(residual, (1, 2, 3)).sqrt()
            candidate = (scale * level).clamp_min(self.min_scale).log()
            log_prob = self._distribution(held_out.parameters, candidate).log_prob(held_out.values)
            candidates.append(candidate)
            scores.append((held_out.weights * log_prob).sum((1, 2, 3)))
        best = torch.stack(scores).argmax(0)
        chosen = torch.stack(candidates)[best, torch.arange(len(best), device=best.device)]
        self.register_buffer("calibrated", chosen)

    @torch.no_grad()
    def untie(self) -> None:
        """Go on training with a scale per column, from the calibrated one."""
        if "calibrated" in self._buffers:
            excess = (self.calibrated.exp() - self.min_scale).clamp_min(0.1 * self.min_scale)
            self.log_excess = nn.Parameter(excess.log())
            self.partly_tied = False
            self.uncalibrate()

    def uncalibrate(self) -> None:
        """Go back to the scale of training."""
        self._buffers.pop("calibrated", None)

    def forward(self, parameters: Tensor) -> distributions.Distribution:
        """Give one distribution per cell."""
        return self._distribution(parameters, self.log_scale())

    def _distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Distribution:
        raise NotImplementedError

    def _variance(self, cells: Cells, axes: tuple[int, ...]) -> Tensor:
        """Maximum-likelihood squared scale over these axes."""
        raise NotImplementedError


def _mean_square(cells: Cells, axes: tuple[int, ...], trust: Tensor | float = 1.0) -> Tensor:
    squares = (cells.values - cells.parameters).square()
    total = cells.weights.expand_as(squares).sum(axes, keepdim=True)
    return (cells.weights * trust * squares).sum(axes, keepdim=True) / total.clamp_min(1e-12)


class Normal(_LearnedScale):
    """Normal cells with a learned noise.

    Parameters
    ----------
    scale : {"shared", "column", "auto"} or float, default="shared"
        Noise trained as one number, as one per column, or fixed; calibration refits one per
        column in any case.  Shared noise trains better codes, noise per column a better
        density of tables whose columns determine one another; ``"auto"`` takes the latter where
        it makes held-out rows likelier in a linear model, by 0.1 nats per column at least.
    initial_scale : float, default=0.37
        Noise at the start, in standard deviations of a column.  A start at 1 kills latents.
    min_scale : float, default=0.01
        Smallest noise, in standard deviations of a column.

    Examples
    --------
    >>> from skvae.likelihoods import Normal
    >>> Normal(scale="column")
    Normal(scale='column')

    References
    ----------
    Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2021.
    """

    @property
    def closed_form(self) -> Normal | None:
        """The noise model, unless members of a stack differ in its kind."""
        return self if type(self) is Normal and not self.partly_tied else None

    def _distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.Normal:
        return distributions.Normal(loc, log_scale)

    def _variance(self, cells: Cells, axes: tuple[int, ...]) -> Tensor:
        return _mean_square(cells, axes)


class StudentT(_LearnedScale):
    """Student-t cells: heavy tails, so that a few gross errors do not bend the model.

    Parameters
    ----------
    scale : {"shared", "column", "auto"} or float, default="shared"
        Scale trained as one number, as one per column, or fixed.
    initial_scale : float, default=0.37
        Scale at the start, in standard deviations of a column.
    min_scale : float, default=0.01
        Smallest scale, in standard deviations of a column.
    df : float, default=4.0
        Degrees of freedom; the variance is ``scale**2 * df / (df - 2)``.

    Examples
    --------
    >>> from skvae.likelihoods import StudentT
    >>> StudentT(df=3.0)
    StudentT(df=3.0)

    References
    ----------
    Takahashi et al., Student-t Variational Autoencoder for Robust Density Estimation, 2018.
    """

    _parameter_constraints: dict = {
        **_LearnedScale._parameter_constraints,
        "df": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, scale="shared", initial_scale=0.37, min_scale=0.01, df=4.0):
        super().__init__(scale, initial_scale, min_scale)
        self.df = df

    def _distribution(self, loc: Tensor, log_scale: Tensor) -> distributions.StudentT:
        df = torch.full((), float(self.df), dtype=loc.dtype, device=loc.device)
        return distributions.StudentT(loc, log_scale, df)

    def _variance(self, cells: Cells, axes: tuple[int, ...]) -> Tensor:
        # Fixed point of the score equation: far cells are trusted less.
        variance = _mean_square(cells, axes)
        squares = (cells.values - cells.parameters).square()
        for _ in range(50):
            trust = (self.df + 1) / (self.df + squares / variance.clamp_min(1e-12))
            variance = _mean_square(cells, axes, trust)
        return variance
