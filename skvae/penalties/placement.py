"""The placement: where a row goes in a layout, by its neighbours or by a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor

from .._component import Component
from .graph import neighbor_weights

N_STEPS = 10
# Of the pull towards a neighbour; that of the layout is 1.
SHARPNESS = 4.0
# Candidates beyond those asked for: the search rounds.
SPARE = 2
TIE = 1e-6
# A row as near to a kept one, beside its other neighbours, is that one: numbers are rounded.
SAME = 1e-4
# So many numbers of neighbours are gathered at once.
GATHERED_NUMBERS = 1 << 22


def mode_among(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Place that is near as many of the codes as can be, ``(rows, n_components)``.

    It maximises the weighted sum of ``-log(1 + 4 r^2)`` over the distances r to the codes, from
    the best of them and their mean.  Unlike the mean it does not fall between two groups; it
    goes to one of them.

    Parameters
    ----------
    codes : ndarray (rows, n_codes, n_components)
    weights : ndarray (rows, n_codes)

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.array([[[0.0], [0.1], [0.2], [9.0]]])
    >>> mode_among(codes, np.ones((1, 4))).round(1)
    array([[0.1]])
    """
    weights = (weights / weights.sum(1, keepdims=True)).astype(codes.dtype)
    # Long axes last: sums over the few components are then sums of arrays.
    codes = np.ascontiguousarray(np.moveaxis(codes, 2, 0))
    mean = (weights * codes).sum(2, keepdims=True)
    starts = np.concatenate([mean, codes], 2)
    cost = np.log1p(_near(starts[..., None], codes[:, :, None]))
    best = (cost * weights[:, None]).sum(2).argmin(1)
    z = np.take_along_axis(starts, best[None, :, None], 2)
    for _ in range(N_STEPS):
        pull = weights / (1.0 + _near(z, codes))
        z = (pull * codes).sum(2, keepdims=True) / pull.sum(1, keepdims=True)
    return np.ascontiguousarray(z[..., 0].T)


def _near(z: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Squared distances over the first axis, in units of the placement."""
    total = np.zeros((), codes.dtype)
    for coordinate, others in zip(z, codes):
        apart = coordinate - others
        apart *= apart
        total = total + apart
    return SHARPNESS * total


class KeptNeighbors(Component):
    """Rows of a layout that are kept; others are placed among those that are nearest to them.

    Parameters
    ----------
    n_neighbors : int
        Rows that a new one is placed among.
    """

    def __init__(self, n_neighbors):
        super().__init__()
        self.n_neighbors = n_neighbors

    def fit(self, rows: np.ndarray, layout: Tensor, index: np.ndarray, noise) -> KeptNeighbors:
        """Keep ``rows (n, width)`` and their ``layout (members, n, n_components)``."""
        kept = torch.as_tensor(rows, device=layout.device).expand(len(layout), -1, -1)
        self.register_buffer("rows", kept)
        self.register_buffer("layout", layout)
        return self

    def forward(self, queries: np.ndarray) -> np.ndarray:
        """Places ``(members, rows, n_components)``; a row that was kept is where it was."""
        kept, layout = self.rows[0].cpu().numpy(), self.layout.cpu().numpy()
        index, distances = self._nearest(queries, kept)
        weights = neighbor_weights(distances)
        same = distances[:, 0] <= SAME * distances[:, -1]
        places = np.stack([mode_among(of_member[index], weights) for of_member in layout])
        places[:, same] = layout[:, index[same, 0]]
        return places

    def _nearest(self, queries: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of each row and their distances, whatever the rows beside it."""
        with one_pool():
            index = self._search(kept).kneighbors(queries, return_distance=False)
        # Distances by matrix products differ in their last bits with the rows beside them.
        distances = np.concatenate(list(_distances(queries, kept, index)))
        index, distances = _sorted(index, distances)
        n = min(self.n_neighbors, len(kept))
        # Where the spare ones are as near as the last, which of many were found is chance.
        tied = distances[:, -1] <= distances[:, n - 1] * (1.0 + TIE)
        if index.shape[1] < len(kept) and tied.any():
            some = queries[tied]
            every = np.broadcast_to(np.arange(len(kept)), (len(some), len(kept)))
            parts = list(_distances(some, kept, every))
            found = _sorted(every, np.concatenate(parts))
            index[tied], distances[tied] = (a[:, : index.shape[1]] for a in found)
        return index[:, :n], distances[:, :n]

    def _search(self, kept: np.ndarray) -> Any:
        """Made once, and left out of pickles."""
        if getattr(self, "_found", None) is None:
            n = min(self.n_neighbors + SPARE, len(kept))
            self._found = NearestNeighbors(n_neighbors=n).fit(kept)
        return self._found


def one_pool():
    """Let the search use as many threads as torch does."""
    return threadpool_limits(torch.get_num_threads(), user_api="openmp")


def _sorted(index: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by distance, and where these are equal by place in the table."""
    order = np.lexsort((index, distances), axis=-1)
    return np.take_along_axis(index, order, 1), np.take_along_axis(distances, order, 1)


def _distances(queries: np.ndarray, kept: np.ndarray, index: np.ndarray) -> Iterator[np.ndarray]:
    at_once = max(GATHERED_NUMBERS // (index.shape[1] * kept.shape[1]), 1)
    for start in range(0, len(queries), at_once):
        rows = slice(start, start + at_once)
        apart = (queries[rows, None] - kept[index[rows]]).astype(np.float64)
        yield np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
