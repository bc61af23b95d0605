"""Perceptrons differentiated by hand: forward and backward written out on kept buffers.

At the sizes of tables an ordinary training step is dispatch and bookkeeping, not arithmetic.
Here the layers of encoder and decoder leave the graph: automatic differentiation works on what
lies between and behind them, and the gradients of the weights go straight into the buffers of
the optimiser.  The result equals that of automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import twin
from ..products import host_product
from .activations import BY_HAND, Activation


class Layers:
    """The layers of one perceptron on buffers that are used again from step to step.

    Parameters
    ----------
    weights, biases : list of Parameter
        Per layer.
    skip : Parameter or None
        Weight of the linear path from input to output.
    activation : str
        Key of ``BY_HAND``.
    gradient_of : callable
        Where to write the gradient of a parameter.
    """

    def __init__(self, weights, biases, skip, activation, gradient_of):
        self.activation: type[Activation] = BY_HAND[activation]
        # One member is cheaper as plain matrices, and gives the same bits.
        self.single = len(weights[0]) == 1
        self.on_host = isinstance(twin(weights[0].detach()), np.ndarray)
        self.weights, self.weight_grads = self._pairs(weights, gradient_of)
        self.biases, self.bias_grads = self._pairs(biases, gradient_of)
        self.weights_t = [w.mT for w in self.weights]
        self.skip = self.skip_t = self.skip_grad = None
        if skip is not None:
            (self.skip,), (self.skip_grad,) = self._pairs([skip], gradient_of)
            self.skip_t = self.skip.mT
        self.workspaces: dict[torch.Size, _Workspace] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Output ``(members, rows, outputs)`` in a kept buffer, for padded inputs."""
        x = x[0] if self.single else x
        work = self.workspaces.get(x.shape)
        if work is None:
            work = self.workspaces[x.shape] = _Workspace(self, x)
        self.work = work
        work.x = h = twin(x)
        for layer, product, bias, weight in zip(
            work.layers, work.products, self.biases, self.weights
        ):
            product(h, weight, out=layer.before)
            layer.before += bias
            layer.activation.forward()
            h = layer.after
        work.products[-1](h, self.weights[-1], out=work.output)
        work.output += self.biases[-1]
        if self.skip is not None:
            work.product(work.x, self.skip, out=work.beside)
            work.output += work.beside
        return work.output_of_members

    def backward(self, for_input: bool) -> Tensor | None:
        """Write the gradients of the weights; give that of the padded input if it is wanted.

        The gradient of the output is taken from where ``forward`` had left the output.
        """
        work = self.work
        g, x_t = work.output, work.x.mT
        if self.skip is not None:
            work.product(x_t, g, out=self.skip_grad)
        for i in range(len(work.layers), 0, -1):
            layer, product = work.layers[i - 1], work.products[i]
            product(layer.after_t, g, out=self.weight_grads[i])
            work.product(work.ones, g, out=self.bias_grads[i])
            g = product(g, self.weights_t[i], out=layer.gradient)
            layer.activation.backward(layer.gradient_tensor)
        work.products[0](x_t, g, out=self.weight_grads[0])
        work.product(work.ones, g, out=self.bias_grads[0])
        if not for_input:
            return None
        work.products[0](g, self.weights_t[0], out=work.for_input)
        if self.skip is not None:
            work.for_input += work.product(work.output, self.skip_t, out=work.for_input_beside)
        return work.for_input_of_members

    def _pairs(self, parameters, gradient_of) -> tuple[list[Any], list[Any]]:
        pairs = [(twin(p.detach()), twin(gradient_of(p))) for p in parameters]
        if self.single:
            pairs = [(value[0], gradient[0]) for value, gradient in pairs]
        values, gradients = zip(*pairs)
        return list(values), list(gradients)


class _Workspace:
    """Buffers for batches of one shape; the same memory for torch and NumPy."""

    # What the last pass was of.
    x: Any

    def __init__(self, layers: Layers, x: Tensor):
        *rows, n_rows, _ = x.shape
        widths = [weight.shape[-1] for weight in layers.weights]
        self.layers = [
            _Layer(layers.activation(x.new_empty(*rows, n_rows, width))) for width in widths[:-1]
        ]
        self.product: Callable = np.matmul if layers.on_host else torch.matmul
        self.products = [self.product] * len(layers.weights)
        if layers.on_host:
            sizes = [n_rows * weight.shape[-2] * weight.shape[-1] for weight in layers.weights]
            self.products = [host_product(size, x.dtype) for size in sizes]
        output, for_input = x.new_empty(*rows, n_rows, widths[-1]), torch.empty_like(x)
        self.ones = twin(x.new_ones(*rows, 1, n_rows))
        self.output, self.for_input = twin(output), twin(for_input)
        if layers.skip is not None:
            beside = torch.empty_like(output), torch.empty_like(for_input)
            self.beside, self.for_input_beside = map(twin, beside)
        self.output_of_members = output[None] if layers.single else output
        self.for_input_of_members = for_input[None] if layers.single else for_input


class _Layer:
    """Buffers of one activation."""

    def __init__(self, activation: Activation):
        self.activation = activation
        self.before, self.after = twin(activation.before), twin(activation.after)
        self.after_t = self.after.mT
        self.gradient_tensor = torch.empty_like(activation.before)
        self.gradient = twin(self.gradient_tensor)


class ByHand:
    """An encoder and a decoder outside the graph, for one pass and one backward per step.

    Parameters
    ----------
    encoder, decoder : Perceptron
        Their layers are run by hand.
    gradient_of : callable
        Where to write the gradient of a parameter.
    """

    def __init__(self, encoder, decoder, gradient_of: Callable[[nn.Parameter], Tensor]):
        self.halves = encoder, decoder
        self.encoder, self.decoder = (half.layers(gradient_of) for half in self.halves)
        self.parameters = {id(p) for half in self.halves for p in half.parameters()}
        self.encoded: Tensor | None = None

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder; its output begins a graph."""
        self.inputs = inputs
        self.encoded = self._run(0, self.encoder, inputs).requires_grad_()
        return self.encoded

    def decode(self, z: Tensor) -> Tensor:
        """Run the decoder; its output begins a second graph."""
        self.z = z
        self.decoded = self._run(1, self.decoder, z).requires_grad_()
        return self.decoded

    def differentiate(self, loss: Tensor, others: Sequence[nn.Parameter]) -> Sequence[Tensor]:
        """Write the gradients of both halves; give those of the ``others``."""
        # Codes that are known begin no graph at the encoder.
        encoded = [] if self.encoded is None else [self.encoded]
        before_z = [*encoded, *others]
        for_decoded, *found = torch.autograd.grad(
            loss,
            [self.decoded, *before_z],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        for_z = self._backward(1, self.decoder, for_decoded, for_input=True)
        if for_z is not None and self.z.requires_grad:
            for_z = for_z[..., : self.z.shape[-1]].reshape(self.z.shape)
            through_z = torch.autograd.grad(
                self.z, before_z, for_z, allow_unused=True, materialize_grads=True
            )
            found = [direct + through for direct, through in zip(found, through_z)]
        if encoded:
            learned = self.inputs.requires_grad
            for_inputs = self._backward(0, self.encoder, found.pop(0), for_input=learned)
            if learned:
                for_inputs = for_inputs[..., : self.inputs.shape[-1]].reshape(self.inputs.shape)
                through_inputs = torch.autograd.grad(
                    self.inputs, others, for_inputs, allow_unused=True, materialize_grads=True
                )
                found = [direct + through for direct, through in zip(found, through_inputs)]
        self.encoded = None
        return found

    def _run(self, half: int, layers: Layers, x: Tensor) -> Tensor:
        members, draws, rows, _ = x.shape
        out = layers.forward(self.halves[half].flat_rows(x.detach()))
        return out[..., : self.halves[half].n_outputs].view(members, draws, rows, -1)

    def _backward(self, half: int, layers: Layers, gradient: Tensor, for_input: bool):
        # The output has been read for the last time: its buffer can hold its gradient.
        buffer, width = layers.work.output_of_members, self.halves[half].n_outputs
        buffer[..., :width] = gradient.flatten(1, 2)
        buffer[..., width:] = 0.0
        return layers.backward(for_input)
