"""What a model says about the cells of rows of which some cells are taken away."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..table import Encoded


class Cells(NamedTuple):
    """An encoded table as a model has it.

    Parameters
    ----------
    values : ndarray of float32 (rows, columns)
    mask : ndarray of bool (rows, columns)
        Observed cells.
    log_slope : ndarray (rows, columns)
        What to subtract from log densities of the values to have those of the cells in their
        own units; 0 where cells are missing.
    given : ndarray of float32 (rows, n_conditions) or None, default=None
        What the model sees of columns that are not judged, None where there are none.
    """

    values: np.ndarray
    mask: np.ndarray
    log_slope: np.ndarray
    given: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Cells:
        """These rows."""
        given = None if self.given is None else self.given[rows]
        return Cells(self.values[rows], self.mask[rows], self.log_slope[rows], given)


class Evidence:
    """Base of what tells cells apart: terms per cell that make up the score of a row."""

    # Whether something beside the cells is part of a score.
    has_rest = False

    def prepare(self, encoded: Any) -> Cells:
        """Cells as the model has them."""
        raise NotImplementedError

    def terms(self, cells: Cells, visible: np.ndarray, device) -> tuple:
        """Nats of the visible cells, 0 elsewhere, and the rest of the score of each row.

        Both in the units of the values, ``(rows, columns)`` and ``(rows,)``.
        """
        raise NotImplementedError

    def guess(self, cells: Cells, visible: np.ndarray, device) -> np.ndarray:
        """Most plausible value of each cell ``(rows, columns)`` given the visible others."""
        raise NotImplementedError

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Values ``(rows, columns)`` as the codec decodes them."""
        return values

    def scaled(self, values: np.ndarray, column: int) -> np.ndarray:
        """Values of a column as the model has them, of those that the codec decodes."""
        return values


def observed(encoded: Any) -> np.ndarray:
    """Where cells of an encoded table are observed."""
    if encoded.mask is None:
        return np.ones(encoded.values.shape, dtype=bool)
    return encoded.mask


def conditions_of(encoded: Any, n_conditions: int) -> np.ndarray | None:
    """What a model sees of the columns that are given, the last of its inputs; None of none."""
    if not n_conditions:
        return None
    return encoded.inputs[:, encoded.inputs.shape[1] - n_conditions :]


def most_plausible(cells) -> Tensor:
    """Best value ``(rows, columns)`` of distributions over members and draws."""
    parts = []
    for part in cells.parts:
        probs = getattr(part, "probs", None)
        if probs is not None and probs.ndim == 5:
            parts.append(probs.mean((0, 1)).argmax(-1).to(probs.dtype))
        else:
            parts.append(part.mean.mean((0, 1)))
    return torch.cat(parts, -1)


def taken(encoded: Any, rows: np.ndarray) -> Encoded:
    """These rows of an encoded table."""
    values = encoded.values[rows]
    inputs = values if encoded.inputs is encoded.values else encoded.inputs[rows]
    mask, slope = (
        None if part is None else part[rows] for part in (encoded.mask, encoded.log_jacobian)
    )
    return Encoded(values, mask, inputs, slope)


def joined(parts: list[Encoded]) -> Encoded:
    """One table of its parts."""
    if len(parts) == 1:
        return parts[0]
    mask = None
    if any(part.mask is not None for part in parts):
        mask = np.concatenate([observed(part) for part in parts])
    slopes = [part.log_jacobian for part in parts if part.log_jacobian is not None]
    values, inputs = (np.concatenate([part[k] for part in parts]) for k in (0, 2))
    return Encoded(values, mask, inputs, np.concatenate(slopes) if slopes else None)
