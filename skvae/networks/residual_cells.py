"""What deep convolutional networks are built of: cells that add a little to what they are given.

The methods named ``member`` run one member of the stack on ``(images, channels, height, width)``:
kernels for several members at once round otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component, Shapes
from ..noise import Noise
from .mlp import ACTIVATIONS

# What a cell adds is this times what its last convolution gives, so that many cells on top of
# one another begin near the identity; NVAE's, with batch normalisation in its place.
RESIDUAL = 0.1
# Channels per unit of a squeeze, and the least number of these units.
SQUEEZE, LEAST_UNITS = 4, 4


class Convolution(Component):
    """One convolution, whose output is as large as its input, or half as large.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel_size : int
        Side of the kernel, odd.
    stride : int, default=1
        2 halves the image, rounding up.
    by_channel : bool, default=False
        Whether each channel is convolved by itself; ``n_in`` and ``n_out`` are the same then.
    gain : float, default=1.0
        What the kernel is multiplied by at first.
    """

    def __init__(self, n_in, n_out, kernel_size, stride=1, by_channel=False, gain=1.0):
        super().__init__()
        self.n_in = n_in
        self.n_out = n_out
        self.kernel_size = kernel_size
        self.stride = stride
        self.by_channel = by_channel
        self.gain = gain

    def build(self, shapes: Shapes, noise: Noise) -> Convolution:
        """Draw the kernel; the bias starts at 0."""
        n_seen = 1 if self.by_channel else self.n_in
        shape, device = (self.n_out, n_seen, self.kernel_size, self.kernel_size), noise.device
        bound = self.gain * (n_seen * self.kernel_size**2) ** -0.5

        def init(generator: torch.Generator) -> Tensor:
            return (2 * torch.rand(shape, generator=generator, device=device) - 1) * bound

        self.weight_kernel = self.weight(noise, init)
        self.bias_kernel = nn.Parameter(torch.zeros(noise.n_members, self.n_out, device=device))
        return self

    def member(self, member: int, x: Tensor) -> Tensor:
        """Convolve."""
        kernel, bias = self.weight_kernel[member], self.bias_kernel[member]
        groups = self.n_in if self.by_channel else 1
        return F.conv2d(x, kernel, bias, self.stride, self.kernel_size // 2, groups=groups)


class Squeeze(Component):
    """Channels turned up or down, by what all of them are on average: squeeze and excitation.

    Parameters
    ----------
    n_channels : int

    References
    ----------
    Hu, Shen and Sun, Squeeze-and-Excitation Networks, 2018.
    """

    def __init__(self, n_channels):
        super().__init__()
        self.n_channels = n_channels

    def build(self, shapes: Shapes, noise: Noise) -> Squeeze:
        """Draw the weights."""
        n_units = max(self.n_channels // SQUEEZE, LEAST_UNITS)
        self.squeeze = Convolution(self.n_channels, n_units, 1).build(shapes, noise)
        self.excite = Convolution(n_units, self.n_channels, 1).build(shapes, noise)
        return self

    def member(self, member: int, x: Tensor) -> Tensor:
        """Multiply each channel by a share."""
        units = self.squeeze.member(member, x.mean((2, 3), keepdim=True)).relu()
        return x * torch.sigmoid(self.excite.member(member, units))


class Cell(Component):
    """Base of the cells: the input, and a little of what ``branch`` makes of it.

    Parameters
    ----------
    n_channels : int
    kernel_size : int
    activation : str
        One of ``ACTIVATIONS``.
    """

    def __init__(self, n_channels, kernel_size, activation):
        super().__init__()
        self.n_channels = n_channels
        self.kernel_size = kernel_size
        self.activation = activation

    def build(self, shapes: Shapes, noise: Noise) -> Cell:
        """Draw the kernels."""
        for name, convolution in self.convolutions().items():
            self.add_module(name, convolution.build(shapes, noise))
        self.squeeze = Squeeze(self.n_channels).build(shapes, noise)
        return self

    def convolutions(self) -> dict[str, Convolution]:
        """The convolutions of the cell, unbuilt, by their names."""
        raise NotImplementedError

    def branch(self, member: int, x: Tensor) -> Tensor:
        """What is added to the input."""
        raise NotImplementedError

    def member(self, member: int, x: Tensor) -> Tensor:
        """Add to the input."""
        return x + RESIDUAL * self.squeeze.member(member, self.branch(member, x))

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation."""
        return ACTIVATIONS[self.activation](x)


class EncoderCell(Cell):
    """Two convolutions, each behind an activation."""

    def convolutions(self) -> dict[str, Convolution]:
        """Both of them."""
        n, size = self.n_channels, self.kernel_size
        return {"first": Convolution(n, n, size), "second": Convolution(n, n, size)}

    def branch(self, member: int, x: Tensor) -> Tensor:
        """Convolve twice."""
        x = self.first.member(member, self.activate(x))
        return self.second.member(member, self.activate(x))


class DecoderCell(Cell):
    """A convolution by channel between many channels: large kernels for few weights.

    Parameters
    ----------
    n_channels, kernel_size, activation
        As in ``Cell``.
    expansion : int
        How many times as many channels there are in between.
    """

    def __init__(self, n_channels, kernel_size, activation, expansion):
        super().__init__(n_channels, kernel_size, activation)
        self.expansion = expansion

    def convolutions(self) -> dict[str, Convolution]:
        """To many channels, by channel, and back."""
        n, wide = self.n_channels, self.expansion * self.n_channels
        return {
            "widen": Convolution(n, wide, 1),
            "spread": Convolution(wide, wide, self.kernel_size + 2, by_channel=True),
            "narrow": Convolution(wide, n, 1),
        }

    def branch(self, member: int, x: Tensor) -> Tensor:
        """Widen, convolve by channel, and narrow."""
        x = self.activate(self.widen.member(member, x))
        x = self.activate(self.spread.member(member, x))
        return self.narrow.member(member, x)
