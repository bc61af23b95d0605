"""A recurrent network whose every step has a code of its own."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from .._component import Shapes
from ..noise import Noise
from ..recurrence import CELLS, Recurrence
from ._base import check_widths
from .levels import CellDecoder, CellNetwork
from .mlp import ACTIVATIONS, Perceptron
from .recurrent import check_sequence_shape
from .unfolding import Unfolding


class StepwiseDecoder(CellDecoder):
    """Layers from the code of a step and the past to the numbers of the step.

    Parameters
    ----------
    layers : Perceptron
        From both.
    linear : Perceptron
        From the past alone, beside the others.
    unfolding : Unfolding
        Which number is which column's.
    """

    def __init__(self, layers, linear, unfolding):
        super().__init__()
        self.layers = layers
        self.linear = linear
        self.unfolding = unfolding


class VariationalRecurrent(CellNetwork):
    """A code for every step of a sequence, given all that was before: the VRNN.

    What is known of the past is in the memory of a recurrent layer, beside the last step as it
    was.  From these come the prior of the next code, its posterior once the step is seen, and,
    with the code, the cells of the step; then the memory takes in both.  ``n_components`` of the
    estimator are the latents of a step, so that a row has as many codes as steps.  They are
    given in the unit of their prior: 0 is what the past lets expect, and what follows the end
    of a sequence is 0.

    Columns are standardised by feature, not by step.  A sequence that is shorter than others
    ends in NaN, and what follows its end changes nothing; cells missing in between are drawn.
    With ``objective="auto"`` training begins with a light KL term and little noise, without
    which decoders with a memory learn to do without codes.

    Parameters
    ----------
    sequence_shape : (n_steps,) or (n_steps, n_features) or None, default=None
        How the columns of ``X`` are laid out, all features of a step side by side, as
        ``sequences.reshape(len(sequences), -1)`` has them.  None stands for steps of one feature.
    cell : {"gru", "lstm"}, default="gru"
        Kind of the recurrent layer.
    n_units : int, default=32
        Units of it.
    hidden_layer_sizes : tuple of int, default=(64,)
        Widths of the layers to the prior, to the posterior and to the cells of a step.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="relu"
        Non-linearity of these.  A smooth one begins so straight that codes stay normal where
        what is new at a step is not.

    Raises
    ------
    ValueError
        If the table has another number of columns than the sequence has numbers, or columns
        that are not continuous.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> from skvae.networks import VariationalRecurrent
    >>> phase = np.linspace(0, 6, 100)[:, None]
    >>> X = np.sin(phase + 0.5 * np.arange(12))
    >>> network = VariationalRecurrent(n_units=8)
    >>> vae = VAETransformer(1, network=network, max_iter=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.score_steps(X).shape, vae.forecast(X, 30).shape
    ((100, 12), (100, 12), (100, 30))

    References
    ----------
    Chung et al., A Recurrent Latent Variable Model for Sequential Data, 2015.
    """

    unrolls = True

    _parameter_constraints = {
        "sequence_shape": ["array-like", None],
        "cell": [StrOptions(set(CELLS))],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def __init__(
        self,
        sequence_shape=None,
        cell="gru",
        n_units=32,
        hidden_layer_sizes=(64,),
        activation="relu",
    ):
        super().__init__()
        self.sequence_shape = sequence_shape
        self.cell = cell
        self.n_units = n_units
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation

    @property
    def features_of_step(self) -> int:
        """How many columns a step has, by the parameters alone."""
        return check_sequence_shape(self)[1]

    def steps_of(self, shapes: Shapes) -> int:
        """How many steps a row has."""
        n_steps, n_features = check_sequence_shape(self)
        return -(-shapes.n_columns // n_features) if n_steps is None else n_steps

    def connect(self, shapes: Shapes, n_encoded: int, n_decoded: int, noise: Noise) -> None:
        """Create the layers of a step; ``shapes.n_components`` and ``n_encoded`` are of all."""
        check_widths(self, "hidden_layer_sizes")
        if [kind for kind, _ in shapes.blocks] != ["continuous"]:
            raise ValueError(
                f"{self!r} goes on from cells that it has drawn, which have to be continuous; the "
                f"table has {' and '.join(kind for kind, _ in shapes.blocks)} columns. Set their "
                "column_kinds to 'continuous', or use network='recurrent'."
            )
        self.n_steps, self.step_width = self.steps_of(shapes), self.features_of_step
        n_places = self.n_steps * self.step_width
        unfolding = Unfolding(repr(self), n_places)
        unfolding.lay_out(shapes, n_decoded, noise)
        self.n_cells, self.indicated = len(shapes.blocks[0][1]), shapes.indicated
        places = list(range(n_places) if shapes.places is None else shapes.places)
        column = torch.full((n_places,), self.n_cells)
        column[places] = torch.arange(self.n_cells)
        # The last step of which the table says the most.
        modelled = (column < self.n_cells).view(self.n_steps, -1).sum(1)
        self.last_step = int(torch.nonzero(modelled == modelled.max()).max())
        for name, index in (("column", column), ("place", torch.tensor(places))):
            index = index.to(noise.device).expand(noise.n_members, -1)
            self.register_buffer(name, index.clone())
        self.n_latents = shapes.n_components // self.n_steps
        n_encoded, n_read = n_encoded // self.n_steps, self.step_width * unfolding.n_read
        n_taken = self.step_width + self.n_latents
        self.recurrence = Recurrence(n_taken, self.n_units, self.cell).build(shapes, noise)
        hidden, n_known = tuple(self.hidden_layer_sizes), self.n_units + self.step_width

        def layers(n_in, n_out, hidden=hidden):
            return Perceptron(n_in, n_out, hidden, self.activation, False).build(shapes, noise)

        self.prior = layers(n_known, n_encoded)
        self.encoder = layers(n_known + 2 * self.step_width, n_encoded)
        # A code that also went to the cells by a linear way would be taken for a normal one.
        read = layers(n_known + self.n_latents, n_read), layers(n_known, n_read, ())
        decoder = StepwiseDecoder(*read, unfolding)
        self.decoder = decoder.build(shapes, noise)
        n_memory = self.recurrence.n_states
        zeros = torch.zeros(noise.n_members, 1, 1, n_memory, device=noise.device)
        self.bias_memory = nn.Parameter(zeros)

    # -- cells ----------------------------------------------------------------------------

    def steps(self, cells: Tensor) -> Tensor:
        """What is by column ``(..., columns)``, step by step; 0 in columns that are constant."""
        whole = F.pad(cells, (0, 1)).index_select(-1, self.column[0])
        return whole.unflatten(-1, (self.n_steps, self.step_width))

    def columns(self, steps: Tensor) -> Tensor:
        """What is step by step ``(..., steps, features)``, by column."""
        return steps.flatten(-2).index_select(-1, self.place[0])

    def row(self, read: Tensor, first: int = 0) -> Tensor:
        """Decoder's output of whole rows, given that of steps ``(..., steps, numbers)``."""
        whole = F.pad(read, (0, 0, first, self.n_steps - first - read.shape[-2])).flatten(-2)
        unfolding = self.decoder.unfolding
        cells = whole.unflatten(-1, (unfolding.n_cells, unfolding.n_read))
        return unfolding.fold(cells) + self.decoder.bias_cells

    # -- one step -------------------------------------------------------------------------

    def start_state(self, n_draws: int, n_rows: int) -> Tensor:
        """What is known before the first step, ``(members, draws, rows, numbers)``."""
        memory = self.recurrence.kept(self.bias_memory)
        return F.pad(memory, (0, self.step_width)).expand(-1, n_draws, n_rows, -1)

    def known(self, state: Tensor) -> Tensor:
        """What layers see of the past: outputs of the recurrent layer, and the last step."""
        if state.shape[-1] == self.n_units + self.step_width:
            return state
        return torch.cat([state[..., : self.n_units], state[..., -self.step_width :]], -1)

    def expect(self, known: Tensor) -> Tensor:
        """Parameters of the prior of the next code."""
        return self.prior(known)

    def shown(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """What ``see`` takes of cells ``(..., features)``; those that are not ``seen`` are 0."""
        return torch.cat([x, torch.ones_like(x) if seen is None else seen.to(x.dtype)], -1)

    def see(self, shown: Tensor, known: Tensor) -> Tensor:
        """Parameters of the posterior of the code of a step."""
        return self.encoder(torch.cat([shown.expand(*known.shape[:3], -1), known], -1))

    def emit(self, z: Tensor, known: Tensor) -> Tensor:
        """Numbers of the cells of a step."""
        read = self.decoder.layers(torch.cat([z, known], -1))
        return read + self.decoder.linear(known)

    def taker(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """A function from the cells and the code of a step, and the past, to what is known."""
        step, n_kept = self.recurrence.stepper(), self.recurrence.n_kept

        def take(x: Tensor, z: Tensor, state: Tensor) -> Tensor:
            memory = state[..., :n_kept].flatten(1, 2)
            memory = step(torch.cat([x, z], -1).flatten(1, 2), memory)
            return torch.cat([memory.view(*z.shape[:3], -1), x], -1)

        return take
