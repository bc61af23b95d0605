"""Networks in a graph."""

from __future__ import annotations

from typing import Any

from ..networks import MLP
from ..networks.mlp import Perceptron
from .arrays import layers, weight
from .graph import Value
from .registry import Exporters

NETWORKS = Exporters("network")


def perceptron(net: Perceptron, x: Value) -> Value:
    """The layers of a perceptron, from ``(members, draws, rows, n_inputs)``."""
    widths = [net.n_inputs, *net.hidden_layer_sizes, net.n_outputs]
    places = range(net.output_layer + 1)
    weights = [getattr(net, f"weight_{i}")[:, : widths[i], : widths[i + 1]] for i in places]
    biases = [getattr(net, f"bias_{i}")[..., : widths[i + 1]] for i in places]
    out = layers(x, weights, biases, net.activation)
    if "weight_skip" in net._parameters:
        out = out + x @ weight(x.graph, net.weight_skip[:, : widths[0], : widths[-1]])
    return out


@NETWORKS.of(MLP)
class Perceptrons:
    """A perceptron as encoder, another one as decoder."""

    def __init__(self, network: Any):
        self.network = network

    def encode(self, x: Value) -> Value:
        """Parameters of the posterior."""
        return perceptron(self.network.encoder, x)

    def decode(self, z: Value) -> Value:
        """Parameters of the cells."""
        return perceptron(self.network.decoder, z)
