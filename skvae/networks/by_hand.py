"""Perceptrons differentiated by hand: forward and backward written out on kept buffers.

At the sizes of tables an ordinary training step is dispatch and bookkeeping, not arithmetic.
Here the layers of encoder and decoder leave the graph: automatic differentiation works on what
lies between and behind them, and the gradients of the weights go straight into the buffers of
the optimiser.  The result equals that of automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_aten: Any = torch.ops.aten


class Activation(NamedTuple):
    """An activation with ``f(0) = 0``: its value, and its derivative in place of a gradient.

    Parameters
    ----------
    forward : callable
        ``forward(x, out)``.
    backward : callable
        ``backward(gradient, x, y)`` overwrites ``gradient``.
    keeps_input : bool
        Whether the derivative needs ``x``; otherwise ``y`` may take its place.
    """

    forward: Callable
    backward: Callable
    keeps_input: bool


BY_HAND = {
    "relu": Activation(
        lambda x, out: torch.clamp_min(x, 0.0, out=out),
        lambda g, x, y: _aten.threshold_backward.grad_input(g, y, 0.0, grad_input=g),
        keeps_input=False,
    ),
    "tanh": Activation(
        lambda x, out: torch.tanh(x, out=out),
        lambda g, x, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
        keeps_input=False,
    ),
    "silu": Activation(
        lambda x, out: _aten.silu.out(x, out=out),
        lambda g, x, y: _aten.silu_backward.grad_input(g, x, grad_input=g),
        keeps_input=True,
    ),
    "gelu": Activation(
        lambda x, out: _aten.gelu.out(x, out=out),
        lambda g, x, y: _aten.gelu_backward.grad_input(g, x, grad_input=g),
        keeps_input=True,
    ),
    "elu": Activation(
        lambda x, out: _aten.elu.out(x, out=out),
        lambda g, x, y: _aten.elu_backward.grad_input(g, 1, 1, 1, False, x, grad_input=g),
        keeps_input=True,
    ),
    "identity": Activation(lambda x, out: x, lambda g, x, y: g, keeps_input=False),
}


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
    n_outputs : int
        Width of the output without padding.
    gradient_of : callable
        Where to write the gradient of a parameter.
    """

    def __init__(self, weights, biases, skip, activation, n_outputs, gradient_of):
        self.activation, self.n_outputs = BY_HAND[activation], n_outputs
        # One member is cheaper as plain matrices, and gives the same bits.
        self.single = len(weights[0]) == 1
        self.affine: Callable = torch.addmm if self.single else torch.baddbmm
        self.product: Callable = torch.mm if self.single else torch.bmm
        self.weights, self.weight_grads = self._pairs(weights, gradient_of)
        self.biases, self.bias_grads = self._pairs(biases, gradient_of)
        (self.skip,), (self.skip_grad,) = [None], [None]
        if skip is not None:
            (self.skip,), (self.skip_grad,) = self._pairs([skip], gradient_of)
        self.buffers: dict[torch.Size, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Output ``(members, rows, n_outputs)``; what ``backward`` needs is kept."""
        x = x[0] if self.single else x
        buffers = iter(self.buffers.setdefault(x.shape, []) or self._allocate(x))
        self.steps, h = [], x
        for weight, bias in zip(self.weights[:-1], self.biases):
            before = self.affine(bias, h, weight, out=next(buffers))
            place = next(buffers) if self.activation.keeps_input else before
            after = self.activation.forward(before, place)
            self.steps.append((h, before, after))
            h = after
        out = self.affine(self.biases[-1], h, self.weights[-1], out=next(buffers))
        if self.skip is not None:
            self.affine(out, x, self.skip, out=out)
        self.ends = x, h, out
        out = out[..., : self.n_outputs]
        return out.unsqueeze(0) if self.single else out

    def backward(self, gradient: Tensor, for_input: bool) -> Tensor | None:
        """Write the gradients of the weights; give that of the input if it is wanted."""
        x, h, out = self.ends
        # The output has been read for the last time: its buffer can hold its gradient.
        out[..., : self.n_outputs] = gradient[0] if self.single else gradient
        out[..., self.n_outputs :] = 0.0
        g = out
        if self.skip_grad is not None:
            self.product(x.mT, g, out=self.skip_grad)
        for i in range(len(self.weights) - 1, -1, -1):
            inputs = h if i == len(self.steps) else self.steps[i][0]
            self.product(inputs.mT, g, out=self.weight_grads[i])
            torch.sum(g, -2, keepdim=True, out=self.bias_grads[i])
            if i:
                g = self.product(g, self.weights[i].mT)
                self.activation.backward(g, *self.steps[i - 1][1:])
        if not for_input:
            return None
        result = self.product(g, self.weights[0].mT)
        if self.skip is not None:
            result = self.affine(result, out, self.skip.mT)
        return result.unsqueeze(0) if self.single else result

    def _pairs(self, parameters, gradient_of) -> tuple[list[Tensor], list[Tensor]]:
        data = [p.detach() for p in parameters]
        gradients = [gradient_of(p) for p in parameters]
        if self.single:
            return [d[0] for d in data], [g[0] for g in gradients]
        return data, gradients

    def _allocate(self, x: Tensor) -> list[Tensor]:
        twice = 2 if self.activation.keeps_input else 1
        widths = [w.shape[-1] for w in self.weights[:-1] for _ in range(twice)]
        widths.append(self.weights[-1].shape[-1])
        self.buffers[x.shape] = [x.new_empty(*x.shape[:-1], width) for width in widths]
        return self.buffers[x.shape]


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

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder; its output begins a graph."""
        self.encoded = self._run(0, self.encoder, inputs).requires_grad_()
        return self.encoded

    def decode(self, z: Tensor) -> Tensor:
        """Run the decoder; its output begins a second graph."""
        self.z = z
        self.decoded = self._run(1, self.decoder, z).requires_grad_()
        return self.decoded

    def run_encoder(self, inputs: Tensor) -> Tensor:
        """Output of the encoder, ``(members, draws * rows, n_encoded)``."""
        return self.encoder.forward(self.halves[0].flat_rows(inputs))

    def run_decoder(self, z: Tensor) -> Tensor:
        """Output of the decoder, ``(members, draws * rows, n_decoded)``."""
        return self.decoder.forward(self.halves[1].flat_rows(z))

    def differentiate(self, loss: Tensor, others: Sequence[nn.Parameter]) -> Sequence[Tensor]:
        """Write the gradients of both halves; give those of the ``others``."""
        inputs = [self.decoded, self.encoded, *others]
        for_decoded, for_encoded, *for_others = torch.autograd.grad(
            loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for_z = self.decoder.backward(for_decoded.flatten(1, 2), for_input=True)
        if for_z is not None and self.z.requires_grad:
            for_z = for_z[..., : self.z.shape[-1]].reshape(self.z.shape)
            (through_z,) = torch.autograd.grad(self.z, self.encoded, for_z)
            for_encoded = for_encoded + through_z
        self.encoder.backward(for_encoded.flatten(1, 2), for_input=False)
        return for_others

    def _run(self, half: int, layers: Layers, x: Tensor) -> Tensor:
        members, draws, rows, _ = x.shape
        out = layers.forward(self.halves[half].flat_rows(x.detach()))
        return out.view(members, draws, rows, -1)
