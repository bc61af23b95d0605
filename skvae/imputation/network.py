"""The three perceptrons of the conditional model, in the graph and outside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._component import Shapes
from ..networks import Network
from ..networks.mlp import ACTIVATIONS, Perceptron
from ..noise import Noise

PARTS = ("prior", "proposal", "decoder")


class ConditionalNetwork(Network):
    """Prior of the visible cells, proposal of all observed ones, and a decoder that sees both.

    The decoder takes the code and what the prior net made of the visible cells, so that the
    code has to carry only what these leave open.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers of each; the decoder gets half of the last as context.
    activation : str, default="silu"
        Non-linearity of the hidden layers.
    """

    def __init__(self, hidden_layer_sizes=(64, 64), activation="silu"):
        super().__init__()
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation

    def build_parts(self, shapes: Shapes, n_decoded: int, noise: Noise) -> None:
        """Create the perceptrons; ``shapes.n_inputs`` is the width of the encoding."""
        hidden = tuple(self.hidden_layer_sizes)
        n_codes, n_columns = shapes.n_components, sum(len(sizes) for _, sizes in shapes.blocks)
        n_inputs, n_context = shapes.n_inputs, max(hidden[-1] // 2, 1)
        widths = {
            "prior": (n_inputs, 2 * n_codes + n_context, hidden),
            "proposal": (n_inputs + n_columns, 2 * n_codes, hidden),
            "decoder": (n_codes + n_context, n_decoded, hidden[-1:]),
        }
        for name in PARTS:
            n_in, n_out, layers = widths[name]
            net = Perceptron(n_in, n_out, layers, self.activation, True)
            self.add_module(name, net.build(shapes, noise))

    def start_offset(self, offset: Tensor) -> None:
        """Set the bias of the decoder's output."""
        self.decoder.start_offset(offset)

    def by_hand(self, gradient_of: Callable[[nn.Parameter], Tensor]) -> ConditionalByHand:
        """All three outside the graph."""
        return ConditionalByHand({name: getattr(self, name) for name in PARTS}, gradient_of)

    def run(self, name: str, x: Tensor) -> Tensor:
        """Map ``(members, draws, rows, inputs)`` by the part of this name."""
        return getattr(self, name)(x)


class ConditionalByHand:
    """The same perceptrons differentiated by hand, for one pass and one backward per step.

    Parameters
    ----------
    nets : dict of str to Perceptron
    gradient_of : callable
        Where to write the gradient of a parameter.
    """

    def __init__(self, nets: dict[str, Perceptron], gradient_of):
        self.nets = nets
        self.layers = {name: net.layers(gradient_of) for name, net in nets.items()}
        self.parameters = {id(p) for net in nets.values() for p in net.parameters()}
        self.outputs: dict[str, Tensor] = {}

    def run(self, name: str, x: Tensor) -> Tensor:
        """Run a part; its output begins a graph."""
        members, draws, rows, _ = x.shape
        net = self.nets[name]
        out = self.layers[name].forward(net.flat_rows(x.detach()))[..., : net.n_outputs]
        self.outputs[name] = out.view(members, draws, rows, -1).requires_grad_()
        self.last_input = x
        return self.outputs[name]

    def differentiate(self, loss: Tensor, others: Sequence[nn.Parameter]) -> Sequence[Tensor]:
        """Write the gradients of all parts; give those of the ``others``."""
        ends = [self.outputs[name] for name in PARTS]
        prior, proposal, decoder, *rest = torch.autograd.grad(
            loss, [*ends, *others], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        # The decoder ran last: its input is a function of what the other two gave.
        for_input = self._backward("decoder", decoder, True)
        assert for_input is not None
        width = self.last_input.shape[-1]
        for_input = for_input[..., :width].reshape(self.last_input.shape)
        more = torch.autograd.grad(self.last_input, ends[:2], for_input)
        self._backward("prior", prior + more[0], False)
        self._backward("proposal", proposal + more[1], False)
        return rest

    def _backward(self, name: str, gradient: Tensor, for_input: bool) -> Tensor | None:
        # The output has been read for the last time: its buffer can hold its gradient.
        layers, width = self.layers[name], self.nets[name].n_outputs
        buffer = layers.work.output_of_members
        buffer[..., :width] = gradient.flatten(1, 2)
        buffer[..., width:] = 0.0
        return layers.backward(for_input)


__all__ = ["ACTIVATIONS", "ConditionalByHand", "ConditionalNetwork"]
