"""Networks for tables with columns of tokens."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component, Shapes
from ..noise import Noise
from ..recurrence import Recurrence
from ._base import Network, check_widths
from .mlp import ACTIVATIONS, Perceptron


class Tokens(Network):
    """A perceptron that also sees what a recurrent layer has read of the tokens of a row.

    The layer goes through the tokens in their order; what it has in memory, on average over the
    steps and at the last one, stands beside all inputs of the row.  The decoder is a perceptron,
    whose output :class:`skvae.likelihoods.TokenSequence` goes on from, token after token.  With
    ``network="mlp"`` the encoder sees which token stands where and no more, which is cheaper, and
    enough where strings are short.

    Parameters
    ----------
    n_units : int, default=128
        Units of the recurrent layer.
    n_embedding : int, default=32
        Numbers that a token is shown as.
    hidden_layer_sizes : tuple of int, default=(128, 64)
        Widths of the encoder's hidden layers; the decoder has them in reverse.  Empty for
        linear maps.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    linear_skip : bool or "auto", default="auto"
        Whether a linear map runs beside the layers, as in :class:`MLP`.

    Raises
    ------
    ValueError
        If the table has no column of tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> X = np.random.default_rng(0).integers(4, size=(60, 5))
    >>> tokens = {"network": "tokens", "likelihood": "token_sequence"}
    >>> vae = VAETransformer(2, **tokens, max_iter=2, random_state=0).fit(X)
    >>> vae.reconstruct(X).shape
    (60, 5)

    References
    ----------
    Bowman et al., Generating Sentences from a Continuous Space, 2016.
    """

    _parameter_constraints = {
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "n_embedding": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_units=128,
        n_embedding=32,
        hidden_layer_sizes=(128, 64),
        activation="silu",
        linear_skip="auto",
    ):
        super().__init__()
        self.n_units = n_units
        self.n_embedding = n_embedding
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        check_widths(self, "hidden_layer_sizes")
        sizes = dict(shapes.blocks).get("token", ())
        if not sizes:
            raise ValueError(
                f"{self!r} reads columns of tokens, and the table has none. Pass likelihood="
                "'token_sequence' for a table of tokens alone, name them in column_kinds={name: "
                "'token'}, or use network='mlp'."
            )
        self.n_places, self.n_tokens = len(sizes), max(sizes)
        self.first = shapes.n_inputs - shapes.n_conditions - shapes.n_exact
        hidden, skip = tuple(self.hidden_layer_sizes), self.linear_skip
        skip = shapes.n_components >= 8 if skip == "auto" else skip
        n_codes = shapes.n_components + shapes.n_conditions

        def layers(n_in, n_out, hidden, skip) -> Perceptron:
            return Perceptron(n_in, n_out, hidden, self.activation, skip).build(shapes, noise)

        self.embedding = layers(self.n_tokens, self.n_embedding, (), False)
        self.recurrence = Recurrence(self.n_embedding, self.n_units, "gru").build(shapes, noise)
        self.encoder = layers(shapes.n_inputs + 2 * self.n_units, n_encoded, hidden, skip)
        self.decoder = layers(n_codes, n_decoded, hidden[::-1], skip)

    @property
    def has_linear_path(self) -> bool:  # type: ignore[override]
        """Whether both halves can be set to linear maps."""
        return self.encoder.has_linear_path

    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Become a linear encoder, to which what has been read says nothing, and decoder."""
        self.encoder.start(F.pad(encoder, (0, 0, 0, 2 * self.n_units)))
        self.encoder.start_offset(encoder_offset)
        self.decoder.start(decoder)

    def start_offset(self, offset: Tensor) -> None:
        """Set the bias of the decoder's output."""
        self.decoder.start_offset(offset)

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """Those of the encoder, but for what the scales of its last layer are made of."""
        readers: list[Component] = [self.embedding, self.recurrence]
        whole = [(p, slice(None)) for part in readers for p in part.parameters()]
        return whole + self.encoder.locating(n_components)

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder."""
        tokens = inputs[..., self.first : self.first + self.n_places * self.n_tokens]
        steps = tokens.reshape(len(inputs), 1, -1, self.n_tokens)
        shown = self.embedding(steps).view(len(inputs), -1, self.n_places, self.n_embedding)
        states = self.recurrence(shown).view(*inputs.shape[:3], self.n_places, -1)
        read = torch.cat([states.mean(-2), states[..., -1, :]], -1)
        return self.encoder(torch.cat([inputs, read], -1))

    def decode(self, z: Tensor) -> Tensor:
        """Run the decoder."""
        return self.decoder(z)
