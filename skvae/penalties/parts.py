"""Where a layout starts whose graph falls apart: each part at a place of its own."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from .graph import neighbor_graph
from .layout import START_NOISE, START_SIZE, Layout, spectral_start

# Lighter edges, as classes leave them, hold nothing together.
LEAST_EDGE = 1e-3
# Radius of a part, in distances to the nearest other one.
RADIUS = 0.35
# How the parts themselves are laid out.
N_NEIGHBORS, N_STEPS, MOST_PARTNERS = 15, 200, 32


def start_by_parts(graph: csr_matrix, rows: np.ndarray, n_components: int) -> np.ndarray:
    """Slowest modes of each part of a graph, about the place of the part among the others.

    Diffusion does not go from one part to another: the slowest modes of the whole graph are
    the same for all rows of a part, or, where there are more parts than latents or the search
    for modes misses some, those of a part that others lie upon.  From such a start parts are
    torn.  Modes of a graph in one piece are left as they are.

    Parameters
    ----------
    graph : csr_matrix (n, n)
        Symmetric.
    rows : ndarray (n, width)
        What distances between the means of parts are taken of.
    n_components : int

    Returns
    -------
    start : ndarray (n, n_components)

    References
    ----------
    McInnes, Healy and Melville, UMAP, 2018, whose implementation starts by parts, too.
    """
    n_parts, part = connected_components(graph > LEAST_EDGE, directed=False)
    if n_parts == 1:
        return spectral_start(graph, n_components)
    counts = np.bincount(part)
    means = csr_matrix((1.0 / counts[part], (part, np.arange(len(part))))) @ rows
    places = _laid_out(means, n_components)
    nearest = NearestNeighbors(n_neighbors=1).fit(places).kneighbors()[0][:, 0]
    order = np.argsort(part, kind="stable")
    ordered = graph[order][:, order]
    modes = np.zeros((len(part), n_components))
    ends = np.cumsum(counts)
    for low, high in zip(ends - counts, ends):
        if high - low > 1:
            modes[order[low:high]] = spectral_start(ordered[low:high, low:high], n_components)
    start = places[part] + (RADIUS / START_SIZE * nearest)[part, None] * modes
    start -= start.mean(0)
    return start * (START_SIZE / np.abs(start).max())


def _laid_out(means: np.ndarray, n_components: int) -> np.ndarray:
    """A place for each part, as rows are laid out, but that nothing is random."""
    n = len(means)
    neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, n - 1)).fit(means)
    distances, index = neighbors.kneighbors()
    graph = neighbor_graph(index, distances)
    start = start_by_parts(graph, means, n_components)
    # Parts that all are equally far apart may start in one place.
    start += START_NOISE * np.cos(np.arange(start.size) ** 2.0).reshape(start.shape)
    partners = np.arange(min(n - 1, MOST_PARTNERS))
    shifts = (np.arange(N_STEPS)[:, None] * len(partners) + partners) % (n - 1) + 1
    return Layout(graph).run(start, shifts)
