"""What networks for rows that are images have in common."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .._component import Shapes
from ..noise import Noise
from .levels import CellNetwork
from .unfolding import Unfolding


class ImageNetwork(CellNetwork):
    """Base of the networks that see every number of a row as a pixel.

    Their ``encoder`` maps images, the same rows flat and their conditions; their ``decoder``
    has one level per cell of its own, ``bias_cells``.
    """

    image_shape: tuple[int, ...] | None

    def lay_out(self, shapes: Shapes, n_decoded: int, noise: Noise) -> Unfolding:
        """Find the pixel of each column."""
        height, width, depth = self._image_shape(shapes)
        unfolding = Unfolding(repr(self), height * width * depth)
        unfolding.lay_out(shapes, n_decoded, noise)
        self.shown = height, width, depth * unfolding.n_shown
        self.read_depth = depth * unfolding.n_read
        self.n_inputs, self.n_conditions = shapes.n_inputs, shapes.n_conditions
        return unfolding

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder."""
        cells = self.decoder.unfolding.unfold(inputs).flatten(-2).unflatten(-1, self.shown)
        images = cells.movedim(-1, -3).contiguous()
        return self.encoder(images, inputs, self.conditions_of(inputs))

    def _image_shape(self, shapes: Shapes) -> tuple[int, int, int]:
        n = shapes.n_columns
        if self.image_shape is None:
            side = math.isqrt(n)
            if side**2 != n:
                raise ValueError(
                    f"{self!r} takes rows as square images, and the table has {n} columns that "
                    "are not conditions. Pass image_shape=(height, width) or (height, width, "
                    "channels)."
                )
            return side, side, 1
        shape = tuple(self.image_shape)
        whole = all(isinstance(side, (int, np.integer)) and side > 0 for side in shape)
        if not whole or len(shape) not in (2, 3):
            raise ValueError(
                f"The 'image_shape' parameter of {type(self).__name__} must be (height, width) or "
                f"(height, width, channels) in pixels. Got {self.image_shape!r} instead."
            )
        return shape[0], shape[1], shape[2] if len(shape) == 3 else 1

    def _check_kernel(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"The 'kernel_size' parameter of {type(self).__name__} must be odd, so that a "
                f"kernel has a middle. Got {self.kernel_size!r} instead."
            )
