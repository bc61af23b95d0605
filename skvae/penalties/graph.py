"""The graph of nearest neighbours: who is near whom, and how much that counts."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

HALVINGS = 40
# No row is so dense that its neighbours' weights fall off within this share of their distance.
LEAST_WIDTH = 1e-3
# Columns share a unit if so many of them have at least this share of the widest range.
SHARE_OF_COLUMNS = 0.5
SHARE_OF_RANGE = 0.5
# How far rows of other classes, and of unknown ones, are from one another, as in UMAP.
FAR, UNKNOWN = 2.5, 1.0


def column_factors(values: np.ndarray, log_unit: np.ndarray) -> np.ndarray:
    """What to multiply standardised columns by before distances are taken, ``(columns,)``.

    Columns of one unit, as the pixels of an image, are told by their ranges: at least half of
    them are half as wide as the widest or wider.  One number then brings all of them to that
    unit, since a pixel that hardly varies says little; the others stay standardised.

    Parameters
    ----------
    values : ndarray (n, columns)
        Standardised.
    log_unit : ndarray (columns,)
        Logarithm of what they were divided by.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    >>> column_factors(values, np.log([8.0, 6.0, 1.0])).round(2)
    array([1.38, 1.03, 0.17])
    >>> column_factors(values, np.log([8.0, 2.0, 1.0]))
    array([1., 1., 1.])
    """
    if not values.size:
        return np.ones(values.shape[1])
    log_range = np.log(np.maximum(np.ptp(values, axis=0), 1e-30)) + log_unit
    wide = log_range >= log_range.max() + np.log(SHARE_OF_RANGE)
    if wide.mean() < SHARE_OF_COLUMNS:
        return np.ones(values.shape[1])
    factors = np.exp(log_unit - log_unit.max())
    spread = np.sqrt(np.mean((values.std(0) * factors) ** 2))
    return factors / max(spread, 1e-30)


def neighbor_weights(distances: np.ndarray) -> np.ndarray:
    """Weights of the neighbours of each row, whose sum is log2(1 + their number).

    The nearest has weight 1, the others fall off exponentially with what they are farther
    away, at the row's own width.

    Parameters
    ----------
    distances : ndarray (rows, n_neighbors)
        Ascending.

    Examples
    --------
    >>> import numpy as np
    >>> neighbor_weights(np.array([[1.0, 2.0, 3.0]])).round(3)
    array([[1.   , 0.618, 0.382]])
    """
    gap = distances - distances[:, :1]
    target = np.log2(1.0 + gap.shape[1])
    least = np.maximum(LEAST_WIDTH * distances.mean(1), 1e-30)
    low, high = least.copy(), np.full(len(gap), np.inf)
    width = np.maximum(gap.mean(1), least)
    for _ in range(HALVINGS):
        over = np.exp(-gap / width[:, None]).sum(1) > target
        high, low = np.where(over, width, high), np.where(over, low, width)
        width = np.where(np.isinf(high), 2.0 * width, 0.5 * (low + np.minimum(high, 1e300)))
        width = np.clip(width, least, 1e300)
    return np.exp(-gap / width[:, None])


def neighbor_graph(index: np.ndarray, distances: np.ndarray) -> csr_matrix:
    """The symmetric graph of neighbours, an edge as sure as either end makes it.

    Parameters
    ----------
    index : ndarray (n, n_neighbors)
        The neighbours of each row, itself left out.
    distances : ndarray (n, n_neighbors)
        Ascending.

    Returns
    -------
    graph : csr_matrix (n, n)
        ``p + q - p q`` of the weights of both ends.

    References
    ----------
    McInnes, Healy and Melville, UMAP, 2018.
    """
    n, k = index.shape
    weights = neighbor_weights(distances).ravel()
    ends = np.arange(0, n * k + 1, k)
    one_way = csr_matrix((weights, index.ravel(), ends), (n, n))
    both = one_way + one_way.T - one_way.multiply(one_way.T)
    graph = csr_matrix(both)
    graph.sort_indices()
    return graph


def supervised(graph: csr_matrix, classes: np.ndarray, target_weight: float) -> csr_matrix:
    """The graph with edges between rows of different classes weakened.

    Parameters
    ----------
    graph : csr_matrix (n, n)
        Symmetric.
    classes : ndarray of int (n,)
        -1 where the class is not known.
    target_weight : float
        From 0, where classes weaken edges between them to a twelfth, to 1, where they cut them.

    Returns
    -------
    graph : csr_matrix (n, n)
        Symmetric; the strongest edge of each row is 1 before both ends are joined.

    References
    ----------
    McInnes, Healy and Melville, UMAP, 2018.
    """
    edges = graph.tocoo()
    here, there = classes[edges.row], classes[edges.col]
    unknown = (here < 0) | (there < 0)
    far = np.exp(-FAR / (1.0 - target_weight)) if target_weight < 1.0 else 0.0
    kept = np.where(unknown, np.exp(-UNKNOWN), np.where(here == there, 1.0, far))
    weakened = csr_matrix((edges.data * kept, (edges.row, edges.col)), graph.shape)
    largest = weakened.max(1).toarray().ravel()
    one_way = csr_matrix(weakened.multiply(1.0 / np.maximum(largest, 1e-12)[:, None]))
    joined = csr_matrix(one_way + one_way.T - one_way.multiply(one_way.T))
    joined.eliminate_zeros()
    joined.sort_indices()
    return joined
