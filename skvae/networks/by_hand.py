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
        self.affine: Callable = torch.addmm if self.single else torch.baddbmm
        self.product: Callable = torch.mm if self.single else torch.bmm
        on_host = isinstance(twin(weights[0].detach()), np.ndarray)
        # Of products with a transposed first factor NumPy's are the faster ones.
        self.transposed_product: Any = np.matmul if on_host else torch.matmul
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
        self.work, work.x, h = work, x, x
        for activation, bias, weight in zip(work.activations, self.biases, self.weights):
            self.affine(bias, h, weight, out=activation.before)
            activation.forward()
            h = activation.after
        self.affine(self.biases[-1], h, self.weights[-1], out=work.output)
        if self.skip is not None:
            self.affine(work.output, x, self.skip, out=work.output)
        return work.output_of_members

    def backward(self, for_input: bool) -> Tensor | None:
        """Write the gradients of the weights; give that of the padded input if it is wanted.

        The gradient of the output is taken from where ``forward`` had left the output.
        """
        work = self.work
        g, g_twin = work.output, work.output_twin
        inputs_t = [twin(work.x).mT, *work.hidden_t]
        if self.skip is not None:
            self.transposed_product(inputs_t[0], g_twin, out=self.skip_grad)
        for i in range(len(self.weights) - 1, -1, -1):
            self.transposed_product(inputs_t[i], g_twin, out=self.weight_grads[i])
            self.transposed_product(work.ones, g_twin, out=self.bias_grads[i])
            if i:
                g = self.product(g, self.weights_t[i], out=work.gradients[i - 1])
                g_twin = work.gradient_twins[i - 1]
                work.activations[i - 1].backward(g)
        if not for_input:
            return None
        self.product(g, self.weights_t[0], out=work.for_input)
        if self.skip is not None:
            self.affine(work.for_input, work.output, self.skip_t, out=work.for_input)
        return work.for_input_of_members

    def _pairs(self, parameters, gradient_of) -> tuple[list[Tensor], list[Any]]:
        data = [p.detach() for p in parameters]
        gradients = [twin(gradient_of(p)) for p in parameters]
        if self.single:
            return [d[0] for d in data], [g[0] for g in gradients]
        return data, gradients


class _Workspace:
    """Buffers for batches of one shape, and their views."""

    def __init__(self, layers: Layers, x: Tensor):
        rows = x.shape[:-1]
        widths = [weight.shape[-1] for weight in layers.weights]
        self.x = x
        self.activations = [layers.activation(x.new_empty(*rows, w)) for w in widths[:-1]]
        self.output = x.new_empty(*rows, widths[-1])
        self.gradients = [torch.empty_like(a.before) for a in self.activations]
        self.for_input = x.new_empty(x.shape)
        self.ones = twin(x.new_ones(*x.shape[:-2], 1, x.shape[-2]))
        self.hidden_t = [twin(a.after).mT for a in self.activations]
        self.output_twin = twin(self.output)
        self.gradient_twins = [twin(g) for g in self.gradients]
        single = layers.single
        self.output_of_members = self.output[None] if single else self.output
        self.for_input_of_members = self.for_input[None] if single else self.for_input


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
