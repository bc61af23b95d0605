"""What likelihoods in a graph have in common: log densities of cells, and their best values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Value
from .registry import Exporters

LIKELIHOODS = Exporters("likelihood")


class Block:
    """Base of the cells of one kind, given what the decoder says of them.

    Parameters
    ----------
    part : Likelihood
    parameters : Value (members, draws, rows, n_parameters)
    """

    # Whether expectations are probabilities of categories.
    has_categories = False

    def __init__(self, part: Any, parameters: Value):
        self.part, self.parameters, self.graph = part, parameters, parameters.graph

    @property
    def point(self) -> Value:
        """Best value of each cell ``(members, draws, rows, columns)``."""
        raise NotImplementedError

    @property
    def expectation(self) -> Value:
        """Mean of each cell, or the probabilities of its categories along one more axis."""
        return self.point

    def log_prob(self, values: Value) -> Value:
        """Of each of the cells ``(rows, columns)``, ``(members, draws, rows, columns)``."""
        raise NotImplementedError

    def log_prob_rows(self, values: Value, mask: Value) -> Value:
        """Sum over the observed cells, ``(members, draws, rows)``."""
        return self.graph.where(mask, self.log_prob(values), 0.0).sum(-1).cast(np.float32)
