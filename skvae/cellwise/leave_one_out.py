"""Each cell of a row given the other visible ones, in one pass for all rows of a chunk."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..alignment import aligned, padded
from ..arrays import wide
from ..networks.mlp import Perceptron
from .density import parameters_of_columns
from .model import CellwiseVAE

# Wider tables hide several columns at once.
MOST_PASSES = 128


class LeaveOneOut:
    """The distribution of each cell given the others of its row, at the mean of their code.

    A column that is hidden changes the first layer by what it had put in: the rest of that
    layer is computed once for all columns.  Of the last layer only the outputs of the hidden
    columns are computed.

    Parameters
    ----------
    vae : CellwiseVAE
        Trained.
    """

    def __init__(self, vae: CellwiseVAE):
        self.vae = vae
        inputs = vae.encoding.inputs_of_columns()
        outputs = parameters_of_columns(vae.likelihood)
        self.n_parameters = vae.likelihood.n_parameters
        n_columns = len(outputs)
        order = np.arange(n_columns)
        if n_columns > MOST_PASSES:
            order = np.random.RandomState(0).permutation(n_columns)
        blocks = np.array_split(order, min(n_columns, MOST_PASSES))
        self.passes = [_Pass(vae.network, _joined(inputs, b), _joined(outputs, b)) for b in blocks]

    def __call__(self, values: Tensor, visible: Tensor, given: Tensor | None = None):
        """Distributions ``(members, 1, rows, columns)`` for cells ``(1, 1, rows, columns)``.

        ``visible`` is 1 or 0; that of the cell itself does not matter.  What is ``given (1, 1,
        rows, n_conditions)`` is never hidden.
        """
        return self.vae.likelihood(self._parameters(values, visible, given))

    def _parameters(self, values: Tensor, visible: Tensor, given: Tensor | None) -> Tensor:
        vae, n_rows, n_codes = self.vae, values.shape[2], 2 * self.vae.n_latents
        prior, decoder = vae.network.prior, vae.network.decoder
        x = prior.flat_rows(vae.shown(vae.encoding.features(values), visible, given))[0]
        width = prior.weight_0.shape[-1]
        whole = torch.matmul(x, torch.cat([prior.weight_0, prior.weight_skip], -1))
        found = x.new_empty(vae.n_members, 1, n_rows, self.n_parameters)
        for hidden in self.passes:
            left = whole - torch.matmul(padded(x[:, hidden.inputs], hidden.n_padded), hidden.first)
            h = _hidden(prior, left[..., :width] + prior.bias_0)
            out = torch.baddbmm(left[..., width:] + hidden.bias, h, hidden.weight)
            out = out[:, None, :, : prior.n_outputs]
            z = vae.prior(out[..., :n_codes]).mean
            given = decoder.flat_rows(torch.cat([z, out[..., n_codes:]], -1))
            h = _hidden(decoder, torch.baddbmm(decoder.bias_0, given, decoder.weight_0))
            out = torch.baddbmm(hidden.bias_of_outputs, given, hidden.skip)
            out = torch.baddbmm(out, h, hidden.weight_of_outputs)[..., : len(hidden.outputs)]
            found[:, 0, :, hidden.span] = out
        return found

    def log_prob(self, values: Tensor, visible: Tensor, given: Tensor | None = None) -> Tensor:
        """Log-probability of each cell ``(rows, columns)``, the mean over members.

        In float64: a cell that is all but certain is unlikely by less than float32 tells from
        nothing, and counts by how few of its column are as unlikely.
        """
        cells = self.vae.likelihood(wide(self._parameters(values, visible, given)))
        each = cells.log_prob(wide(values))
        return torch.logsumexp(each, (0, 1)) - math.log(len(each))


def _hidden(net: Perceptron, before: Tensor) -> Tensor:
    """Last hidden layer, of the first one before its activation."""
    h = net.in_place(before)
    for i in range(1, net.output_layer):
        h = net.in_place(torch.baddbmm(getattr(net, f"bias_{i}"), h, getattr(net, f"weight_{i}")))
    return h


class _Pass:
    """The weights that tell some columns from the others, at widths that keep the bits."""

    def __init__(self, network, inputs: list[int], outputs: list[int]):
        prior, decoder = network.prior, network.decoder
        self.inputs, self.outputs = inputs, outputs
        side_by_side = outputs == list(range(outputs[0], outputs[-1] + 1))
        # A slice is filled faster than places one by one.
        self.span = slice(outputs[0], outputs[-1] + 1) if side_by_side else outputs
        self.n_padded = aligned(len(inputs))
        first = torch.cat([prior.weight_0, prior.weight_skip], -1)[:, inputs]
        self.first = padded(first.mT, self.n_padded).mT
        self.bias, self.weight, _ = _last(prior)
        last = [padded(part[..., outputs], aligned(len(outputs))) for part in _last(decoder)]
        self.bias_of_outputs, self.weight_of_outputs, self.skip = last


def _last(net: Perceptron) -> tuple[Tensor, Tensor, Tensor]:
    """Bias, weight and linear path of the last layer."""
    last = net.output_layer
    return getattr(net, f"bias_{last}"), getattr(net, f"weight_{last}"), net.weight_skip


def _joined(places: list, block: np.ndarray) -> list[int]:
    return [place for j in block for place in places[j]]
