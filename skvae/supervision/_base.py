"""What a model may learn from targets beside its table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component
from ..noise import Noise


class Supervision(Component):
    """Base of the heads, which look at targets of the rows where these are known."""

    # Whether targets are classes, which the model sums over where they are unknown.
    of_classes = False

    def learn(self, targets: np.ndarray) -> None:
        """Take note of what targets there are, before weights are created."""
        raise NotImplementedError

    def attach(self, rows: Any, targets: np.ndarray) -> Any:
        """The resident table with its targets."""
        raise NotImplementedError


class Head(Component):
    """A small perceptron for stacks of models, ``(members, ..., n_in)`` to ``(..., n_out)``.

    Parameters
    ----------
    widths : tuple of int
        Of input, hidden layers and output.
    """

    def __init__(self, widths):
        super().__init__()
        self.widths = widths

    def build(self, shapes, noise: Noise) -> Head:
        """Draw the weights; those of the output start at 0."""
        pairs = list(zip(self.widths, self.widths[1:]))
        for i, (n_in, n_out) in enumerate(pairs):
            bound = 0.0 if i == len(pairs) - 1 else n_in**-0.5

            def init(generator: torch.Generator, shape=(n_in, n_out), bound=bound) -> Tensor:
                drawn = torch.rand(shape, generator=generator, device=noise.device)
                return (2 * drawn - 1) * bound

            self.register_parameter(f"weight_{i}", self.weight(noise, init))
            zeros = torch.zeros(noise.n_members, 1, n_out, device=noise.device)
            self.register_parameter(f"bias_{i}", nn.Parameter(zeros))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        shape, own = x.shape, self._parameters
        h = x.reshape(len(x), -1, shape[-1])
        last = len(self.widths) - 2
        for i in range(last + 1):
            h = torch.baddbmm(own[f"bias_{i}"], h, own[f"weight_{i}"])  # type: ignore[arg-type]
            h = h if i == last else F.silu(h)
        return h.view(*shape[:-1], -1)
