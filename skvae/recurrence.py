"""Recurrent layers, each of them for all members."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ._component import Component, Shapes
from .alignment import HIDDEN_ALIGNMENT, aligned, padded
from .noise import Noise


class Cell(NamedTuple):
    """What a kind of recurrent layer consists of.

    Parameters
    ----------
    run : callable
        Torch's own loop over the steps.
    n_gates : int
        How many sums each unit has.
    n_states : int
        How many numbers each unit keeps from step to step.
    step : callable
        What is in memory after one step: from the sums of the input, those of the output
        before it, and what was in memory.
    """

    run: Callable
    n_gates: int
    n_states: int
    step: Callable


def _gru_step(of_input: Tensor, of_state: Tensor, memory: Tensor) -> Tensor:
    n = memory.shape[-1]
    gates = torch.sigmoid(of_input[..., : 2 * n] + of_state[..., : 2 * n])
    reset, kept = gates.chunk(2, -1)
    new = torch.tanh(torch.addcmul(of_input[..., 2 * n :], reset, of_state[..., 2 * n :]))
    return torch.lerp(new, memory, kept)


def _lstm_step(of_input: Tensor, of_state: Tensor, memory: Tensor) -> Tensor:
    taken, kept, new, shown = (of_input + of_state).chunk(4, -1)
    inner = torch.sigmoid(kept) * memory.chunk(2, -1)[1] + torch.sigmoid(taken) * torch.tanh(new)
    return torch.cat([torch.sigmoid(shown) * torch.tanh(inner), inner], -1)


CELLS = {
    "gru": Cell(torch.gru, 3, 1, _gru_step),
    "lstm": Cell(torch.lstm, 4, 2, _lstm_step),
}


class Recurrence(Component):
    """A layer of units that go through the steps of a sequence.

    Parameters
    ----------
    n_inputs : int
        Numbers per step.
    n_units : int
        Units of the layer.
    cell : str
        Key of ``CELLS``.
    """

    def __init__(self, n_inputs, n_units, cell):
        super().__init__()
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.cell = cell

    @property
    def n_states(self) -> int:
        """How many numbers a sequence has in memory."""
        return CELLS[self.cell].n_states * self.n_units

    def build(self, shapes: Shapes, noise: Noise) -> Recurrence:
        """Draw the weights; biases start at 0."""
        n_sums = CELLS[self.cell].n_gates * self.n_units
        self.weight_in = self._uniform(noise, n_sums, self.n_inputs)
        self.weight_state = self.weight(noise, lambda g: self._orthogonal(g, noise.device))
        self.bias_in = self.weight(noise, lambda g: torch.zeros(n_sums, device=noise.device))
        self.bias_state = self.weight(noise, lambda g: torch.zeros(n_sums, device=noise.device))
        return self

    def forward(self, steps: Tensor, first: Tensor | None = None) -> Tensor:
        """Outputs ``(members, rows, steps, n_units)`` of ``(members, rows, steps, n_inputs)``.

        ``first (members, rows, n_states)`` is what is in memory before the first step; 0 where
        it is not given.
        """
        if first is None:
            first = steps.new_zeros(*steps.shape[:2], self.n_states)
        members = enumerate(zip(steps, first))
        return torch.stack([self._member(m, x, memory) for m, (x, memory) in members])

    @property
    def n_kept(self) -> int:
        """How many numbers ``stepper`` keeps of a sequence, some of which stay 0."""
        return CELLS[self.cell].n_states * aligned(self.n_units, HIDDEN_ALIGNMENT)

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """A function for steps that depend on what came of those before.

        It gives what is in memory ``(members, rows, n_kept)`` after a step, from the inputs of
        the step ``(members, rows, n_inputs)`` and what was in memory; outputs are the first of
        these numbers, and ``kept`` makes them of others.
        """
        _, n_gates, _, step = CELLS[self.cell]
        more, n_kept = self._n_more, aligned(self.n_units, HIDDEN_ALIGNMENT)

        def by_gate(sums: Tensor, n_missing: int) -> Tensor:
            whole = F.pad(sums.unflatten(1, (n_gates, -1)), (0, n_missing, 0, more))
            return whole.flatten(1, 2).transpose(1, 2)

        n_missing = aligned(self.n_inputs) - self.n_inputs
        of_input, of_state = by_gate(self.weight_in, n_missing), by_gate(self.weight_state, more)
        biases = (by_gate(bias.unsqueeze(-1), 0) for bias in (self.bias_in, self.bias_state))
        bias_in, bias_state = biases

        def after(x: Tensor, memory: Tensor) -> Tensor:
            taken = torch.baddbmm(bias_in, padded(x, len(of_input[0])), of_input)
            known = torch.baddbmm(bias_state, memory[..., :n_kept], of_state)
            return step(taken, known, memory)

        return after

    def kept(self, memory: Tensor) -> Tensor:
        """What ``stepper`` keeps, of ``(..., n_states)``."""
        parts = memory.unflatten(-1, (-1, self.n_units))
        return F.pad(parts, (0, self._n_more)).flatten(-2)

    @property
    def _n_more(self) -> int:
        return aligned(self.n_units, HIDDEN_ALIGNMENT) - self.n_units

    def _member(self, m: int, steps: Tensor, first: Tensor) -> Tensor:
        run, _, n_states, _ = CELLS[self.cell]
        weights = self.weight_in[m], self.weight_state[m], self.bias_in[m], self.bias_state[m]
        memory = [part.contiguous()[None] for part in first.chunk(n_states, -1)]
        start = memory[0] if n_states == 1 else memory
        # With biases, one layer, no dropout, in training or not, in one direction, rows first.
        return run(steps, start, weights, True, 1, 0.0, False, False, True)[0]

    def _orthogonal(self, generator: torch.Generator, device) -> Tensor:
        # Rotations keep what is in memory, over any number of steps.
        shape = CELLS[self.cell].n_gates, self.n_units, self.n_units
        drawn = torch.randn(shape, generator=generator, device=device)
        return torch.cat([torch.linalg.qr(gate)[0] for gate in drawn])

    def _uniform(self, noise: Noise, n_sums: int, n_in: int):
        bound = self.n_units**-0.5

        def init(generator: torch.Generator) -> Tensor:
            drawn = torch.rand(n_sums, n_in, generator=generator, device=noise.device)
            return (2 * drawn - 1) * bound

        return self.weight(noise, init)
