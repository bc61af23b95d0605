"""The axes on which codes are given: in what order, in which direction, in what unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ._pass import Batch
from .sensitivity import expected

MAX_ROWS = 512
# Every latent is moved in every row: with more latents than these, fewer rows must do.
MANY_LATENTS, MOVED_ROWS = 64, 4096
PART_ROWS = 1 << 14
# Rows per latent below which the straight lines through them say nothing.
LINE_ROWS = 4
# How many times as much as it changes in all a latent may seem to change in a straight line: the
# line of one that says little is drawn by what the others do.
STEEPEST = 9.0
# The unit of a latent that changes nothing: small beside those of the others, but not zero, as
# there is a way back.
SMALLEST_UNIT = 1e-3


def n_typical_rows(n_latents: int) -> int:
    """How many rows tell the axes of so many latents."""
    return MAX_ROWS if n_latents <= MANY_LATENTS else max(MOVED_ROWS // n_latents, 16)


@dataclass
class CodeAxes:
    """From codes in units of the prior to those that a transformer gives, and back.

    Parameters
    ----------
    order : ndarray of int (n_components,)
        Latents, those that carry most first.
    unit : ndarray (n_components,)
        Units of the given codes per unit of the prior, negative where a latent is turned round,
        in the order of the given codes.
    variance : ndarray (n_components,)
        Variance of the scaled row that changes with each latent, in that order.

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

    @classmethod
    def of(
        cls, vae, batch: Batch, nats: np.ndarray | None, whiten: bool, as_they_are: bool = False
    ) -> CodeAxes:
        """Axes of a trained model of one member, by rows that are typical.

        Parameters
        ----------
        vae : VAE
            Of one member.
        batch : Batch
            Rows.
        nats : ndarray (n_components,) or None
            What each latent carries, by which they are put in order; None takes the variance.
        whiten : bool
            Whether the unit stays that of the prior.  Else the variance of a code is that of
            the scaled row that changes with it, as that of a principal component is: the
            geometric mean of all that changes and of what changes in a straight line, one and
            the same where the decoder is linear.
        as_they_are : bool, default=False
            Whether axes stay those of the model, as distances between its codes have a meaning.
        """
        codes, variance, slopes = _codes_and_effects(vae, batch)
        if as_they_are:
            return cls(np.arange(len(variance)), np.ones(len(variance)), variance)
        unit = np.sqrt(variance / np.maximum(codes.var(0), 1e-12))
        if slopes is not None:
            # All that changes counts a latent that bends for too much, and a weak one for too
            # little, to find neighbours by.
            unit = np.sqrt(unit * np.minimum(slopes, STEEPEST * unit))
        unit = np.maximum(unit, SMALLEST_UNIT * max(unit.max(), 1e-12))
        if whiten:
            unit = np.ones_like(unit)
        unit = unit * _signs(batch, codes)
        order = np.argsort(-(variance if nats is None else nats), kind="stable")
        return cls(order, unit[order], variance[order])

    @classmethod
    def as_given(cls, n_latents: int) -> CodeAxes:
        """Axes of the model itself, where what changes with a latent is not asked."""
        return cls(np.arange(n_latents), np.ones(n_latents), np.full(n_latents, np.nan))

    def outward(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes in units of the prior into those given, in place."""
        return self._in_place(codes, self.unit)

    def outward_scale(self, scale: np.ndarray) -> np.ndarray:
        """Turn standard deviations of codes in units of the prior into those given, in place."""
        return self._in_place(scale, np.abs(self.unit))

    def inward(self, codes: np.ndarray) -> np.ndarray:
        """Codes in units of the prior, from those given."""
        plain, largest = np.empty_like(codes), np.finfo(codes.dtype).max
        with np.errstate(over="ignore"):
            scaled = codes / self.unit.astype(codes.dtype)
        plain[:, self.order] = np.clip(scaled, -largest, largest)
        return plain

    def _in_place(self, codes: np.ndarray, unit: np.ndarray) -> np.ndarray:
        # Part by part: a second array of all codes would be as large as the first.
        unit = unit.astype(codes.dtype)
        for start in range(0, len(codes), PART_ROWS):
            part = codes[start : start + PART_ROWS]
            np.multiply(part[:, self.order], unit, out=part)
        return codes


@torch.no_grad()
def _codes_and_effects(vae, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes of rows, and how the scaled row changes with each latent.

    By what variance: half the mean squared change of what is expected of a row as the latent
    takes its value of another row, the total effect of Sobol (1993).  And by what slope of a
    straight line, None where rows are too few to tell.
    """
    codes = vae.infer(batch.inputs).mean
    conditions = vae.conditions(batch.inputs)
    here = _scaled(vae, batch, codes, conditions)
    variance = np.zeros(codes.shape[-1])
    for latent in range(codes.shape[-1]):
        moved = codes.clone()
        moved[..., latent] = codes[..., latent].roll(codes.shape[2] // 2, -1)
        change = _scaled(vae, batch, moved, conditions).sub_(here).square_()
        variance[latent] = 0.5 * float(change.sum(-1).mean())
    found = codes[0, 0].cpu().double().numpy()
    return found, variance, _slopes(found, here[0, 0].cpu().numpy())


def _slopes(codes: np.ndarray, cells: np.ndarray) -> np.ndarray | None:
    """Length of the slope of the cells on each latent, all of them together."""
    if len(codes) < LINE_ROWS * codes.shape[1]:
        return None
    slopes = np.linalg.lstsq(codes - codes.mean(0), cells - cells.mean(0), rcond=None)[0]
    return np.linalg.norm(slopes, axis=1)


def _scaled(vae, batch: Batch, codes: torch.Tensor, conditions) -> torch.Tensor:
    """Expected rows on scales that compare, ``(1, 1, rows, numbers)`` in float64.

    Continuous columns are as the codec has scaled them.  Twice the square root of a probability
    or a count has variance about 1 where the cell varies by chance alone; where counts vary by
    more, they are divided by as much.
    """
    cells = vae.decode(codes, conditions)
    likelihood, found = vae.likelihood, []
    columns = batch.values.double().split(likelihood.widths, -1)
    for kind, part, values in zip(likelihood.kinds, cells.parts, columns):
        mean = expected(part).double()
        if kind == "count":
            spread = (2.0 * values.clamp_min(0.0).sqrt()).std(2, correction=0, keepdim=True)
            mean = 2.0 * mean.clamp_min(0.0).sqrt() / spread.clamp_min(1.0)
        elif kind != "continuous":
            share = torch.cat([mean, 1.0 - mean], -1) if kind == "binary" else mean.flatten(3)
            mean = 2.0 * share.clamp(0.0, 1.0).sqrt()
        found.append(mean)
    return torch.cat(found, -1)


def _signs(batch: Batch, codes: np.ndarray) -> np.ndarray:
    """Directions in which the inputs that go most with each latent rise."""
    inputs = batch.inputs[0, 0].cpu().double().numpy()
    crossed = (inputs - inputs.mean(0)).T @ (codes - codes.mean(0))
    # The largest alone would change with the rows where two are nearly as large.
    signs = np.sign((crossed**3).sum(0))
    return np.where(signs == 0, 1.0, signs)
