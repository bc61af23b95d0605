"""Weights as constants of a graph, the axis of the members kept only where there are several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .graph import Graph, Value

HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
# What each activation of ``skvae.networks`` does to a value.
ACTIVATIONS: dict[str, Callable[[Value], Value]] = {
    "silu": lambda x: x * x.apply("Sigmoid"),
    "relu": lambda x: x.apply("Relu"),
    "gelu": lambda x: 0.5 * x * ((x * np.sqrt(0.5)).apply("Erf") + 1.0),
    "elu": lambda x: x.apply("Elu"),
    "tanh": lambda x: x.apply("Tanh"),
    "identity": lambda x: x,
}


def array_of(tensor: Any) -> np.ndarray:
    """A torch tensor as an array."""
    return tensor.detach().cpu().numpy()


def weight(graph: Graph, tensor: Any) -> Value:
    """A matrix per member ``(members, n_in, n_out)``, to multiply values of four axes by."""
    array = array_of(tensor)
    return graph.constant(array[0] if len(array) == 1 else array[:, None])


def per_column(graph: Graph, tensor: Any) -> Value:
    """What each member adds or multiplies columns by, ``(members, ..., columns)``."""
    array = array_of(tensor)
    return graph.constant(array.reshape(len(array), 1, 1, array.shape[-1]))


def softplus(x: Value) -> Value:
    """Logarithm of 1 + exp(x)."""
    return x.at_least(0.0) + ((-x.apply("Abs")).exp() + 1.0).log()


def layers(x: Value, weights: Sequence[Any], biases: Sequence[Any], activation: str) -> Value:
    """Layers ``(members, n_in, n_out)`` from values ``(members, draws, rows, n_in)``."""
    graph, activate = x.graph, ACTIVATIONS[activation]
    for i, (matrix, bias) in enumerate(zip(weights, biases)):
        x = x @ weight(graph, matrix) + per_column(graph, bias)
        x = activate(x) if i < len(weights) - 1 else x
    return x
