"""An encoder that is a projection, and a decoder that is not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._component import Shapes
from ..alignment import aligned
from ..noise import Noise
from .mlp import MLP, Perceptron

SMALLEST_LENGTH = 1e-12


class UnitLinear(Perceptron):
    """Projections on directions of length 1, without an offset, and constants behind them.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of the input and of the projections.
    n_constants : int
        Numbers that are the same for all rows.
    """

    def __init__(self, n_inputs, n_outputs, n_constants):
        super().__init__(n_inputs, n_outputs, (), "identity", False)
        self.n_constants = n_constants

    def build(self, shapes: Shapes, noise: Noise) -> UnitLinear:
        """Draw the directions; constants start at 0."""
        super().build(shapes, noise)
        del self.bias_0
        if self.n_constants:
            zeros = torch.zeros(noise.n_members, 1, 1, self.n_constants, device=noise.device)
            self.constants = nn.Parameter(zeros)
        return self

    @property
    def directions(self) -> Tensor:
        """Columns of length 1, ``(members, n_inputs, n_outputs)`` and padding."""
        return self.weight_0 / self.lengths.unsqueeze(1)

    @property
    def lengths(self) -> Tensor:
        """Those of the weights, ``(members, n_outputs)`` and padding."""
        return self.weight_0.square().sum(1).clamp_min(SMALLEST_LENGTH**2).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(members, draws, rows, n_inputs)`` to all outputs of the rows."""
        members, draws, rows, _ = x.shape
        nothing = self.weight_0.new_zeros(len(self.weight_0), 1, aligned(self.n_outputs))
        out = torch.baddbmm(nothing, self.flat_rows(x), self.directions)
        out = out.view(members, draws, rows, -1)[..., : self.n_outputs]
        if not self.n_constants:
            return out
        return torch.cat([out, self.constants.expand(*out.shape[:-1], -1)], -1)

    @torch.no_grad()
    def start(self, matrix: Tensor) -> None:
        """Take the directions of a linear map, ``(members, n_inputs, outputs)``."""
        super().start(matrix[..., : self.n_outputs])

    @torch.no_grad()
    def start_offset(self, offset: Tensor) -> None:
        """Set the constants; projections have no offset."""
        if self.n_constants:
            self.constants[:, 0, 0] = offset[:, self.n_outputs :]

    def locating(self, n_outputs: int) -> list[tuple[nn.Parameter, slice]]:
        """The directions."""
        return [(self.weight_0, slice(None))]


class LinearEncoder(MLP):
    """Codes are projections of the row on directions of length 1; the decoder is a perceptron.

    Codes so mean something: each is a combination of standardised columns, whose coefficients
    are ``vae_.network.encoder.directions``.  All else that a posterior asks for is the same in
    all rows: learned, or with ``posterior="fixed_normal"`` given.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the decoder's hidden layers, in reverse.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="elu"
        Non-linearity of the hidden layers.
    linear_skip : bool or "auto", default="auto"
        Whether a linear map runs beside the decoder's layers; see ``MLP``.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.networks import LinearEncoder
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(2, network=LinearEncoder(), posterior="fixed_normal", max_iter=3)
    >>> directions = vae.fit(X).vae_.network.encoder.directions[0, :13, :2]
    >>> directions.square().sum(0).allclose(directions.new_ones(2))
    True

    References
    ----------
    Wang, Ribeiro and Tiwary, Past-future information bottleneck for sampling molecular reaction
    coordinate simultaneously with thermodynamics and kinetics, 2019.
    """

    def __init__(self, hidden_layer_sizes=(128, 128), activation="elu", linear_skip="auto"):
        super().__init__(hidden_layer_sizes, activation, linear_skip)

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        super().connect(shapes, n_encoded, n_decoded, noise)
        n_projections = min(shapes.n_components, n_encoded)
        encoder = UnitLinear(shapes.n_inputs, n_projections, n_encoded - n_projections)
        self.encoder = encoder.build(shapes, noise)

    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Begin with the directions of a linear model, and with its decoder if that can be."""
        self.encoder.start(encoder)
        self.encoder.start_offset(encoder_offset)
        if self.decoder.has_linear_path:
            n = self.encoder.n_outputs
            scaled = self.encoder.lengths[:, :n].unsqueeze(-1) * decoder[:, :n]
            self.decoder.start(torch.cat([scaled, decoder[:, n:]], 1))

    def by_hand(self, gradient_of: Callable[[nn.Parameter], Tensor]) -> None:  # type: ignore[override]
        """Left to automatic differentiation."""
        return None
