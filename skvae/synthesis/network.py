"""The two perceptrons of the generative model, in the graph and outside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._component import Shapes
from ..imputation.network import ConditionalByHand, ConditionalNetwork
from ..networks.mlp import Perceptron
from ..noise import Noise


class GenerativeNetwork(ConditionalNetwork):
    """Prior of the visible cells, and a decoder of the code and what the prior net passes on."""

    def build_parts(self, shapes: Shapes, n_decoded: int, noise: Noise) -> None:
        """Create the perceptrons; ``shapes.n_inputs`` is the width of the encoding."""
        hidden = tuple(self.hidden_layer_sizes)
        n_codes, n_context = shapes.n_components, hidden[-1]
        widths = {
            "prior": (shapes.n_inputs, 2 * n_codes + n_context, hidden),
            "decoder": (n_codes + n_context, n_decoded, hidden[-1:]),
        }
        for name, (n_in, n_out, layers) in widths.items():
            net = Perceptron(n_in, n_out, layers, self.activation, True)
            self.add_module(name, net.build(shapes, noise))

    def by_hand(self, gradient_of: Callable[[nn.Parameter], Tensor]) -> GenerativeByHand:
        """Both outside the graph."""
        return GenerativeByHand({n: getattr(self, n) for n in ("prior", "decoder")}, gradient_of)


class GenerativeByHand(ConditionalByHand):
    """The same perceptrons differentiated by hand."""

    def differentiate(self, loss: Tensor, others: Sequence[nn.Parameter]) -> Sequence[Tensor]:
        """Write the gradients of both parts; give those of the ``others``."""
        end = self.outputs["prior"]
        prior, decoder, *rest = torch.autograd.grad(
            loss,
            [end, self.outputs["decoder"], *others],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        for_input = self._backward("decoder", decoder, True)
        assert for_input is not None
        width = self.last_input.shape[-1]
        for_input = for_input[..., :width].reshape(self.last_input.shape)
        (more,) = torch.autograd.grad(self.last_input, [end], for_input)
        self._backward("prior", prior + more, False)
        return rest
