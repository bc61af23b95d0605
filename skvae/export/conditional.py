"""Each cell given the others of its row, in a graph, for all columns at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cellwise.cells import CellModel
from ..cellwise.density import FlooredMixture
from ..cellwise.leave_one_out import LeaveOneOut
from ..cellwise.scaling import REACH
from .arrays import ACTIVATIONS, array_of
from .blocks import blocks
from .codec import Rows
from .continuous import Mixtures
from .graph import Graph, Value
from .likelihoods import LIKELIHOODS


@LIKELIHOODS.of(FlooredMixture)
class FlooredMixtures(Mixtures):
    """A mixture of normals in each cell, with a smallest noise for each column."""

    def floor(self, part):
        return array_of(part.floors)[:1]


def log_prob_of_cells(model: CellModel, rows: Rows) -> Value:
    """In nats and the units of the columns ``(rows, columns)``; 0 where cells are missing."""
    graph, n = rows.values.graph, len(model.scale.loc)
    values, log_slope = rows.values, graph.constant(model.log_unit[None])
    if n:
        scaled, slope = _robust(model.scale, values, n)
        width = len(model.log_unit)
        others = [values.take(np.arange(n, width))] if n < width else []
        values = graph.joined([scaled, *others])
        unit = model.log_unit
        rest = [slope.zeros() + unit[n:]] if n < width else []
        log_slope = graph.joined([slope + unit[:n], *rest])
    if rows.log_jacobian is not None:
        log_slope = log_slope + rows.log_jacobian
    values = graph.where(rows.mask, values, 0.0)
    shown = _encoded(model.vae.encoding, values, rows.mask.cast(np.float32))
    if model.vae.n_given:
        given = rows.inputs.take(np.arange(-model.vae.n_given, 0))
        shown = graph.joined([shown, given])
    found = _log_prob(model.vae, values, shown)
    return graph.where(rows.mask, found.cast(np.float64) - log_slope, 0.0)


def _robust(scale: Any, values: Value, n: int) -> tuple[Value, Value]:
    """Numeric cells on the scale of the model, and the logarithm of the slope of cells by them."""
    every = values.take(np.arange(n)).cast(np.float64)
    x = (every - scale.loc) / scale.scale
    far = (x.apply("Abs") - (REACH - 1.0)).at_least(1.0)
    signed = x.apply("Sign") * (far.log() + REACH)
    scaled = x.graph.where(far > 1.0, signed, x).cast(np.float32)
    return scaled, far.log() + np.log(scale.scale)


def _encoded(encoding: Any, values: Value, visible: Value) -> Value:
    """What the networks see, ``(rows, width)``."""
    graph, n = values.graph, encoding.n_numeric
    parts = [visible]
    if n:
        low, high, loc, scale, edge, width = (
            array_of(getattr(encoding, name))[0, 0, 0]
            for name in ("low", "high", "loc", "scale", "edge", "width_of_piece")
        )
        x = values.take(np.arange(n)).at_least(low).at_most(high)
        x = ((x - loc) / scale).expanded(1)
        pieces = ((x - edge) / width).clipped(0.0, 1.0)
        shown = visible.take(np.arange(n)).expanded(1)
        numeric = graph.joined([x, pieces], 1) * shown
        parts.append(numeric.shaped(0, n * (1 + encoding.n_pieces)))
    if encoding.sizes:
        repeated = n + np.repeat(np.arange(len(encoding.sizes)), encoding.sizes)
        codes = np.concatenate([np.arange(size, dtype=np.float32) for size in encoding.sizes])
        one_hot = values.take(repeated).equals(codes).cast(np.float32)
        parts.append(one_hot * visible.take(repeated))
    return graph.joined(parts)


def _log_prob(vae: Any, values: Value, shown: Value) -> Value:
    leave_one_out = LeaveOneOut(vae)
    parameters = _Passes(values.graph, leave_one_out).parameters(shown).cast(np.float64)
    values = values.cast(np.float64)
    parts = zip(blocks(vae.likelihood, parameters), values.parts(vae.likelihood.widths))
    each = values.graph.joined([part.log_prob(cells) for part, cells in parts])
    total = each.log_sum_exp(1).log_sum_exp(0)
    return total - math.log(vae.n_members)


class _Passes:
    """All passes of ``LeaveOneOut`` as one, along an axis of their own.

    Values are ``(members, passes, rows, width)``, of the decoder ``(members, 1, passes, rows,
    width)``.
    """

    def __init__(self, graph: Graph, leave_one_out: LeaveOneOut):
        self.graph, self.of = graph, leave_one_out
        self.network = leave_one_out.vae.network
        self.activate = ACTIVATIONS[self.network.prior.activation]

    def parameters(self, x: Value) -> Value:
        """What the decoder says of each cell without it, ``(members, 1, rows, width)``."""
        prior, vae = self.network.prior, self.of.vae
        left = self._without(x)
        hidden = prior.weight_0.shape[-1]
        first, last = left.parts([hidden, prior.weight_skip.shape[-1]])
        h = self._hidden(prior, first + self._matrix(prior.bias_0))
        end = prior.output_layer
        out = last + self._matrix(getattr(prior, f"bias_{end}"))
        out = (out + h @ self._matrix(getattr(prior, f"weight_{end}"))).expanded(1)
        n = vae.n_latents
        rest = prior.weight_skip.shape[-1] - prior.n_outputs
        z, _, context, *_ = out.parts(
            [n, n, prior.n_outputs - 2 * n, rest] if rest else [n, n, prior.n_outputs - 2 * n]
        )
        return self._decoded(self.graph.joined([z, context]))

    def _without(self, x: Value) -> Value:
        """First layer and linear path of the prior net, less what hidden columns put in."""
        prior, passes = self.network.prior, self.of.passes
        both = np.concatenate([array_of(prior.weight_0), array_of(prior.weight_skip)], -1)
        both = both[:, : prior.n_inputs]
        widest = max(len(hidden.inputs) for hidden in passes)
        # Where a pass hides fewer inputs, a column of zeros stands for the others.
        places = np.full((len(passes), widest), prior.n_inputs)
        for i, hidden in enumerate(passes):
            places[i, : len(hidden.inputs)] = hidden.inputs
        x = self.graph.joined([x, x.zeros()])
        matrix = self.graph.constant(np.concatenate([both, np.zeros_like(both[:, :1])], 1))
        # Taken in the graph, as the file would hold these weights twice.
        put_in = x.take(places, 1).transposed(1, 0, 2) @ matrix.take(places, 1)
        return x.expanded(0, 1) @ matrix.expanded(1) - put_in

    def _decoded(self, given: Value) -> Value:
        decoder, passes = self.network.decoder, self.of.passes
        n_given, end = decoder.n_inputs, decoder.output_layer
        first = array_of(decoder.weight_0)[:, None, None, :n_given]
        before = given @ self.graph.constant(first) + self._matrix(decoder.bias_0, 3)
        h = self._hidden(decoder, before, 3)
        widest = max(len(hidden.outputs) for hidden in passes)
        places = np.zeros((len(passes), widest), dtype=np.int64)
        order = np.zeros(self.of.n_parameters, dtype=np.int64)
        for i, hidden in enumerate(passes):
            places[i, : len(hidden.outputs)] = hidden.outputs
            order[hidden.outputs] = i * widest + np.arange(len(hidden.outputs))
        matrix, skip, bias = (
            self.graph.constant(array_of(part)).take(places).transposed(0, 2, 1, 3).expanded(1)
            for part in (
                getattr(decoder, f"weight_{end}"),
                decoder.weight_skip[:, :n_given],
                getattr(decoder, f"bias_{end}"),
            )
        )
        out = (given @ skip + h @ matrix + bias).transposed(0, 1, 3, 2, 4)
        return out.shaped(0, 0, 0, len(passes) * widest).take(order)

    def _hidden(self, net: Any, before: Value, n_axes: int = 2) -> Value:
        h = self.activate(before)
        for i in range(1, net.output_layer):
            matrix, bias = (
                self._matrix(getattr(net, f"{name}_{i}"), n_axes) for name in ("weight", "bias")
            )
            h = self.activate(h @ matrix + bias)
        return h

    def _matrix(self, tensor: Any, n_axes: int = 2) -> Value:
        """A matrix of each member, the same for all draws and passes."""
        array = array_of(tensor)
        between = (1,) * (n_axes - 1)
        return self.graph.constant(array.reshape(len(array), *between, *array.shape[1:]))
