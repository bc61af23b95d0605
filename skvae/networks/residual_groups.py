"""Encoder and decoder of groups of latents that lie on maps, from the coarsest to the finest."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .._component import Component, Shapes
from ..noise import Noise
from .levels import CellDecoder
from .mlp import ACTIVATIONS
from .residual_cells import Convolution, DecoderCell, EncoderCell

# Groups begin near N(0, 1), whatever those before them are.
GAIN = 0.1


class Plan(NamedTuple):
    """Which maps there are and which of them the groups of latents lie on.

    Parameters
    ----------
    image_size : (int, int)
        Height and width.
    channels : tuple of int
        Of each map, each half as large as the one before, from half the image on.
    scales : tuple of int
        Which map each group lies on, the coarsest first.
    depths : tuple of int
        Latents per place of that map, of each group.
    """

    image_size: tuple[int, int]
    channels: tuple[int, ...]
    scales: tuple[int, ...]
    depths: tuple[int, ...] = ()

    @classmethod
    def of(cls, image_size, channels, n_scales: int, n_groups: int) -> Plan:
        """Share groups out among the coarsest ``n_scales`` maps, these first if any are over."""
        least, more = divmod(n_groups, n_scales)
        coarsest = len(channels) - 1
        counts = [least + (i < more) for i in range(n_scales)]
        scales = [coarsest - i for i, count in enumerate(counts) for _ in range(count)]
        return cls(tuple(image_size), tuple(channels), tuple(scales))

    def size(self, scale: int) -> tuple[int, int]:
        """Height and width of a map; those of the image for -1."""
        height, width = (-(-side // 2 ** (scale + 1)) for side in self.image_size)
        return height, width

    @property
    def places(self) -> list[int]:
        """Places of the map that each group lies on."""
        return [math.prod(self.size(scale)) for scale in self.scales]

    def with_latents(self, sizes: tuple[int, ...]) -> Plan:
        """The plan for groups of these widths."""
        depths = tuple(size // places for size, places in zip(sizes, self.places))
        return self._replace(depths=depths)

    def groups_on(self, scale: int) -> list[int]:
        """Numbers of the groups that lie on a map."""
        return [group for group, at in enumerate(self.scales) if at == scale]


class ResidualEncoder(Component):
    """From images to what each says of every group, from the finest map up to the coarsest.

    Parameters
    ----------
    plan : Plan
    n_shown : int
        Channels of the images.
    n_cells : int
        Cells before each group, and on each map without one.
    kernel_size : int
    activation : str
    """

    def __init__(self, plan, n_shown, n_cells, kernel_size, activation):
        super().__init__()
        self.plan = plan
        self.n_shown = n_shown
        self.n_cells = n_cells
        self.kernel_size = kernel_size
        self.activation = activation

    def build(self, shapes: Shapes, noise: Noise) -> ResidualEncoder:
        """Draw the kernels."""
        plan, size, before = self.plan, self.kernel_size, self.n_shown
        for scale, n in enumerate(plan.channels):
            parts: dict[str, Any] = {f"down_{scale}": Convolution(before, n, size, 2)}
            for group in plan.groups_on(scale) or [None]:
                stem = f"{scale}" if group is None else f"{scale}_{group}"
                cells = (EncoderCell(n, size, self.activation) for _ in range(self.n_cells))
                parts |= {f"cell_{stem}_{i}": cell for i, cell in enumerate(cells)}
                if group is not None:
                    parts[f"say_{group}"] = Convolution(n, 2 * plan.depths[group], size)
            for name, part in parts.items():
                self.add_module(name, part.build(shapes, noise))
            before = n
        if shapes.n_conditions:
            self.given = Convolution(shapes.n_conditions, plan.channels[0], 1).build(shapes, noise)
        return self

    def forward(self, images: Tensor, inputs: Tensor, conditions: Tensor) -> Tensor:
        """Map ``(members, draws, rows, channels, height, width)``: locations, then raw scales."""
        pairs = zip(images.flatten(1, 2), conditions.flatten(1, 2))
        flat = torch.stack([self._member(m, *pair) for m, pair in enumerate(pairs)])
        return flat.view(*images.shape[:3], -1)

    def _member(self, member: int, x: Tensor, conditions: Tensor) -> Tensor:
        said: dict[int, Tensor] = {}
        for scale in range(len(self.plan.channels)):
            x = getattr(self, f"down_{scale}").member(member, x)
            if not scale and "given" in self._modules:
                x = x + self.given.member(member, conditions[..., None, None])
            # Groups of one map from the last to the first: the first is told the most about.
            for group in self.plan.groups_on(scale)[::-1] or [None]:
                stem = f"{scale}" if group is None else f"{scale}_{group}"
                for i in range(self.n_cells):
                    x = getattr(self, f"cell_{stem}_{i}").member(member, x)
                if group is not None:
                    shown = ACTIVATIONS[self.activation](x)
                    said[group] = getattr(self, f"say_{group}").member(member, shown)
        halves = [said[group].flatten(1).chunk(2, -1) for group in sorted(said)]
        return torch.cat([half for halves_of in zip(*halves) for half in halves_of], -1)


class ResidualDecoder(CellDecoder):
    """From group to group, each on its map, and from the last of them to the image.

    Parameters
    ----------
    plan : Plan
    n_read : int
        Channels of the image.
    n_cells : int
        Cells behind each group, and on each map without one.
    kernel_size, activation, expansion
        Of the cells.
    unfolding : Unfolding
        Which pixel is which column.
    """

    def __init__(self, plan, n_read, n_cells, kernel_size, activation, expansion, unfolding):
        super().__init__()
        self.plan = plan
        self.n_read = n_read
        self.n_cells = n_cells
        self.kernel_size = kernel_size
        self.activation = activation
        self.expansion = expansion
        self.unfolding = unfolding

    def build(self, shapes: Shapes, noise: Noise) -> ResidualDecoder:
        """Draw the kernels; the levels of the cells start at 0."""
        plan, size = self.plan, self.kernel_size
        parts: dict[str, Any] = {}
        for group, (scale, depth) in enumerate(zip(plan.scales, plan.depths)):
            n = plan.channels[scale]
            parts[f"join_{group}"] = Convolution(depth, n, 1)
            parts |= {f"cell_{group}_{i}": self._cell(n) for i in range(self.n_cells)}
            if group:
                parts[f"heads_{group}"] = Convolution(n, 4 * depth, size, gain=GAIN)
        for scale in range(len(plan.channels) - 1, 0, -1):
            n, finer = plan.channels[scale], plan.channels[scale - 1]
            parts[f"up_{scale}"] = Convolution(n, finer, size)
            if not plan.groups_on(scale - 1):
                for i in range(self.n_cells):
                    parts[f"tail_{scale - 1}_{i}"] = self._cell(finer)
        if shapes.n_conditions:
            parts["given"] = Convolution(shapes.n_conditions, plan.channels[plan.scales[-1]], 1)
        # Four numbers per place of the finest map are those of four pixels.
        parts["image"] = Convolution(plan.channels[0], 4 * self.n_read, size)
        for name, part in parts.items():
            self.add_module(name, part.build(shapes, noise))
        shape = plan.channels[plan.scales[0]], *plan.size(plan.scales[0])

        def init(generator: torch.Generator) -> Tensor:
            return 0.1 * torch.randn(shape, generator=generator, device=noise.device)

        self.beginning = self.weight(noise, init)
        super().build(shapes, noise)
        return self

    def advance(self, level: int, state: Tensor | None, z: Tensor) -> Tensor:
        """Add a group to the map that it lies on, and go to that of the next one.

        A state is ``(members, draws, rows, channels, height, width)``.
        """
        members, draws, rows, _ = z.shape
        at = self.plan.scales[level]
        maps = z.reshape(members, draws * rows, self.plan.depths[level], *self.plan.size(at))
        before = [None] * members if state is None else state.flatten(1, 2)
        found = [self._advance(m, level, *pair) for m, pair in enumerate(zip(before, maps))]
        return torch.stack(found).unflatten(1, (draws, rows))

    def _advance(self, member: int, level: int, x: Tensor | None, z: Tensor) -> Tensor:
        x = (self.beginning[member] if x is None else x) + self._of("join", level).member(
            member, z
        )
        for i in range(self.n_cells):
            x = self._of("cell", level, i).member(member, x)
        here = self.plan.scales[level]
        there = here if level + 1 == len(self.plan.scales) else self.plan.scales[level + 1]
        return self._climb(member, x, here, there)

    def heads(self, level: int, state: Tensor) -> Tensor:
        """What is expected of a group, and how what the encoder says of it is to change."""
        of_member = self._of("heads", level).member
        flat = [of_member(m, self._activate(x)) for m, x in enumerate(state.flatten(1, 2))]
        return torch.stack(flat).flatten(2).unflatten(1, state.shape[1:3])

    def read(self, state: Tensor, conditions: Tensor | None) -> Tensor:
        """Parameters of cells, from behind the last group."""
        flat = state.flatten(1, 2)
        images = torch.stack([self._read(m, x, conditions, state) for m, x in enumerate(flat)])
        cells = images.movedim(2, -1).flatten(2)
        cells = cells.unflatten(-1, (self.unfolding.n_cells, self.unfolding.n_read))
        return self.unfolding.fold(cells).unflatten(1, state.shape[1:3]) + self.bias_cells

    def _read(self, member: int, x: Tensor, conditions: Tensor | None, state: Tensor) -> Tensor:
        if "given" in self._modules and conditions is not None:
            known = conditions.expand(*state.shape[:3], -1)[member].flatten(0, 1)
            x = x + self.given.member(member, known[..., None, None])
        x = self._climb(member, x, self.plan.scales[-1], 0)
        height, width = self.plan.image_size
        image = F.pixel_shuffle(self.image.member(member, self._activate(x)), 2)
        return image[..., :height, :width]

    def forward(self, z: Tensor) -> Tensor:
        """Map codes, and conditions behind them, to the parameters of cells."""
        sizes = [d * n for d, n in zip(self.plan.depths, self.plan.places)]
        *groups, conditions = z.split([*sizes, z.shape[-1] - sum(sizes)], -1)
        state: Any = None
        for level, group in enumerate(groups):
            state = self.advance(level, state, group)
        return self.read(state, conditions)

    def _climb(self, member: int, x: Tensor, here: int, there: int) -> Tensor:
        """Go from a map to a finer one."""
        for scale in range(here, there, -1):
            x = F.interpolate(x, size=self.plan.size(scale - 1), mode="nearest")
            x = self._of("up", scale).member(member, x)
            if not self.plan.groups_on(scale - 1):
                for i in range(self.n_cells):
                    x = self._of("tail", scale - 1, i).member(member, x)
        return x

    def _cell(self, n_channels: int) -> DecoderCell:
        return DecoderCell(n_channels, self.kernel_size, self.activation, self.expansion)

    def _activate(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](x)

    def _of(self, *name) -> Any:
        return getattr(self, "_".join(map(str, name)))
