"""Deep residual convolutional networks with latents on maps of several sizes: those of NVAE."""

from __future__ import annotations

from numbers import Integral

from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .._component import Shapes
from ..noise import Noise
from ._base import check_widths
from .images import ImageNetwork
from .mlp import ACTIVATIONS
from .residual_groups import Plan, ResidualDecoder, ResidualEncoder


class ResidualConvolutional(ImageNetwork):
    """Residual cells for rows that are images, with groups of latents on maps of several sizes.

    The encoder goes from half the image to ever smaller maps; the decoder back up, from a
    learned beginning, and takes a group of latents in at each map of the coarsest ``n_scales``:
    gist first, detail last.  A group lies on its map, with as many latents at each place, so
    that ``n_components`` must be a multiple of ``n_places(n_groups)``.  Cells have swish as
    activation, squeeze and excitation, and, in the decoder, convolutions by channel; in the
    place of batch normalisation they add a tenth of what they find.

    The defaults are for small images and a CPU; ``large`` is of the size of the published ones.
    For ``posterior=Ladder(...)`` or ``ResidualLadder(...)``; any other posterior has one group,
    on the coarsest map.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels) or None, default=None
        How the columns of ``X`` that are no conditions are laid out, the last axis running
        fastest.  None stands for a square of one channel.
    channels : tuple of int, default=(16, 32)
        Channels of each map; the first is half as large as the image, each half as large as
        the one before.
    n_scales : int, default=2
        How many of them, the coarsest ones, have groups of latents.
    n_cells : int, default=1
        Cells per group, and on each map without one.
    expansion : int, default=3
        How many times as many channels there are within a cell of the decoder.
    kernel_size : int, default=3
        Side of the kernels, an odd number of places; convolutions by channel have two more.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity.

    Raises
    ------
    ValueError
        If the table has another number of columns than the image has pixels, or the groups
        cannot share ``n_components``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvae import VAETransformer
    >>> from skvae.networks import ResidualConvolutional
    >>> from skvae.posteriors import ResidualLadder
    >>> X, _ = load_digits(return_X_y=True)
    >>> network = ResidualConvolutional((8, 8), channels=(8, 8))
    >>> network.n_places(n_groups=2)
    20
    >>> vae = VAETransformer(
    ...     20, posterior=ResidualLadder(2), network=network, max_iter=2, random_state=0
    ... )
    >>> vae.fit(X[:200]).sample(3).shape
    (3, 64)

    References
    ----------
    Vahdat and Kautz, NVAE: A Deep Hierarchical Variational Autoencoder, 2020.
    """

    _parameter_constraints = {
        "image_shape": ["array-like", None],
        "channels": ["array-like"],
        "n_scales": [Interval(Integral, 1, None, closed="left")],
        "n_cells": [Interval(Integral, 1, None, closed="left")],
        "expansion": [Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def __init__(
        self,
        image_shape=None,
        channels=(16, 32),
        n_scales=2,
        n_cells=1,
        expansion=3,
        kernel_size=3,
        activation="silu",
    ):
        super().__init__()
        self.image_shape = image_shape
        self.channels = channels
        self.n_scales = n_scales
        self.n_cells = n_cells
        self.expansion = expansion
        self.kernel_size = kernel_size
        self.activation = activation

    @classmethod
    def large(cls, image_shape) -> ResidualConvolutional:
        """The network at about the size of the published ones, for a GPU and hours.

        Parameters
        ----------
        image_shape : tuple of int
            As in the constructor.

        Returns
        -------
        network : ResidualConvolutional
            With three maps, of which two have groups, and two cells per group; the paper's
            model of MNIST has 20 groups.
        """
        return cls(image_shape, channels=(32, 64, 128), n_cells=2, expansion=6)

    def n_places(self, n_groups: int) -> int:
        """How many places the maps of so many groups have, which ``n_components`` must share.

        Parameters
        ----------
        n_groups : int

        Returns
        -------
        n_places : int
        """
        if self.image_shape is None:
            raise ValueError(f"{self!r}.n_places needs an image_shape=(height, width).")
        return sum(self._plan(self.image_shape[:2], n_groups).places)

    def group_sizes(self, shapes: Shapes, n_groups: int) -> tuple[int, ...]:
        """As many latents at each place of the map that a group lies on."""
        places = self._plan(self._image_shape(shapes)[:2], n_groups).places
        depth, rest = divmod(shapes.n_components, sum(places))
        if rest or not depth:
            raise ValueError(
                f"{self!r} lays groups of latents on maps of {places} places, so that n_components"
                f" must be a multiple of {sum(places)}. Got {shapes.n_components}."
            )
        return tuple(depth * n for n in places)

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        sizes = shapes.groups or self.group_sizes(shapes, 1)
        unfolding = self.lay_out(shapes, n_decoded, noise)
        plan = self._plan(self.shown[:2], len(sizes)).with_latents(sizes)
        if n_encoded != 2 * sum(sizes):
            raise ValueError(
                f"{self!r} says a location and a scale of each latent, and the posterior takes "
                f"{n_encoded} numbers for {sum(sizes)} latents. Use posterior='residual_ladder', "
                "'ladder' or 'normal'."
            )
        cells = self.n_cells, self.kernel_size, self.activation
        encoder = ResidualEncoder(plan, self.shown[-1], *cells)
        decoder = ResidualDecoder(plan, self.read_depth, *cells, self.expansion, unfolding)
        self.encoder, self.decoder = encoder.build(shapes, noise), decoder.build(shapes, noise)

    @property
    def top_down(self) -> ResidualDecoder:
        """The decoder, which goes from group to group."""
        return self.decoder

    def read(self, state: Tensor, conditions: Tensor | None) -> Tensor:
        """From the map of the last group to the cells."""
        return self.decoder.read(state, conditions)

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """Those of the encoder."""
        return [(parameter, slice(None)) for parameter in self.encoder.parameters()]

    def _plan(self, image_size, n_groups: int) -> Plan:
        check_widths(self, "channels", self.n_scales)
        self._check_kernel()
        return Plan.of(image_size, self.channels, self.n_scales, n_groups)
