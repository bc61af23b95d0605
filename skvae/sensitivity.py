"""How the cells that a model expects change with each latent."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from . import distributions as D
from .noise import Noise
from .vae import VAE

# In standard deviations of the codes, to each side.  Between categories a decoder may be so
# steep that hardly any code lies where an infinitesimal step would tell a change.
STEP = 0.1
SHORTEST = 1e-6
# Numbers that the decoder gives at once; rows of wide tables are fewer.
MAX_NUMBERS = 1 << 21
MAX_ROWS = 1024
MIN_ROWS = 64


def rows_at_once(vae: VAE) -> int:
    """Rows whose derivatives are taken together."""
    return int(np.clip(MAX_NUMBERS // vae.likelihood.n_parameters, MIN_ROWS, MAX_ROWS))


class Decoder:
    """The decoder of a model of one member in float64, with codes of its prior.

    Parameters
    ----------
    vae : VAE
        Of one member; it is copied.

    Attributes
    ----------
    reference : ndarray of shape (rows, n_components)
        Codes that the prior gives, the same for every decoder of a model.
    """

    def __init__(self, vae: VAE):
        self.single = copy.deepcopy(vae).to("cpu").eval()
        self.vae = copy.deepcopy(self.single).double()
        with torch.no_grad():
            drawn = self.single.codes().sample(_noise(), rows_at_once(self.vae))
        self.reference = drawn[0, 0].numpy()

    @torch.no_grad()
    def cells(self, codes: np.ndarray) -> D.Distribution:
        """Distribution of the cells of codes ``(rows, n_components)``."""
        return self.vae.decode(torch.as_tensor(codes, dtype=torch.float64)[None, None])

    def chunks(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the codes by parts whose decoded rows fit into memory."""
        at_once = rows_at_once(self.vae)
        for start in range(0, len(codes), at_once):
            yield codes[start : start + at_once]

    @torch.no_grad()
    def expected(self, codes: np.ndarray) -> list[np.ndarray]:
        """Expected cells of each block of columns, as `expected` gives them."""
        cells = self.cells(codes)
        return [expected(part)[0, 0].numpy() for part in cells.parts]

    @torch.no_grad()
    def spread(self, codes: np.ndarray) -> np.ndarray:
        """Standard deviation of the cells of the first block, ``(rows, columns)``."""
        cells = self.cells(codes)
        first = cells.parts[0]
        return spread(first).expand(expected(first).shape)[0, 0].numpy()

    def derivatives(
        self, codes: np.ndarray, steps: np.ndarray, scale: np.ndarray
    ) -> Iterator[list[np.ndarray]]:
        """Yield for each axis the slopes of what `expected` gives, over short steps.

        ``steps (axes, n_components)`` are codes that a unit of each axis adds, and ``scale``
        the standard deviations along them.
        """
        codes = codes.astype(np.float64)
        for axis, length in zip(steps, np.maximum(STEP * scale, SHORTEST)):
            step = length * axis
            ends = zip(self.expected(codes + step), self.expected(codes - step))
            yield [(up - down) / (2 * length) for up, down in ends]

    @torch.no_grad()
    def sample(self, codes: np.ndarray) -> np.ndarray:
        """Draw cells for codes, the same at every call, ``(rows, columns)``."""
        cells = self.single.decode(torch.as_tensor(codes)[None, None])
        return cells.sample(_noise())[0, 0].double().numpy()


def _noise() -> Noise:
    return Noise([0], torch.device("cpu"))


@singledispatch
def expected(cells: D.Distribution) -> Tensor:
    """Expected value of each cell; where cells are categories, the probability of each.

    Examples
    --------
    >>> import torch
    >>> from skvae import distributions
    >>> from skvae.sensitivity import expected
    >>> expected(distributions.Bernoulli(torch.zeros(1, 1, 1, 1)))
    tensor([[[[0.5000]]]])
    """
    return cells.mean


@expected.register(D.Categorical)
@expected.register(D.Ordinal)
@expected.register(D.TokenSequence)
def _(cells) -> Tensor:
    return cells.probs


@singledispatch
def spread(cells: D.Distribution) -> Tensor:
    """Standard deviation of each cell, that of the middle where the tails have none."""
    return cells.stddev


@spread.register
def _(cells: D.StudentT) -> Tensor:
    return cells.log_scale.exp()


@spread.register
def _(cells: D.CellMixture) -> Tensor:
    return cells.variance.sqrt()
