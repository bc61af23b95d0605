"""A likelihood of tokens in a row: each depends on the code and on those before it."""

from __future__ import annotations

from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor
from torch.nn import functional as F

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ..recurrence import Recurrence
from ._base import Likelihood
from .discrete import SMALLEST_SHARE


class TokenSequence(Likelihood):
    """Tokens one after the other: ``p(x|z)`` is the product of ``p(x_t | z, x_1, ..., x_{t-1})``.

    A recurrent layer begins where the code says, and is shown the code and the token before at
    every step; what the code says of each place by itself is added to what it gives.  Rows are
    sequences of whole numbers from 0, one column per token, as :class:`skvae.TokenEncoder` makes
    them of strings; shorter ones end in a token that stands for the end, or in NaN, which says
    nothing of what stands there.  All columns of this kind of a table are one sequence in the
    order of the columns.  ``sample`` draws token after token, and ``inverse_transform`` and
    ``reconstruct`` take the likeliest one at each step.

    Parameters
    ----------
    n_units : int, default=128
        Units of the recurrent layer.
    n_embedding : int, default=32
        Numbers that a token is shown as.
    word_dropout : float, default=0.0
        Share of the tokens that are hidden from later ones in training, so that these must be
        told by the code.  Against codes that say nothing, as a recurrent layer may do without.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> rng = np.random.default_rng(0)
    >>> X = np.array([[1, 2, 3, 0], [3, 1, 0, 0]])[rng.integers(2, size=100)]
    >>> vae = VAETransformer(1, likelihood="token_sequence", max_iter=20, random_state=0).fit(X)
    >>> vae.sample(5).shape
    (5, 4)

    References
    ----------
    Bowman et al., Generating Sentences from a Continuous Space, 2016; Gomez-Bombarelli et al.,
    Automatic Chemical Design Using a Data-Driven Continuous Representation of Molecules, 2018.
    """

    kind = "token"
    _parameter_constraints = {
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "n_embedding": [Interval(Integral, 1, None, closed="left")],
        "word_dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, n_units=128, n_embedding=32, word_dropout=0.0):
        super().__init__()
        self.n_units = n_units
        self.n_embedding = n_embedding
        self.word_dropout = word_dropout

    def build(self, shapes: Shapes, noise: Noise) -> TokenSequence:
        """Create the embedding, the recurrent layer and what reads the next token off it."""
        super().build(shapes, noise)
        self.n_places, self.n_tokens = len(self.sizes), max(self.sizes)
        device, bound = noise.device, self.n_units**-0.5

        def embedding(generator: torch.Generator) -> Tensor:
            shape = self.n_tokens + 2, self.n_embedding
            return torch.randn(shape, generator=generator, device=device)

        def reading(generator: torch.Generator) -> Tensor:
            shape = self.n_tokens, self.n_units
            return (2 * torch.rand(shape, generator=generator, device=device) - 1) * bound

        self.weight_embedding = self.weight(noise, embedding)
        self.recurrence = Recurrence(self.n_embedding, self.n_units, "gru").build(shapes, noise)
        self.weight_reading = self.weight(noise, reading)
        return self

    @property
    def n_parameters(self) -> int:
        """Logits of each place, what is shown at every step, and where the layer begins."""
        return self.n_expanded + self.n_embedding + self.n_units

    @property
    def unseen(self) -> int:
        """What stands for a token that is not shown; one less stands for the beginning."""
        return self.n_tokens + 1

    @property
    def n_expanded(self) -> int:
        """One number for each token at each place."""
        return self.n_places * self.n_tokens

    def expand(self, values: Tensor) -> Tensor:
        """One-hot tokens, place by place."""
        return F.one_hot(values.long(), self.n_tokens).flatten(-2).to(values.dtype)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column once per token."""
        return columns.repeat_interleave(self.n_tokens, -1)

    has_slopes = True

    def slopes(self, mean: Tensor) -> Tensor:
        """Those of the logarithms, bounded for the sake of rare ones."""
        return 1.0 / mean.clamp_min(SMALLEST_SHARE)

    def start(self, mean: Tensor) -> Tensor:
        """Logarithms of the shares of the tokens at each place, and no memory."""
        return F.pad(mean.clamp_min(1e-4).log(), (0, self.n_embedding + self.n_units))

    def forward(self, parameters: Tensor) -> distributions.TokenSequence:
        """Give a distribution over sequences."""
        return distributions.TokenSequence(parameters.to(self.weight_reading.dtype), self)

    def logits(self, context: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every token of sequences ``(members, rows, places)``, given those before."""
        first = torch.full_like(tokens[..., :1], self.n_tokens)
        before = torch.cat([first, tokens[..., :-1]], -1)
        places, shown, state = self._split(context)
        return places + self._read(
            self.recurrence(self._embedded(before) + shown[:, :, None], state)
        )

    def step(
        self, context: Tensor, place: int, last: Tensor | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the next token ``(members, rows, tokens)``, and the memory behind it.

        ``last (members, rows)`` is the token before; None for the first one.
        """
        places, shown, first = self._split(context)
        if last is None:
            last = torch.full(shown.shape[:2], self.n_tokens, device=shown.device)
        steps = (self._embedded(last) + shown)[:, :, None]
        found = self.recurrence(steps, first if state is None else state)
        return places[:, :, place] + self._read(found)[:, :, 0], found[:, :, 0]

    def _split(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.n_expanded, self.n_embedding, self.n_units]
        places, shown, state = context.split(sizes, -1)
        return places.unflatten(-1, (self.n_places, self.n_tokens)), shown, state.tanh()

    def _embedded(self, tokens: Tensor) -> Tensor:
        return torch.stack([F.embedding(t, w) for t, w in zip(tokens, self.weight_embedding)])

    def _read(self, states: Tensor) -> Tensor:
        # Member by member: a product of a stack may add up in another order.
        return torch.stack([F.linear(h, w) for h, w in zip(states, self.weight_reading)])
