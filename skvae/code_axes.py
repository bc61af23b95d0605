"""The axes on which codes are given: in what order, in which direction, in what unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.linalg import inv
from scipy.optimize import brentq

from ._pass import Batch
from .arrays import wide
from .sensitivity import expected

MAX_ROWS = 512
# Every latent is moved in every row: with more latents than these, fewer rows must do.
MANY_LATENTS, MOVED_ROWS = 64, 4096
# They are cheap to encode, and principal axes of few rows are those of these rows.
PRINCIPAL_ROWS = 2048
PART_ROWS = 1 << 12
# Of one row sums would be in another order.
LEAST_ROWS = 64
# Rows per latent below which the straight lines through them say nothing.
LINE_ROWS = 4
# How many times as much as it changes in all a latent may seem to change in a straight line: the
# line of one that says little is drawn by what the others do.
STEEPEST = 9.0
# The unit of a latent that changes nothing: small beside those of the others, but not zero, as
# there is a way back.
SMALLEST_UNIT = 1e-3
# Likewise how little of what latents change together may be its least part.
SMALLEST_SHARE = 1e-4
# Far out is far out: sums of codes that are farther would overflow.
LARGEST = 1e30


def n_typical_rows(n_latents: int) -> int:
    """How many rows tell the axes of so many latents."""
    return MAX_ROWS if n_latents <= MANY_LATENTS else max(MOVED_ROWS // n_latents, 16)


@dataclass
class CodeAxes:
    """From codes in units of the prior to those that a transformer gives, and back.

    The variance of a given code is that of the scaled row that changes with it, as that of a
    principal component is, but where a unit is kept: the geometric mean of all that changes and
    of what changes in a straight line, one and the same where the decoder is linear.

    Parameters
    ----------
    order : ndarray of int (n_components,)
        Latents, those that carry most first; where there are ``directions``, as they are.
    unit : ndarray (n_components,)
        Units of the given codes per unit of the prior along each axis, negative where it is
        turned round, in the order of the given codes.
    variance : ndarray (n_components,)
        Variance of the scaled row that changes with each axis, in that order.
    directions : ndarray (n_components, n_components) or None, default=None
        What each axis, a column of length one, reads of each latent; None where axes are the
        latents themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.code_axes import CodeAxes
    >>> axes = CodeAxes(np.array([1, 0]), np.array([2.0, -1.0]), np.ones(2))
    >>> axes.outward(np.array([[3.0, 5.0]]))
    array([[10., -3.]])
    >>> axes.inward(axes.outward(np.array([[3.0, 5.0]])))
    array([[3., 5.]])
    """

    order: np.ndarray
    unit: np.ndarray
    variance: np.ndarray
    directions: np.ndarray | None = None

    @classmethod
    def of_model(cls, effects: Effects) -> CodeAxes:
        """Axes of the model as they are, where distances between its codes have a meaning."""
        latents = np.eye(effects.n_latents)
        return cls(np.arange(len(latents)), np.ones(len(latents)), effects.along(latents)[0])

    @classmethod
    def of_latents(
        cls, effects: Effects, nats: np.ndarray | None = None, whiten: bool = False
    ) -> CodeAxes:
        """Latents as axes, where each was asked to mean something, those that carry most first.

        Parameters
        ----------
        effects : Effects
            Of the latents.
        nats : ndarray (n_components,) or None, default=None
            What each latent carries, by which they are put in order; None takes the variance.
        whiten : bool, default=False
            Whether their unit stays that of the prior.
        """
        variance, unit = effects.along(np.eye(effects.n_latents))
        if whiten:
            unit = np.ones(len(unit))
        unit = unit * effects.signs(effects.codes)
        order = np.argsort(-(variance if nats is None else nats), kind="stable")
        return cls(order, unit[order], variance[order])

    @classmethod
    def principal(cls, effects: Effects, rows: Batch) -> CodeAxes:
        """Latents turned into principal axes, which go by what changes along them.

        They are those of codes that are as far apart as the rows that straight lines give.

        Parameters
        ----------
        effects : Effects
            Of the latents, of rows enough to have straight lines.
        rows : Batch
            Rows, more of them, by whose codes latents are turned.
        """
        directions = effects.principal_directions(rows)
        variance, unit = effects.along(directions)
        unit = unit * effects.signs(effects.codes @ directions)
        first = np.argsort(-variance, kind="stable")
        return cls(np.arange(len(unit)), unit[first], variance[first], directions[:, first])

    @classmethod
    def as_given(cls, n_latents: int) -> CodeAxes:
        """Axes of the model itself, where what changes with a latent is not asked."""
        return cls(np.arange(n_latents), np.ones(n_latents), np.full(n_latents, np.nan))

    def nats(self, of_latents: np.ndarray) -> np.ndarray:
        """What each axis carries about a row, given what the latents do.

        Where axes are turned, all that the latents carry is shared out as parallel Gaussian
        channels would do it whose signals have the variances of the axes and all the same noise.
        """
        if self.directions is None:
            return of_latents[self.order]
        total, most = of_latents.sum(), self.variance.max()
        if min(total, most) <= 0.0:
            return np.zeros(len(self.variance))
        share = self.variance / most

        def told(log_noise: float) -> np.ndarray:
            return 0.5 * np.logaddexp(0.0, np.log(np.maximum(share, 1e-300)) - log_noise)

        # A nat farther apart than they need be, as what is told is rounded.
        ends = -2.0 * total - 1.0, np.log(share.sum() / (2.0 * total)) + 1.0
        return told(brentq(lambda log_noise: told(log_noise).sum() - total, *ends))

    @property
    def steps(self) -> np.ndarray:
        """Codes in units of the prior that a unit of each given one alone adds, in its row."""
        back = np.eye(len(self.unit)) if self.directions is None else inv(self.directions)
        return back[self.order] / self.unit[:, None]

    @property
    def covariance(self) -> np.ndarray:
        """Of given codes, where those in units of the prior are N(0, I)."""
        matrix = self.outward(np.eye(len(self.unit)))
        return matrix.T @ matrix

    def outward(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes in units of the prior into those given, in place."""
        return self._in_place(codes, self.unit, self.directions)

    def outward_scale(self, scale: np.ndarray) -> np.ndarray:
        """Turn standard deviations of codes in units of the prior into those given, in place."""
        if self.directions is None:
            return self._in_place(scale, np.abs(self.unit), None)
        variance = self._in_place(np.square(scale, out=scale), self.unit**2, self.directions**2)
        return np.sqrt(variance, out=variance)

    def inward(self, codes: np.ndarray) -> np.ndarray:
        """Codes in units of the prior, from those given."""
        with np.errstate(over="ignore"):
            plain = np.clip(codes / self.unit.astype(codes.dtype), -LARGEST, LARGEST)
        if self.directions is None:
            return plain[:, np.argsort(self.order)]
        return self._in_place(plain, np.ones(len(self.unit)), inv(self.directions))

    def _in_place(
        self, codes: np.ndarray, unit: np.ndarray, directions: np.ndarray | None
    ) -> np.ndarray:
        # Part by part: a second array of all codes would be as large as the first.
        unit = unit.astype(codes.dtype)
        matrix = None if directions is None else directions.astype(codes.dtype) * unit
        for start in range(0, len(codes), PART_ROWS):
            part = codes[start : start + PART_ROWS]
            if matrix is None:
                np.multiply(part[:, self.order], unit, out=part)
            else:
                part[:] = _product(part, matrix)
        return codes


def _product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``rows @ matrix``, of which a row has the same bits whatever the others are."""
    columns = np.zeros((len(matrix), max(len(rows), LEAST_ROWS)), rows.dtype)
    columns[:, : len(rows)] = rows.T
    # Libraries of matrix products add up in another order where rows are few, or the last.
    return np.einsum("jn,jk->kn", columns, matrix)[:, : len(rows)].T


class Effects:
    """How the scaled row changes with the codes of a model of one member.

    Parameters
    ----------
    vae : VAE
        Of one member.
    batch : Batch
        Rows.

    Attributes
    ----------
    codes : ndarray (rows, n_components)
        Of the rows, in units of the prior.
    slopes : ndarray (n_components, numbers) or None
        Of the straight lines that go best through the scaled rows, by latent; None where rows
        are too few to tell.
    """

    @torch.no_grad()
    def __init__(self, vae, batch: Batch):
        self.vae, self.batch = vae, batch
        self.inferred = vae.infer(batch.inputs).mean
        self.conditions = vae.conditions(batch.inputs)
        self.here = _scaled(vae, batch, self.inferred, self.conditions)
        self.codes = self.inferred[0, 0].cpu().double().numpy()
        self.slopes = _slopes(self.codes, self.here[0, 0].cpu().numpy())

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.codes.shape[1]

    def along(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the scaled row that changes along each axis, and the unit that it gives.

        The variance is half the mean squared change of what is expected of a row as its code
        takes the value of another row along the axis and keeps those along the others, the total
        effect of Sobol (1993), of all pairs of rows as of those that are looked at.
        """
        codes, back = self.codes @ directions, inv(directions)
        unit = np.array([self._steepness(codes[:, k], back[k]) for k in range(len(back))])
        variance = unit**2 * codes.var(0)
        if self.slopes is not None:
            # All that changes counts a latent that bends for too much, and a weak one for too
            # little, to find neighbours by.
            line = np.linalg.norm(back @ self.slopes, axis=1)
            unit = np.sqrt(unit * np.minimum(line, STEEPEST * unit))
        return variance, np.maximum(unit, SMALLEST_UNIT * max(unit.max(), 1e-12))

    @torch.no_grad()
    def _steepness(self, codes: np.ndarray, step: np.ndarray) -> float:
        others = np.roll(codes, len(codes) // 2) - codes
        change = torch.as_tensor(others[:, None] * step).to(self.inferred)
        there = _scaled(self.vae, self.batch, self.inferred + change, self.conditions)
        changed = float(there.sub_(self.here).square_().sum(-1).mean())
        return np.sqrt(changed / max(np.mean(others**2), 1e-12))

    @torch.no_grad()
    def principal_directions(self, rows: Batch) -> np.ndarray:
        """Directions of the principal axes of codes that are as far apart as their rows.

        The units of the latents say how far a step along each is, the straight lines which of
        them go the same way, and ``rows`` how codes vary.
        """
        unit = self.along(np.eye(self.n_latents))[1]
        codes = self.vae.infer(rows.inputs).mean[0, 0].cpu().double().numpy()
        assert self.slopes is not None
        length = np.maximum(np.linalg.norm(self.slopes, axis=1), 1e-12)
        share = self.slopes / length[:, None]
        value, vector = np.linalg.eigh(share @ share.T)
        together = (vector * np.maximum(value, SMALLEST_SHARE)) @ vector.T * np.outer(unit, unit)
        root = _root(together)
        varied = root @ np.atleast_2d(np.cov(codes.T)) @ root
        axes = root @ np.linalg.eigh(varied)[1][:, ::-1]
        return axes / np.linalg.norm(axes, axis=0)

    def signs(self, codes: np.ndarray) -> np.ndarray:
        """Directions in which the inputs that go most with each of these codes rise."""
        inputs = self.batch.inputs[0, 0].cpu().double().numpy()
        crossed = (inputs - inputs.mean(0)).T @ (codes - codes.mean(0))
        # The largest alone would change with the rows where two are nearly as large.
        signs = np.sign((crossed**3).sum(0))
        return np.where(signs == 0, 1.0, signs)


def _root(matrix: np.ndarray) -> np.ndarray:
    value, vector = np.linalg.eigh(matrix)
    return (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T


def _slopes(codes: np.ndarray, cells: np.ndarray) -> np.ndarray | None:
    """Slopes of the cells on each latent, all of them together, ``(n_components, numbers)``."""
    if len(codes) < LINE_ROWS * codes.shape[1]:
        return None
    return np.linalg.lstsq(codes - codes.mean(0), cells - cells.mean(0), rcond=None)[0]


def _scaled(vae, batch: Batch, codes: torch.Tensor, conditions) -> torch.Tensor:
    """Expected rows on scales that compare, ``(1, 1, rows, numbers)`` in float64.

    Continuous columns are as the codec has scaled them.  Twice the square root of a probability
    or a count has variance about 1 where the cell varies by chance alone; where counts vary by
    more, they are divided by as much.
    """
    cells = vae.decode(codes, conditions)
    likelihood, found = vae.likelihood, []
    columns = wide(batch.values).split(likelihood.widths, -1)
    for kind, part, values in zip(likelihood.kinds, cells.parts, columns):
        mean = wide(expected(part))
        if kind == "count":
            spread = (2.0 * values.clamp_min(0.0).sqrt()).std(2, correction=0, keepdim=True)
            mean = 2.0 * mean.clamp_min(0.0).sqrt() / spread.clamp_min(1.0)
        elif kind != "continuous":
            share = torch.cat([mean, 1.0 - mean], -1) if kind == "binary" else mean.flatten(3)
            mean = 2.0 * share.clamp(0.0, 1.0).sqrt()
        found.append(mean)
    return torch.cat(found, -1)
