"""What a network must offer."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from .._component import Component, Shapes
from ..noise import Noise


class Network(Component):
    """Base of the networks: an encoder and a decoder over rows."""

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create both halves: inputs -> ``n_encoded``, codes and conditions -> ``n_decoded``."""
        raise NotImplementedError

    has_linear_path = False
    # How many inputs, the last ones that are no conditions, must be seen as they are.
    n_exact = 0
    # How many columns one step of a sequence has.
    step_width = 1
    # Whether every step of a row has codes of its own, which those before have a say in.
    unrolls = False

    @property
    def top_down(self) -> Any:
        """The path from group to group of latents, or None where there is one group.

        Its ``advance(level, state, z)`` gives where it is behind a group, from None before the
        first, and ``heads(level, state)`` the numbers ``(..., 4 * size)`` that the next group is
        expected by and that the encoder's are changed by.
        """
        return None

    def group_sizes(self, shapes: Shapes, n_groups: int) -> tuple[int, ...]:
        """How the latents are shared out among groups, the first of which is drawn first."""
        raise ValueError(
            f"{self!r} has no path from one group of latents to the next, and the posterior has "
            f"{n_groups} of them. Use network='mlp' or ResidualConvolutional, or "
            "posterior='normal'."
        )

    def read(self, state, conditions: Tensor | None) -> Tensor | None:
        """What ``decode`` gives, from behind the last group; None where ``decode`` is to do it."""
        return None

    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Begin training at linear maps: ``(members, n_inputs, n_encoded)`` and so on."""

    def start_offset(self, offset: Tensor) -> None:
        """Begin training with the decoder's output at ``offset (members, n_decoded)``."""

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """The weights that the locations of codes depend on, and which of their columns."""
        return []

    def by_hand(self, gradient_of):
        """Encoder and decoder that are differentiated by hand, or None if there are none."""
        return None

    def reading(self, units) -> Any:
        """What encodes cells from which ``units`` would make inputs; None if there is no such."""
        return None

    def encode(self, inputs: Tensor) -> Tensor:
        """Map ``(members, draws, rows, n_inputs)`` to the parameters of the posterior."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """Map codes, and conditions behind them, to the parameters of the likelihood."""
        raise NotImplementedError


def check_widths(network: Network, name: str, least: int = 0) -> None:
    """Raise unless a parameter of a network holds positive integers, ``least`` or more."""
    widths = getattr(network, name)
    whole = all(isinstance(width, (int, np.integer)) and width > 0 for width in widths)
    if not whole or len(widths) < least:
        number = f", at least {least}" if least else ""
        raise ValueError(
            f"The {name!r} parameter of {type(network).__name__} must hold positive integers"
            f"{number}. Got {widths!r} instead."
        )
