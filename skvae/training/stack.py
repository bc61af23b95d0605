"""Models of equal shape joined into one stack, trained as one, and parted again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._component import Component
from ..noise import Noise
from .history import History
from .loop import train
from .rows import Rows
from .settings import StackSettings


def train_stack(vaes: Sequence, objectives: Sequence, jobs: Sequence) -> list[History]:
    """Train several models as one stack and leave each at its best weights.

    Parameters
    ----------
    vaes : sequence of VAE
        Built; equal ``signature``.
    objectives : sequence of Objective
        One per model.
    jobs : sequence
        One per model, with ``rows``, ``train_index``, ``validation_index``, ``noise`` and
        ``settings``.

    Returns
    -------
    list of History
        One per model; a model that diverged has an entry in ``errors``.
    """
    if len(jobs) == 1:
        whole = vaes[0]
    else:
        whole = _joined(vaes)
    counts = [job.noise.n_members for job in jobs]
    owner = np.repeat(np.arange(len(jobs)), counts).tolist()
    settings = StackSettings([jobs[i].settings for i in owner])
    objective = objectives[0].joined([objectives[i] for i in owner], settings.max_iter)
    rows, train_index, validation_index = _common_rows(jobs)
    noise = Noise.joined([job.noise for job in jobs])
    history = train(
        whole, objective, rows, train_index, validation_index, noise, settings, isolate=True
    )
    members = np.split(np.arange(len(owner)), np.cumsum(counts)[:-1])
    if len(jobs) > 1:
        for vae, chosen in zip(vaes, members):
            _take_weights(vae, whole, torch.as_tensor(chosen))
            vae.eval()
    return [history.select(chosen) for chosen in members]


def signature(vae, objective, job) -> tuple:
    """What models must have in common to be one stack."""
    rows, settings = job.rows, job.settings
    return (
        _structure(vae),
        objective.stack_key(settings.max_iter),
        job.train_index.shape[1],
        None if job.validation_index is None else job.validation_index.shape[1],
        rows.mask is None,
        rows.weights is None,
        rows.inputs is rows.values,
        rows.inputs.shape[1],
        settings.batch_size,
        settings.n_threads,
        settings.precision,
        settings.clip_norm is None,
        str(rows.values.device),
        rows.stack_key,
    )


def n_bytes(vae, job) -> int:
    """Memory that a model adds to a stack: weights, their company, and a step's activations."""
    weights = sum(p.numel() * p.element_size() for p in vae.parameters())
    widths = sum(p.shape[-1] for p in vae.parameters() if p.ndim == 3) * job.noise.n_members
    # Value, gradient, two moments, best and a copy; before, after, gate and gradient.
    return 6 * weights + 4 * 4 * widths * job.settings.batch_size


def _common_rows(jobs: Sequence) -> tuple[Rows, Tensor, Tensor | None]:
    """One table of all distinct ones, and each member's rows in it."""
    distinct = list({id(job.rows): job.rows for job in jobs}.values())
    starts = np.cumsum([0, *(len(rows.values) for rows in distinct)])
    start_of = {id(rows): int(start) for rows, start in zip(distinct, starts)}
    offsets = [start_of[id(job.rows)] for job in jobs]
    train_index = torch.cat([job.train_index + start for job, start in zip(jobs, offsets)])
    validation_index = None
    if jobs[0].validation_index is not None:
        parts = [job.validation_index + start for job, start in zip(jobs, offsets)]
        validation_index = torch.cat(parts)
    rows = distinct[0] if len(distinct) == 1 else _JoinedRows.of(distinct, starts[:-1])
    return rows, train_index, validation_index


class _JoinedRows(Rows):
    """Tables of equal width one below the other, each in its own units."""

    tables: list[Rows]
    starts: np.ndarray

    @classmethod
    def of(cls, tables: list[Rows], starts: np.ndarray) -> _JoinedRows:
        """Join the tables."""
        first = tables[0]
        values = torch.cat([rows.values for rows in tables])
        same = first.inputs is first.values
        inputs = values if same else torch.cat([rows.inputs for rows in tables])
        mask: Any = None if first.mask is None else torch.cat([t.mask for t in tables])  # type: ignore[misc]
        weights: Any = None
        if first.weights is not None:
            weights = torch.cat([t.weights for t in tables])  # type: ignore[misc]
        joined = cls(inputs, values, mask, weights)
        joined.tables, joined.starts = tables, starts
        return joined

    def mean_log_unit(self, index: Tensor) -> np.ndarray:
        """By the units of the table that a member's rows come from."""
        first = index[:, 0].cpu().numpy()
        places = np.searchsorted(self.starts, first, side="right") - 1
        return np.concatenate(
            [
                self.tables[place].mean_log_unit(index[i : i + 1] - int(self.starts[place]))
                for i, place in enumerate(places)
            ]
        )


def _structure(component: Component) -> str:
    """Classes, hyper-parameters, shapes and plain attributes of a component and its parts."""
    found = []
    for module in component.modules():
        plain = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and name not in ("training", "n_members")
        }
        tensors = {**module._parameters, **module._buffers}
        shapes = {name: tuple(t.shape[1:]) for name, t in tensors.items() if t is not None}
        found.append((type(module).__qualname__, sorted(plain.items()), shapes))
    return repr(found)


@torch.no_grad()
def _joined(vaes: Sequence):
    """One model whose members are those of all."""
    whole = copy.deepcopy(vaes[0])
    for target, *parts in zip(whole.modules(), *(vae.modules() for vae in vaes)):
        for name, parameter in target._parameters.items():
            if parameter is not None:
                joined = torch.cat([part._parameters[name].detach() for part in parts])
                kept = torch.nn.Parameter(joined, parameter.requires_grad)
                target._parameters[name] = kept
        for name, buffer in target._buffers.items():
            if buffer is not None:
                target._buffers[name] = torch.cat([part._buffers[name] for part in parts])
    whole.n_members = sum(vae.n_members for vae in vaes)
    return whole


@torch.no_grad()
def _take_weights(vae, whole, members: Tensor) -> None:
    for mine, theirs in zip(vae.parameters(), whole.parameters()):
        mine.copy_(theirs[members.to(theirs.device)])
