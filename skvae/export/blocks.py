"""The cells of a row in a graph: a block for each kind of columns."""

from __future__ import annotations

from typing import Any

from . import continuous, counts, discrete
from .graph import Value
from .likelihoods import LIKELIHOODS, Block

# Each of these adds to ``LIKELIHOODS``.
FAMILIES = continuous, discrete, counts


def blocks(likelihood: Any, parameters: Value) -> list[Block]:
    """The blocks of columns, in the order of the columns."""
    parts = likelihood.parts
    split = parameters.parts([part.n_parameters for part in parts])
    return [LIKELIHOODS(part)(part, share) for part, share in zip(parts, split)]
