"""Recurrent networks for rows that are sequences."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .._component import Component, Shapes
from ..noise import Noise
from ..recurrence import CELLS, Recurrence
from ._base import Network, check_widths
from .levels import CellDecoder, CellNetwork
from .mlp import ACTIVATIONS, Perceptron
from .unfolding import Unfolding


class SequenceEncoder(Component):
    """A recurrent layer, then layers from where it is at the last step that was observed.

    Parameters
    ----------
    recurrence : Recurrence
    layers : Perceptron
        From its output and conditions.
    linear : Perceptron or None
        From the row as it is, beside the others.
    """

    def __init__(self, recurrence, layers, linear):
        super().__init__()
        self.recurrence = recurrence
        self.layers = layers
        self.linear = linear

    def forward(
        self, steps: Tensor, last: Tensor | None, inputs: Tensor, conditions: Tensor
    ) -> Tensor:
        """Map ``(members, draws, rows, steps, numbers)``, the same rows flat beside.

        ``last`` is None for the last step.
        """
        states = self.recurrence(steps.flatten(1, 2)).view(*steps.shape[:4], -1)
        if last is None:
            state = states[..., -1, :]
        else:
            place = last[..., None, None].expand(*last.shape, 1, states.shape[-1])
            state = states.gather(-2, place).squeeze(-2)
        out = self.layers(torch.cat([state, conditions], -1))
        return out if self.linear is None else out + self.linear(inputs)


class SequenceDecoder(CellDecoder):
    """A recurrent layer that begins where the code says and is shown the code at every step.

    Parameters
    ----------
    layers : Perceptron
        From the code to what is in memory at first.
    recurrence : Recurrence
    reading : Perceptron
        From the output of a step to its numbers.
    unfolding : Unfolding
        Which number is which column's.
    n_steps : int
    linear : Perceptron or None
        From the code to the cells, beside the others.
    """

    def __init__(self, layers, recurrence, reading, unfolding, n_steps, linear):
        super().__init__()
        self.layers = layers
        self.recurrence = recurrence
        self.reading = reading
        self.unfolding = unfolding
        self.n_steps = n_steps
        self.linear = linear

    def forward(self, z: Tensor) -> Tensor:
        """Map codes ``(members, draws, rows, n_codes)`` to the parameters of cells."""
        shown = z.flatten(1, 2)[:, :, None].expand(-1, -1, self.n_steps, -1)
        states = self.recurrence(shown, self.layers(z).flatten(1, 2))
        cells = self.reading(states).flatten(2)
        cells = cells.unflatten(-1, (self.unfolding.n_cells, self.unfolding.n_read))
        out = self.unfolding.fold(cells).view(*z.shape[:3], -1) + self.bias_cells
        return out if self.linear is None else out + self.linear(z)


class Recurrent(CellNetwork):
    """Recurrent layers for rows that are sequences, step after step.

    The encoder goes through the steps and gives what it has in memory at the last one that was
    observed: a sequence that is shorter than others ends in NaN, and what follows its end
    changes nothing.  Cells missing in between are 0, beside an indicator.  The decoder begins
    at a memory that the code says, is shown the code at every step, and adds one level per cell.

    Parameters
    ----------
    sequence_shape : (n_steps,) or (n_steps, n_features) or None, default=None
        How the columns of ``X`` that are no conditions are laid out, all features of a step
        side by side, as ``sequences.reshape(len(sequences), -1)`` has them.  None stands for
        steps of one feature.
    cell : {"gru", "lstm"}, default="gru"
        Kind of the layers.
    n_units : int, default=64
        Units of each of them.
    hidden_layer_sizes : tuple of int, default=()
        Widths of layers between the last output and the posterior; those between the code and
        the first memory have them in reverse.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of these.
    linear_skip : bool or "auto", default="auto"
        Whether a linear map runs beside encoder and decoder, at which training starts.
        ``"auto"``: where all sequences of ``fit`` were whole.

    Raises
    ------
    ValueError
        If the table has another number of columns than the sequence has numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> from skvae.networks import Recurrent
    >>> phase = np.linspace(0, 6, 100)[:, None]
    >>> X = np.sin(phase + 0.5 * np.arange(12))
    >>> X[:50, 8:] = np.nan  # shorter ones
    >>> vae = VAETransformer(2, network=Recurrent(n_units=16), max_iter=2, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (100, 2)

    References
    ----------
    Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation, 2014; Bowman et al., Generating Sentences from a Continuous Space, 2016.
    """

    _parameter_constraints = {
        "sequence_shape": ["array-like", None],
        "cell": [StrOptions(set(CELLS))],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "linear_skip": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        sequence_shape=None,
        cell="gru",
        n_units=64,
        hidden_layer_sizes=(),
        activation="silu",
        linear_skip="auto",
    ):
        super().__init__()
        self.sequence_shape = sequence_shape
        self.cell = cell
        self.n_units = n_units
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.linear_skip = linear_skip

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create encoder and decoder."""
        check_widths(self, "hidden_layer_sizes")
        n_steps, n_features = check_sequence_shape(self)
        unfolding = Unfolding(repr(self), None if n_steps is None else n_steps * n_features)
        unfolding.lay_out(shapes, n_decoded, noise)
        self.n_steps = unfolding.n_cells // n_features
        self.step_width = n_features
        self.n_inputs, self.n_conditions = shapes.n_inputs, shapes.n_conditions
        self.n_exact = len(shapes.indicated)
        hidden = tuple(self.hidden_layer_sizes)
        n_codes = shapes.n_components + shapes.n_conditions
        shown, read = n_features * unfolding.n_shown, n_features * unfolding.n_read
        forth = Recurrence(shown, self.n_units, self.cell).build(shapes, noise)
        back = Recurrence(n_codes, self.n_units, self.cell).build(shapes, noise)

        def layers(n_in, n_out, hidden):
            return Perceptron(n_in, n_out, hidden, self.activation, False).build(shapes, noise)

        n_state = self.n_units + shapes.n_conditions
        # A line through steps that are there in some sequences only is of none.
        skip = not shapes.indicated if self.linear_skip == "auto" else self.linear_skip

        def linear(n_in, n_out):
            return layers(n_in, n_out, ()) if skip else None

        self.encoder = SequenceEncoder(
            forth, layers(n_state, n_encoded, hidden), linear(shapes.n_inputs, n_encoded)
        )
        start, reading = (
            layers(n_codes, back.n_states, hidden[::-1]),
            layers(self.n_units, read, ()),
        )
        self.decoder = SequenceDecoder(
            start, back, reading, unfolding, self.n_steps, linear(n_codes, n_decoded)
        )
        self.decoder.build(shapes, noise)

    @property
    def has_linear_path(self) -> bool:  # type: ignore[override]
        """Whether both halves can be set to linear maps."""
        return self.encoder.linear is not None

    @torch.no_grad()
    def start(self, encoder: Tensor, encoder_offset: Tensor, decoder: Tensor) -> None:
        """Become a linear encoder and decoder."""
        self.encoder.layers.start_constant(encoder_offset)
        self.encoder.linear.start(encoder)
        self.decoder.reading.start_constant(torch.zeros(()))
        self.decoder.linear.start(decoder)

    def locating(self, n_components: int) -> list[tuple[nn.Parameter, slice]]:
        """Those of the encoder, but for what the scales of its last layer are made of."""
        whole = [(p, slice(None)) for p in self.encoder.recurrence.parameters()]
        ends = [part for part in (self.encoder.layers, self.encoder.linear) if part is not None]
        return whole + [pair for part in ends for pair in part.locating(n_components)]

    def encode(self, inputs: Tensor) -> Tensor:
        """Run the encoder."""
        cells = self.decoder.unfolding.unfold(inputs)
        steps = cells.unflatten(-2, (self.n_steps, self.step_width))
        last = self._last_observed(steps[..., -1]) if self.decoder.unfolding.has_gaps else None
        return self.encoder(steps.flatten(-2), last, inputs, self.conditions_of(inputs))

    def _last_observed(self, seen: Tensor) -> Tensor:
        """Place of the last step with an observed cell, the first where there is none."""
        steps = torch.arange(self.n_steps, device=seen.device)
        return ((seen > 0.5).any(-1) * steps).amax(-1)


def check_sequence_shape(network: Network) -> tuple[int | None, int]:
    """Number of steps, None where it is that of the table, and features of each."""
    if network.sequence_shape is None:
        return None, 1
    shape = tuple(network.sequence_shape)
    whole = all(isinstance(n, (int, np.integer)) and n > 0 for n in shape)
    if not whole or len(shape) not in (1, 2):
        raise ValueError(
            f"The 'sequence_shape' parameter of {type(network).__name__} must be (n_steps,) or "
            f"(n_steps, n_features). Got {network.sequence_shape!r} instead."
        )
    return (*shape, 1)[:2]
