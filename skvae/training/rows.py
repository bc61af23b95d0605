"""A table that stays on the device while it is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._pass import Batch

# So many numbers are gathered at once where a whole table is passed over.
PART_NUMBERS = 1 << 20


@dataclass
class Rows:
    """Resident rows; ``take`` gathers one batch per member.

    Parameters
    ----------
    inputs : Tensor (n, n_inputs)
    values : Tensor (n, columns)
    mask : Tensor (n, columns) or None
    weights : Tensor (n,) or None
    log_unit : Tensor (columns,) or None
        Logarithm of the unit of each column of values, in original units; None where it is 1.
    log_jacobian : ndarray (n, columns) or None
        What a cell adds to that; None where nothing does.
    codes : Tensor (members, n, n_components) or None
        Where the codes of the rows lie, if a penalty knows.
    targets : Tensor (n, properties) or None
        What goes with the rows, NaN where it is unknown.
    is_lagged : bool
        Whether inputs and values are those of different rows.
    shares : Tensor (n, cells) or None
        How probable a 1 is in each cell that a view draws anew; None where none is.
    """

    inputs: Tensor
    values: Tensor
    mask: Tensor | None
    weights: Tensor | None
    log_unit: Tensor | None = None
    log_jacobian: np.ndarray | None = None
    codes: Tensor | None = None
    targets: Tensor | None = None
    is_lagged: bool = False
    shares: Tensor | None = None

    @classmethod
    def from_arrays(cls, encoded, log_unit, sample_weight: np.ndarray | None, device) -> Rows:
        """Move what the codec gave to ``device``; weights are divided by their mean."""
        values = torch.as_tensor(encoded.values, device=device)
        same = encoded.inputs is encoded.values
        inputs = values if same else torch.as_tensor(encoded.inputs, device=device)
        mask = None if encoded.mask is None else torch.as_tensor(encoded.mask, device=device)
        weights = normalised(sample_weight, device)
        unit = torch.as_tensor(np.asarray(log_unit, dtype=np.float32), device=device)
        return cls(inputs, values, mask, weights, unit, encoded.log_jacobian)

    def lagged(self, seen: np.ndarray, explained: np.ndarray) -> Rows:
        """The inputs of some rows beside the values of others, weighed by geometric means."""
        weights, jacobian = self.weights, self.log_jacobian
        if weights is not None:
            weights = (weights[seen] * weights[explained]).sqrt()
            weights = weights / weights.mean()
        return replace(
            self,
            inputs=self.inputs[seen],
            values=self.values[explained],
            mask=None if self.mask is None else self.mask[explained],
            weights=weights,
            log_jacobian=None if jacobian is None else jacobian[explained],
            targets=None if self.targets is None else self.targets[seen],
            is_lagged=True,
        )

    def mean_log_unit(self, index: Tensor) -> np.ndarray:
        """What a mean log-likelihood over rows loses in the original units, ``(members,)``."""
        if self.log_unit is None:
            return np.zeros(len(index))
        unit = self.log_unit.cpu().double()
        if self.mask is None and self.log_jacobian is None:
            return np.full(len(index), float(unit.sum()))
        seen = torch.ones(self.values.shape, dtype=unit.dtype)
        per_row = (seen if self.mask is None else self.mask.cpu().double()) @ unit
        if self.log_jacobian is not None:
            per_row = per_row + torch.as_tensor(self.log_jacobian.sum(1))
        if self.weights is not None:
            per_row = per_row * self.weights.cpu()
        return per_row[index.cpu()].mean(-1).numpy()

    def mean_log_jacobian(self) -> np.ndarray | float:
        """Mean over the observed cells of each column ``(columns,)``, or 0."""
        if self.log_jacobian is None:
            return 0.0
        seen = len(self.values) if self.mask is None else self.mask.sum(0).cpu().numpy()
        return self.log_jacobian.sum(0) / np.maximum(seen, 1)

    def take(self, index: Tensor) -> Batch:
        """Gather rows ``index (members, rows)``."""
        flat, shape = index.reshape(-1), (index.shape[0], 1, index.shape[1], -1)
        values = self.values.index_select(0, flat).view(shape)
        same = self.inputs is self.values
        inputs = values if same else self.inputs.index_select(0, flat).view(shape)
        mask = None if self.mask is None else self.mask.index_select(0, flat).view(shape)
        weights = None if self.weights is None else self.weights[index]
        beside = (
            None if known is None else known.index_select(0, flat).view(shape)
            for known in (self.targets, self.shares)
        )
        return Batch(inputs, values, mask, weights, self.codes_of(index), *beside)

    def codes_of(self, index: Tensor) -> Tensor | None:
        """The codes of rows ``index (members, rows)``, each member's own."""
        if self.codes is None:
            return None
        members = torch.arange(len(index), device=index.device)[:, None]
        return self.codes[members, index][:, None]

    def select(self, members: Tensor) -> Rows:
        """The table for these members of a stack."""
        return self if self.codes is None else replace(self, codes=self.codes[members])

    def parts(self, index: Tensor) -> Iterator[Batch]:
        """Gather rows ``index (members, rows)`` some after the others."""
        width = len(index) * (self.inputs.shape[1] + self.values.shape[1])
        for part in index.split(max(PART_NUMBERS // width, 1), 1):
            yield self.take(part)

    @property
    def stack_key(self) -> int | None:
        """What a table is known by that cannot be joined with others; None where it can."""
        return None if self.codes is None and self.shares is None else id(self)


def normalised(sample_weight: np.ndarray | None, device) -> Tensor | None:
    """Weights of the rows over their mean."""
    if sample_weight is None:
        return None
    weights = (sample_weight / sample_weight.mean()).astype(np.float32)
    return torch.as_tensor(weights, device=device)


def split(batch: Batch, sizes: list[int]) -> list[Batch]:
    """Cut a batch along its rows."""

    def cut(whole: Tensor | None, axis: int = 2) -> Sequence:
        return [None] * len(sizes) if whole is None else whole.split(sizes, axis)

    values = cut(batch.values)
    inputs = values if batch.inputs is batch.values else cut(batch.inputs)
    weights, beside = cut(batch.weights, 1), map(cut, (batch.codes, batch.targets, batch.shares))
    every = zip(inputs, values, cut(batch.mask), weights, *beside)
    return [Batch(*parts) for parts in every]
