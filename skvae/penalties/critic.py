"""What penalties with a critic share: its network, its loss, and who trains which weights.

The critic of a penalty is trained in the same step as the model, by the same optimiser: its loss
is added to that of the model, and each of the two is cut off from the weights that the other one
trains.  So a critic follows its model in stacks, in early stopping and in files.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component, Shapes
from .._pass import Pass
from ..alignment import HIDDEN_ALIGNMENT, aligned, padded
from ..noise import Noise
from ._base import WeightedPenalty
from .pairs import memberwise

SLOPE = 0.2
# Of the weights of the output at the start: the critic begins without an opinion.
OUTPUT_SIZE = 0.1


class CriticNetwork(Component):
    """Layers from rows to log-odds.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : tuple of int
        At least one.
    """

    def __init__(self, n_inputs, hidden_layer_sizes):
        super().__init__()
        self.n_inputs = n_inputs
        self.hidden_layer_sizes = hidden_layer_sizes

    def build(self, shapes: Shapes, noise: Noise) -> CriticNetwork:
        """Draw the weights; offsets start at 0."""
        sizes = [self.n_inputs, *self.hidden_layer_sizes, 1]
        widths = [aligned(sizes[0]), *(aligned(n, HIDDEN_ALIGNMENT) for n in sizes[1:-1])]
        widths.append(aligned(1))
        ends = zip(sizes, sizes[1:], widths, widths[1:])
        for i, (n_in, n_out, padded_in, padded_out) in enumerate(ends):
            size = math.sqrt(6.0 / (n_in * (1.0 + SLOPE**2)))
            if i == self.n_hidden:
                size *= OUTPUT_SIZE

            def init(generator: torch.Generator, n_in=n_in, n_out=n_out, size=size) -> Tensor:
                drawn = torch.rand(n_in, n_out, generator=generator, device=noise.device)
                matrix = drawn.new_zeros(padded_in, padded_out)  # noqa: B023
                matrix[:n_in, :n_out] = size * (2.0 * drawn - 1.0)
                return matrix

            self.register_parameter(f"matrix_{i}", self.weight(noise, init))
            zeros = torch.zeros(noise.n_members, 1, padded_out, device=noise.device)
            self.register_parameter(f"offset_{i}", nn.Parameter(zeros))
        return self

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden_layer_sizes)

    def forward(self, x: Tensor, trained: bool) -> tuple[Tensor, Tensor]:
        """Log-odds and last hidden layer of ``x (members, rows, n_inputs)``.

        Parameters
        ----------
        x : Tensor
        trained : bool
            Whether the weights are to get a gradient.

        Returns
        -------
        log_odds : Tensor (members, rows)
        features : Tensor (members, rows, width)
        """
        h = padded(x, aligned(self.n_inputs))
        for i in range(self.n_hidden + 1):
            matrix, offset = getattr(self, f"matrix_{i}"), getattr(self, f"offset_{i}")
            if not trained:
                matrix, offset = matrix.detach(), offset.detach()
            features, h = h, torch.baddbmm(offset, h, matrix)
            if i < self.n_hidden:
                h = F.leaky_relu(h, SLOPE)
        return h[..., 0], features


def told_apart(real: Tensor, other: Tensor) -> Tensor:
    """Cross-entropy of log-odds ``(members, rows)`` of being real, ``(members,)``, nats."""
    missed = memberwise(F.softplus, -real).mean(-1)
    return missed + memberwise(F.softplus, other).mean(-1)


class CriticPenalty(WeightedPenalty):
    """Base of the penalties with a critic.

    Parameters
    ----------
    weight : float
        Nats per row for a ``term`` of 1.
    hidden_layer_sizes : tuple of int
        Widths of the critic's hidden layers.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "hidden_layer_sizes": ["array-like"],
    }
    has_critic = True

    def critic_width(self, shapes: Shapes) -> int:
        """How many numbers per row the critic looks at."""
        return shapes.n_components

    def build(self, shapes: Shapes, noise: Noise) -> CriticPenalty:
        """Create the critic."""
        hidden = tuple(self.hidden_layer_sizes)
        if not hidden or not all(isinstance(n, (int, np.integer)) and n > 0 for n in hidden):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must hold positive "
                f"integers, at least one. Got {self.hidden_layer_sizes!r} instead."
            )
        self.critic = CriticNetwork(self.critic_width(shapes), hidden).build(shapes, noise)
        return self

    def judged(self, step: Pass, noise: Noise) -> Tensor:
        """Nothing: what a critic says of one epoch does not compare with that of another."""
        return torch.zeros_like(step.mean_log_likelihood)
