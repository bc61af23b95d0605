"""The layout: codes whose near pairs are the edges of a graph."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags, triu
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

# Largest coordinate at the start.
START_SIZE = 10.0
START_NOISE = 1e-3
# Pairs that are no edges weigh so much more in all than the edges, as in UMAP.
NEGATIVE_RATE = 5.0
# Keeps the push of two codes in one place finite.
SOFTENING = 0.05
# Shifts of the table, each of which gives every row two partners to be pushed from: as many as
# shift so many rows in all, within these limits.
FEWEST_SHIFTS, MOST_SHIFTS = 16, 32
SHIFTED_ROWS = 1 << 17
# Of more edges each step takes one half.
MANY_EDGES = 1 << 16
STEP_SIZE = 0.3
BETA_1, BETA_2 = 0.9, 0.99
# Tables of fewer rows, per latent, have their eigenvectors computed densely.
DENSE_ROWS = 20


def spectral_start(graph: csr_matrix, n_components: int) -> np.ndarray:
    """Slowest modes of diffusion on the graph, ``(n, n_components)``, the constant left out."""
    n = graph.shape[0]
    degree = np.asarray(graph.sum(1)).ravel()
    root = np.sqrt(np.maximum(degree, 1e-12))
    walk = diags(1.0 / root) @ graph @ diags(1.0 / root)
    constant = root / np.linalg.norm(root)
    wanted = min(n_components, n - 1)
    if n <= DENSE_ROWS * wanted:
        rest = walk.toarray() - np.outer(constant, constant)
        vectors = np.linalg.eigh(rest)[1][:, -wanted:]
    else:
        others = LinearOperator(
            walk.shape, lambda x: walk @ x - constant * (constant @ x), dtype=walk.dtype
        )
        # The start of the search must not be random, nor orthogonal to what is sought.
        first = np.cos(np.arange(n) ** 2.0)
        try:
            vectors = eigsh(others, wanted, which="LA", v0=first, tol=1e-4, ncv=4 * wanted + 16)[1]
        except ArpackNoConvergence as error:
            vectors = error.eigenvectors
    start = np.zeros((n, n_components))
    start[:, : vectors.shape[1]] = vectors[:, ::-1]
    return start * (START_SIZE / max(np.abs(start).max(), 1e-12))


def n_shifts(n_rows: int) -> int:
    """How many shifts there are in each step."""
    return int(np.clip(SHIFTED_ROWS // n_rows, FEWEST_SHIFTS, MOST_SHIFTS))


class Edges:
    """Edges of a graph, each once.

    Parameters
    ----------
    upper : csr_matrix (n, n)
        Weights, of rows and columns behind them.
    """

    def __init__(self, upper: csr_matrix):
        self.upper, self.weights = upper, upper.data
        # Indices of the machine's own width are gathered by without a copy.
        first = np.repeat(np.arange(upper.shape[0]), np.diff(upper.indptr))
        self.ends = first, upper.indices.astype(first.dtype)

    def turns(self) -> list[Edges]:
        """Edges for one step after the other: of many, either half, twice as heavy."""
        if len(self.weights) <= MANY_EDGES:
            return [self]
        (first, second), weights = self.ends, 2.0 * self.weights
        halves = [(weights[k::2], (first[k::2], second[k::2])) for k in (0, 1)]
        return [Edges(csr_matrix(half, self.upper.shape)) for half in halves]

    def pull(self, codes: np.ndarray) -> np.ndarray:
        """Gradient of what the edges cost with respect to ``codes (n_components, n)``."""
        first, second = self.ends
        apart = codes.take(first, 1)
        apart -= codes.take(second, 1)
        square = np.einsum("ij,ij->j", apart, apart)
        square += 1.0
        np.divide(self.weights.astype(codes.dtype), square, out=square)
        # Both ends in two products: each code times its pulls, less the pulls times the others.
        pulls = csr_matrix((square, self.upper.indices, self.upper.indptr), self.upper.shape)
        columns = np.concatenate([codes, np.ones_like(codes[:1])]).T.copy()
        sums = (pulls @ columns + pulls.T @ columns).T
        return 2.0 * (codes * sums[-1] - sums[:-1])

    def cost(self, codes: np.ndarray) -> float:
        """Weighted sum of minus the log-probabilities of the edges."""
        first, second = self.ends
        square = ((codes[:, first] - codes[:, second]) ** 2).sum(0)
        return float(self.weights @ np.log1p(square))


class Layout:
    """Codes pulled together along the edges of a graph and pushed apart elsewhere.

    Two codes at distance r are neighbours with probability 1 / (1 + r^2); what is lowered is
    the cross-entropy of these with the edges.  Of the pairs that are no edges each step sees
    a random part, row i against row i + s for a few random s, which needs neither lists of
    pairs nor sums over them.

    Parameters
    ----------
    graph : csr_matrix (n, n)
        Symmetric, weights of the edges in [0, 1].

    References
    ----------
    McInnes, Healy and Melville, UMAP, 2018; Damrich and Hamprecht, On UMAP's True Loss
    Function, 2021.
    """

    def __init__(self, graph: csr_matrix):
        self.n = graph.shape[0]
        self.edges = Edges(triu(graph, 1).tocsr())
        degree = np.asarray(graph.sum(1)).ravel()
        self.push = NEGATIVE_RATE * degree

    def run(self, start: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Codes ``(n, n_components)`` after one step of falling size per row of ``shifts``.

        Parameters
        ----------
        start : ndarray (n, n_components)
        shifts : ndarray of int (steps, n_shifts)
            From 1 to n - 1.
        """
        codes = np.ascontiguousarray(start.T, dtype=np.float32)
        mean, square = np.zeros_like(codes), np.zeros_like(codes)
        turns = self.edges.turns()
        for step, chosen in enumerate(shifts):
            gradient = self.gradient(codes, chosen, turns[step % len(turns)])
            mean += (1.0 - BETA_1) * (gradient - mean)
            square += (1.0 - BETA_2) * (gradient * gradient - square)
            size = STEP_SIZE * (1.0 - step / len(shifts)) / (1.0 - BETA_1 ** (step + 1))
            scale = np.sqrt(square / (1.0 - BETA_2 ** (step + 1)))
            codes -= size * mean / (scale + 1e-8)
        return codes.T

    def gradient(
        self, codes: np.ndarray, shifts: np.ndarray, edges: Edges | None = None
    ) -> np.ndarray:
        """Gradient of ``loss`` with respect to ``codes (n_components, n)``."""
        total = (edges or self.edges).pull(codes)
        n = self.n
        # Twice the table, so that a shifted one is a part of it.
        twice = np.concatenate([codes, codes], 1)
        push = np.concatenate([self.push, self.push]) / (2 * len(shifts))
        push = push.astype(codes.dtype)
        pushed = np.zeros_like(twice)
        for shift in shifts:
            partner = slice(shift, shift + n)
            force = codes - twice[:, partner]
            square = np.einsum("ij,ij->j", force, force)
            near = square + SOFTENING
            square += 1.0
            near *= square
            np.divide(push[:n] + push[partner], near, out=near)
            force *= near
            pushed[:, partner] += force
            total -= force
        total += pushed[:, :n]
        total += pushed[:, n:]
        return total

    def loss(self, codes: np.ndarray, shifts: np.ndarray) -> float:
        """Cross-entropy of the edges and of the pairs that the shifts make."""
        total = self.edges.cost(codes)
        push = self.push / (4 * len(shifts))
        for shift in shifts:
            square = ((codes - np.roll(codes, -shift, 1)) ** 2).sum(0)
            apart = np.log((square + SOFTENING) / (square + 1.0)) / (1.0 - SOFTENING)
            total -= float((push + np.roll(push, -shift)) @ apart)
        return total
