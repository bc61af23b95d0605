"""What a network must offer."""

from __future__ import annotations

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

    def encode(self, inputs: Tensor) -> Tensor:
        """Map ``(members, draws, rows, n_inputs)`` to the parameters of the posterior."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """Map codes, and conditions behind them, to the parameters of the likelihood."""
        raise NotImplementedError
