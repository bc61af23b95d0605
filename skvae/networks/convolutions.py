"""Stacks of convolutions, each of them for all members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component, Shapes
from ..noise import Noise
from .mlp import ACTIVATIONS

STRIDE = 2


class Convolutions(Component):
    """Convolutions that halve an image, one after the other, each with an activation.

    A member is convolved by itself: a grouped convolution takes other kernels than that of one
    member, which round otherwise, and is no faster.

    Parameters
    ----------
    channels : tuple of int
        Those of the image, and behind each convolution.
    image_size : (int, int)
        Height and width of the image.
    kernel_size : int
        Side of the kernels, odd.
    activation : str
        One of ``ACTIVATIONS``.
    """

    def __init__(self, channels, image_size, kernel_size, activation):
        super().__init__()
        self.channels = channels
        self.image_size = image_size
        self.kernel_size = kernel_size
        self.activation = activation

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths, from that of the image to the smallest."""
        sizes = [tuple(self.image_size)]
        for _ in self.channels[1:]:
            sizes.append(tuple(-(-side // STRIDE) for side in sizes[-1]))
        return sizes

    def build(self, shapes: Shapes, noise: Noise) -> Convolutions:
        """Draw the kernels; biases start at 0."""
        for i, (n_in, n_out) in enumerate(self._widths()):
            kernel = self._kernel(noise, n_in, n_out)
            self.register_parameter(f"weight_{i}", kernel)
            zeros = torch.zeros(noise.n_members, n_out, device=noise.device)
            self.register_parameter(f"bias_{i}", nn.Parameter(zeros))
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(members, images, channels, height, width)``."""
        return torch.stack([self._member(m, own) for m, own in enumerate(images)])

    def _member(self, member: int, x: Tensor) -> Tensor:
        for i in range(len(self.channels) - 1):
            x = self._step(i, x, *self._of(member, i))
        return x

    @torch.no_grad()
    def start_constant(self) -> None:
        """Become a map to 0."""
        getattr(self, f"weight_{len(self.channels) - 2}").zero_()

    def _of(self, member: int, i: int) -> tuple[Tensor, Tensor]:
        return getattr(self, f"weight_{i}")[member], getattr(self, f"bias_{i}")[member]

    def _step(self, i: int, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return self._activate(F.conv2d(x, kernel, bias, STRIDE, self.kernel_size // 2))

    def _activate(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](x)

    def _widths(self) -> Sequence[tuple[int, int]]:
        return list(zip(self.channels, self.channels[1:]))

    def _kernel(self, noise: Noise, n_in: int, n_out: int) -> nn.Parameter:
        shape, device = (n_out, n_in, self.kernel_size, self.kernel_size), noise.device
        bound = (n_in * self.kernel_size**2) ** -0.5

        def init(generator: torch.Generator) -> Tensor:
            return (2 * torch.rand(shape, generator=generator, device=device) - 1) * bound

        return self.weight(noise, init)


class TransposedConvolutions(Convolutions):
    """Their mirror image: each doubles an image, behind an activation."""

    def _step(self, i: int, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        # Sizes that were odd were rounded up: which of the two it was is told here.
        size, padding = self.sizes[::-1][i + 1], self.kernel_size // 2
        least = [(n - 1) * STRIDE - 2 * padding + self.kernel_size for n in x.shape[-2:]]
        extra = [side - n for side, n in zip(size, least)]
        return F.conv_transpose2d(self._activate(x), kernel, bias, STRIDE, padding, extra)

    def _widths(self) -> Sequence[tuple[int, int]]:
        mirrored = self.channels[::-1]
        return list(zip(mirrored, mirrored[1:]))

    def _kernel(self, noise: Noise, n_in: int, n_out: int) -> nn.Parameter:
        # A pixel is met by a quarter of the kernel; the first axis is that of the input.
        return super()._kernel(noise, n_out, n_in)
