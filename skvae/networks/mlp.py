"""Multi-layer perceptrons for stacks of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Component, Shapes
from ..alignment import HIDDEN_ALIGNMENT, aligned, padded
from ..arrays import twin
from ..noise import Noise
from ..products import affine
from ._base import Network, check_widths
from .by_hand import ByHand, Layers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}


def _tanh_in_place(x: Tensor) -> Tensor:
    # NumPy's is several times faster.
    if x.device.type != "cpu":
        return x.tanh_()
    np.tanh(twin(x), out=twin(x))
    return x


# The same values in the place of the input: without a graph nothing else needs it, and a new
# buffer per layer costs as much as the arithmetic.
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: F.silu(x, inplace=True),
    "relu": lambda x: x.relu_(),
    "gelu": F.gelu,
    "elu": lambda x: F.elu(x, inplace=True),
    "tanh": _tanh_in_place,
    "identity": lambda x: x,
}


class Perceptron(Component):
    """Layers from ``n_inputs`` to ``n_outputs``, with an optional linear path around them.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of the input and the output.
    hidden_layer_sizes : tuple of int
        Widths in between; empty for a linear map.
    activation : str
        One of ``ACTIVATIONS``.
    linear_skip : bool
        Whether to add a linear map of the input to the output.
    """

    def __init__(self, n_inputs, n_outputs, hidden_layer_sizes, activation, linear_skip):
        super().__init__()
        self.n_inputs = n_inputs
        self.n_outputs = n_outputs
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip

    def build(self, shapes: Shapes, noise: Noise) -> Perceptron:
        """Draw the weights; biases start at 0."""
        hidden = [(n, aligned(n, HIDDEN_ALIGNMENT)) for n in self.hidden_layer_sizes]
        ends = [(n, aligned(n)) for n in (self.n_inputs, self.n_outputs)]
        widths = [ends[0], *hidden, ends[1]]
        for i, (before, after) in enumerate(zip(widths, widths[1:])):
            self.register_parameter(f"weight_{i}", self._uniform(noise, before, after))
            zeros = torch.zeros(noise.n_members, 1, after[1], device=noise.device)
            self.register_parameter(f"bias_{i}", nn.Parameter(zeros))
        if self.linear_skip and self.hidden_layer_sizes:
            self.weight_skip = self._uniform(noise, *ends)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(members, draws, rows, n_inputs)`` to ``(members, draws, rows, n_outputs)``."""
        members, draws, rows, _ = x.shape
        out = self.run(self.flat_rows(x), self._parameters)
        return out.view(members, draws, rows, -1)[..., : self.n_outputs]

    def run(self, x: Tensor, own: dict[str, Any]) -> Tensor:
        """Map padded rows ``(members, rows, inputs)`` by weights of the names of one's own."""
        activate = ACTIVATIONS[self.activation] if torch.is_grad_enabled() else self.in_place
        learns = self.training or torch.is_grad_enabled()
        layer: Callable = torch.baddbmm if learns else affine
        h = x
        for i in range(self.output_layer):
            h = activate(layer(own[f"bias_{i}"], h, own[f"weight_{i}"]))
        last = self.output_layer
        out = layer(own[f"bias_{last}"], h, own[f"weight_{last}"])
        if "weight_skip" in own:
            out = layer(out, x, own["weight_skip"])
        return out

    @property
    def in_place(self) -> Callable[[Tensor], Tensor]:
        """The activation where nothing is differentiated; it may overwrite its input."""
        return IN_PLACE[self.activation]

    def flat_rows(self, x: Tensor) -> Tensor:
        """``(members, draws * rows, inputs)``, padded to an aligned width."""
        flat = x.squeeze(1) if x.shape[1] == 1 else x.flatten(1, 2)
        return padded(flat, aligned(self.n_inputs))

    def layers(self, gradient_of: Callable[[nn.Parameter], Tensor]) -> Layers:
        """The layers to be differentiated by hand, into ``gradient_of`` each parameter."""
        places = range(self.output_layer + 1)
        return Layers(
            [getattr(self, f"weight_{i}") for i in places],
            [getattr(self, f"bias_{i}") for i in places],
            self._parameters.get("weight_skip"),
            self.activation,
            gradient_of,
        )

    @property
    def output_layer(self) -> int:
        """Index of the last layer."""
        return len(self.hidden_layer_sizes)

    @property
    def has_linear_path(self) -> bool:
        """Whether the map can be set to a linear one."""
        return not self.hidden_layer_sizes or self.linear_skip

    @torch.no_grad()
    def start(self, matrix: Tensor) -> None:
        """Become the linear map ``matrix (members, n_inputs, n_outputs)``, offset aside."""
        last = getattr(self, f"weight_{self.output_layer}")
        last.zero_()
        linear = self.weight_skip if self.hidden_layer_sizes else last
        linear.zero_()
        linear[:, : self.n_inputs, : self.n_outputs] = matrix

    @torch.no_grad()
    def start_constant(self, offset: Tensor) -> None:
        """Become a map to ``offset (members, n_outputs)`` alone; there is no linear path."""
        getattr(self, f"weight_{self.output_layer}").zero_()
        self.start_offset(offset)

    @torch.no_grad()
    def start_offset(self, offset: Tensor) -> None:
        """Set the bias of the output."""
        getattr(self, f"bias_{self.output_layer}")[:, 0, : self.n_outputs] = offset

    def locating(self, n_outputs: int) -> list[tuple[nn.Parameter, slice]]:
        """The weights that the first outputs depend on, and which of their columns."""
        last = {f"weight_{self.output_layer}", f"bias_{self.output_layer}", "weight_skip"}
        return [
            (parameter, slice(n_outputs if name in last else None))
            for name, parameter in self.named_parameters()
        ]

    def _uniform(self, noise: Noise, before: tuple[int, int], after: tuple[int, int]):
        (n_in, padded_in), (n_out, padded_out) = before, after

        def init(generator: torch.Generator) -> Tensor:
            weight = torch.zeros(padded_in, padded_out, device=noise.device)
            drawn = torch.rand(n_in, n_out, generator=generator, device=noise.device)
            weight[:n_in, :n_out] = (2 * drawn - 1) / n_in**0.5
            return weight

        return self.weight(noise, init)


class PerceptronOfCells:
    """A perceptron whose first layer has taken in what makes inputs of cells.

    Parameters
    ----------
    perceptron : Perceptron
    units : Units
        Of its inputs.
    """

    def __init__(self, perceptron: Perceptron, units):
        self.perceptron = perceptron
        own: dict[str, Any] = dict(perceptron._parameters)
        last = f"bias_{perceptron.output_layer}"
        for name, bias in {"weight_0": "bias_0", "weight_skip": last}.items():
            if name in own:
                weight, offset = units.taken_in(own[name].detach().numpy())
                own[name], own[bias] = (
                    torch.from_numpy(weight),
                    own[bias] + torch.from_numpy(offset),
                )
        self.own = own

    def encode(self, cells: Tensor) -> Tensor:
        """Map ``(members, 1, rows, columns)`` to ``(members, 1, rows, n_outputs)``."""
        out = self.perceptron.run(cells.squeeze(1), self.own)
        return out[:, None, :, : self.perceptron.n_outputs]


class DenseGroups(Component):
    """Layers that tell each group of latents, but the first, from all the groups before it.

    Parameters
    ----------
    sizes : tuple of int
        Latents in each group.
    hidden_layer_sizes, activation, linear_skip
        As those of ``Perceptron``.
    """

    def __init__(self, sizes, hidden_layer_sizes, activation, linear_skip):
        super().__init__()
        self.sizes = sizes
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip

    def build(self, shapes: Shapes, noise: Noise) -> DenseGroups:
        """Draw the weights."""
        kind = self.hidden_layer_sizes, self.activation, self.linear_skip
        for level, size in enumerate(self.sizes[1:], 1):
            layers = Perceptron(sum(self.sizes[:level]), 4 * size, *kind)
            self.add_module(f"group_{level}", layers.build(shapes, noise))
        return self

    def start(self) -> None:
        """Begin with groups that say nothing of one another."""
        for level in range(1, len(self.sizes)):
            getattr(self, f"group_{level}").start(torch.zeros(()))

    def advance(self, level: int, state: Tensor | None, z: Tensor) -> Tensor:
        """Keep the group beside those before it."""
        return z if state is None else torch.cat([state, z], -1)

    def heads(self, level: int, state: Tensor) -> Tensor:
        """Run the layers of a group."""
        return getattr(self, f"group_{level}")(state)


class MLP(Network):
    """A multi-layer perceptron as encoder, its mirror image as decoder.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 64)
        Widths of the encoder's hidden layers; the decoder has them in reverse.  Empty for
        linear maps.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    linear_skip : bool or "auto", default="auto"
        Whether a linear map runs beside the layers.  ``"auto"``: from 8 components on, where
        it helps; with fewer it draws the code towards that of PCA.

    Examples
    --------
    >>> from skvae.networks import MLP
    >>> MLP(hidden_layer_sizes=(32,), activation="tanh")
    MLP(activation='tanh', hidden_layer_sizes=(32,))
    """

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": ["boolean", StrOptions({"auto"})],
    }

    def __init__(self, hidden_layer_sizes=(128, 64), activation="silu", linear_skip="auto"):
        super().__init__()
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        check_widths(self, "hidden_layer_sizes")
        hidden = tuple(self.hidden_layer_sizes)
        skip = self.linear_skip
        skip = shapes.n_components >= 8 if skip == "auto" else skip
        self.encoder = Perceptron(shapes.n_inputs, n_encoded, hidden, self.activation, skip)
        n_codes = shapes.n_components + shapes.n_conditions
        self.decoder = Perceptron(n_codes, n_decoded, hidden[::-1], self.activation, skip)
        self.encoder.build(shapes, noise)
        self.decoder.build(shapes, noise)
        if len(shapes.groups) > 1:
            groups = DenseGroups(shapes.groups, hidden[::-1], self.activation, skip)
            self.groups = groups.build(shapes, noise)

    @property
    def top_down(self) -> DenseGroups | None:
        """The layers between groups."""
        return self._modules.get("groups")  # type: ignore[return-value]

    def group_sizes(self, shapes: Shapes, n_groups: int) -> tuple[int, ...]:
        """Share the latents out evenly; where there is a remainder, the last groups have it."""
        least, more = divmod(shapes.n_components, n_groups)
        if not least:
            raise ValueError(
                f"{n_groups} groups of latents cannot share n_components={shapes.n_components}. "
                f"Set n_components to {n_groups} at least, or n_groups lower."
            )
        return tuple(least + (group >= n_groups - more) for group in range(n_groups))

    @property
    def has_linear_path(self) -> bool:  # type: ignore[override]
        """Whether both halves can be set to linear maps."""
        return self.encoder.has_linear_path

    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Become a linear encoder and decoder."""
        self.encoder.start(encoder)
        self.encoder.start_offset(encoder_offset)
        self.decoder.start(decoder)
        if self.top_down is not None:
            self.top_down.start()

    def start_offset(self, offset: Tensor) -> None:
        """Set the bias of the decoder's output."""
        self.decoder.start_offset(offset)

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """Those of the encoder, but for what the scales of its last layer are made of."""
        return self.encoder.locating(n_components)

    def by_hand(self, gradient_of: Callable[[nn.Parameter], Tensor]) -> ByHand:
        """Both halves outside the graph."""
        return ByHand(self.encoder, self.decoder, gradient_of)

    def reading(self, units) -> Any:
        """The encoder of cells."""
        return PerceptronOfCells(self.encoder, units) if type(self) is MLP else None

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder."""
        return self.encoder(inputs)

    def decode(self, z: Tensor) -> Tensor:
        """Run the decoder."""
        return self.decoder(z)
