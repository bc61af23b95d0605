"""Convolutional networks for rows that are images."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .._component import Component, Shapes
from ..noise import Noise
from ._base import check_widths
from .convolutions import Convolutions, TransposedConvolutions
from .images import ImageNetwork
from .levels import CellDecoder
from .mlp import ACTIVATIONS, Perceptron


class ImageEncoder(Component):
    """Convolutions, then layers, from images to the parameters of the posterior.

    Parameters
    ----------
    convolutions : Convolutions
    layers : Perceptron
        From feature maps and conditions.
    linear : Perceptron or None
        From the row as it is, beside the others.
    """

    def __init__(self, convolutions, layers, linear):
        super().__init__()
        self.convolutions = convolutions
        self.layers = layers
        self.linear = linear

    def forward(self, images: Tensor, inputs: Tensor, conditions: Tensor) -> Tensor:
        """Map ``(members, draws, rows, channels, height, width)``, the same rows flat beside."""
        maps = self.convolutions(images.flatten(1, 2)).view(*images.shape[:3], -1)
        out = self.layers(torch.cat([maps, conditions], -1))
        return out if self.linear is None else out + self.linear(inputs)


class ImageDecoder(CellDecoder):
    """Layers, then transposed convolutions, from codes to images.

    Parameters
    ----------
    layers : Perceptron
        To feature maps.
    convolutions : TransposedConvolutions
    unfolding : Unfolding
        Which pixel is which column.
    linear : Perceptron or None
        To the cells, beside the others.
    """

    def __init__(self, layers, convolutions, unfolding, linear):
        super().__init__()
        self.layers = layers
        self.convolutions = convolutions
        self.unfolding = unfolding
        self.linear = linear

    def forward(self, z: Tensor) -> Tensor:
        """Map codes ``(members, draws, rows, n_codes)`` to the parameters of cells."""
        height, width = self.convolutions.sizes[-1]
        maps = self.layers(z).flatten(1, 2).unflatten(-1, (-1, height, width))
        images = self.convolutions(maps).movedim(2, -1).flatten(2)
        cells = images.unflatten(-1, (self.unfolding.n_cells, self.unfolding.n_read))
        out = self.unfolding.fold(cells).view(*z.shape[:3], -1) + self.bias_cells
        return out if self.linear is None else out + self.linear(z)


class Convolutional(ImageNetwork):
    """Convolutions for rows that are images, pixel after pixel.

    Every convolution of the encoder halves the image; the decoder is the mirror image of the
    encoder, with transposed convolutions and one level per pixel of its own.  Pixels that never
    change are not modelled but keep their place.  Each category of a pixel is a channel.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels) or None, default=None
        How the columns of ``X`` that are no conditions are laid out, the last axis running
        fastest, as ``images.reshape(len(images), -1)`` has them.  ``(1, n)`` are sequences.
        None stands for a square of one channel.
    channels : tuple of int, default=(32, 64)
        Feature maps behind each convolution.
    hidden_layer_sizes : tuple of int, default=()
        Widths of layers between the last feature maps and the posterior; the decoder has them
        in reverse.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity.
    kernel_size : int, default=3
        Side of the kernels, an odd number of pixels.
    linear_skip : bool, default=False
        Whether a linear map runs beside encoder and decoder, at which training starts.

    Raises
    ------
    ValueError
        If the table has another number of columns than the image has pixels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import VAETransformer
    >>> from skvae.networks import Convolutional
    >>> X, _ = load_digits(return_X_y=True)
    >>> network = Convolutional(image_shape=(8, 8), channels=(8, 16))
    >>> vae = VAETransformer(4, network=network, max_iter=2, random_state=0).fit(X[:200])
    >>> vae.sample(2).shape
    (2, 64)

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition,
    1998; Radford, Metz and Chintala, Unsupervised Representation Learning with Deep
    Convolutional Generative Adversarial Networks, 2016.
    """

    _parameter_constraints = {
        "image_shape": ["array-like", None],
        "channels": ["array-like"],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "linear_skip": ["boolean"],
    }

    def __init__(
        self,
        image_shape=None,
        channels=(32, 64),
        hidden_layer_sizes=(),
        activation="silu",
        kernel_size=3,
        linear_skip=False,
    ):
        super().__init__()
        self.image_shape = image_shape
        self.channels = channels
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.kernel_size = kernel_size
        self.linear_skip = linear_skip

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        self._check_layers()
        unfolding = self.lay_out(shapes, n_decoded, noise)
        hidden, channels = tuple(self.hidden_layer_sizes), tuple(self.channels)
        sizes = self.shown[:2], self.kernel_size, self.activation
        down = Convolutions((self.shown[-1], *channels), *sizes)
        up = TransposedConvolutions((self.read_depth, *channels), *sizes)
        n_maps = math.prod(down.sizes[-1]) * channels[-1]
        n_codes = shapes.n_components + shapes.n_conditions

        def layers(n_in, n_out, hidden):
            return Perceptron(n_in, n_out, hidden, self.activation, False).build(shapes, noise)

        def linear(n_in, n_out):
            return layers(n_in, n_out, ()) if self.linear_skip else None

        self.encoder = ImageEncoder(
            down.build(shapes, noise),
            layers(n_maps + shapes.n_conditions, n_encoded, hidden),
            linear(shapes.n_inputs, n_encoded),
        )
        self.decoder = ImageDecoder(
            layers(n_codes, n_maps, hidden[::-1]),
            up.build(shapes, noise),
            unfolding,
            linear(n_codes, n_decoded),
        )
        self.decoder.build(shapes, noise)

    @property
    def has_linear_path(self) -> bool:  # type: ignore[override]
        """Whether both halves can be set to linear maps."""
        return self.linear_skip

    @torch.no_grad()
    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Become a linear encoder and decoder."""
        self.encoder.layers.start_constant(encoder_offset)
        self.encoder.linear.start(encoder)
        self.decoder.convolutions.start_constant()
        self.decoder.linear.start(decoder)

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """Those of the encoder, but for what the scales of its last layers are made of."""
        ends = [part for part in (self.encoder.layers, self.encoder.linear) if part is not None]
        last = [pair for part in ends for pair in part.locating(n_components)]
        return [(p, slice(None)) for p in self.encoder.convolutions.parameters()] + last

    def _check_layers(self) -> None:
        check_widths(self, "channels", 1)
        check_widths(self, "hidden_layer_sizes")
        self._check_kernel()
