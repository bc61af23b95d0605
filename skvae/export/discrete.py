"""Likelihoods of flags, categories and levels in a graph."""

from __future__ import annotations

import numpy as np

from ..likelihoods import Bernoulli, Categorical, Ordinal
from .arrays import array_of, softplus
from .graph import Value
from .likelihoods import LIKELIHOODS, Block

# In the place of infinity, of which differences and products are no numbers.
FAR = np.float32(1e30)


@LIKELIHOODS.of(Bernoulli)
class Flags(Block):
    """Zeros and ones."""

    @property
    def point(self):
        return self.parameters.apply("Sigmoid")

    def log_prob(self, values):
        return values * self.parameters - softplus(self.parameters)


@LIKELIHOODS.of(Categorical)
class Categories(Block):
    """A softmax for each column, all side by side with places of no probability between."""

    has_categories = True

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        sizes = np.array(part.sizes)
        place = np.arange(sizes.max())
        is_there = place < sizes[:, None]
        index = np.where(is_there, (sizes.cumsum() - sizes)[:, None] + place, 0)
        wide = parameters.cast(np.float32).take(index.ravel()).shaped(0, 0, 0, *index.shape)
        self.logits = wide + np.where(is_there, np.float32(0.0), -FAR)
        self.n_categories = len(place)

    @property
    def point(self):
        return self.logits.argmax().cast(np.float32)

    @property
    def expectation(self):
        return self.logits.apply("Softmax", axis=-1)

    def log_prob(self, values):
        codes = np.arange(self.n_categories)
        chosen = values.cast(np.int64).expanded(-1).equals(codes)
        if self.parameters.dtype is np.float32:
            log_probs = self.logits.apply("LogSoftmax", axis=-1)
            return self.graph.where(chosen, log_probs, 0.0).sum(-1)
        below = self.logits - self.logits.reduce("Max", -1, keep=True)
        likeliest = self.logits.argmax().expanded(-1).equals(codes)
        # Without the likeliest one, what is little beside it keeps its digits; exponentials in
        # float64 take several times as long.
        others = self.graph.where(likeliest, 0.0, below.exp()).sum(-1).cast(np.float64)
        return self.graph.where(chosen, below, 0.0).sum(-1).cast(np.float64) - (others + 1.0).log()


@LIKELIHOODS.of(Ordinal)
class Levels(Block):
    """Levels between thresholds on a line."""

    has_categories = True

    def __init__(self, part, parameters):
        super().__init__(part, parameters)
        # They are the same for all rows.
        thresholds = array_of(part(None).thresholds)
        self.thresholds = np.where(np.isinf(thresholds), FAR, thresholds)

    @property
    def point(self):
        above = self.parameters.expanded(-1) > self.graph.constant(self.thresholds)
        return above.cast(np.float32).sum(-1)

    @property
    def expectation(self):
        exceeds = (self.parameters.expanded(-1) - self.thresholds).apply("Sigmoid")
        nothing = exceeds.zeros()
        at_least = self.graph.joined([nothing + 1.0, exceeds])
        return at_least - self.graph.joined([exceeds, nothing])

    def log_prob(self, values):
        ends = [np.full_like(self.thresholds[..., :1], end) for end in (-FAR, FAR)]
        edges = np.concatenate([ends[0], self.thresholds, ends[1]], -1)
        n_edges = edges.shape[-1]
        columns = np.arange(edges.shape[-2], dtype=np.int64) * n_edges
        place = values.cast(np.int64) + columns
        with np.errstate(divide="ignore"):
            within = np.log(-np.expm1(edges[..., :-1] - edges[..., 1:]))
        within = np.where(np.isinf(within), 0.0, within)
        within = np.concatenate([within, ends[1]], -1)

        def at(table: np.ndarray, where: Value) -> Value:
            flat = table.reshape(len(table), -1).astype(np.float32)
            found = self.graph.constant(flat).take(where, 1).expanded(1)
            return found.cast(self.parameters.dtype)

        lower, upper = at(edges, place), at(edges, place + 1)
        below, above = softplus(self.parameters - upper), softplus(lower - self.parameters)
        return at(within, place) - below - above
