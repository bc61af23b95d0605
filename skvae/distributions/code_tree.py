"""Sequences of categories of which each depends on one before it: a tree that is fitted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

# How many rows the margin of a category counts for beside those with the same parent.
PRIOR_ROWS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# Nats, over all rows, below which a parent is chance.
MIN_GAIN = 4.0
# What each category is seen before any row is.
PSEUDO_COUNT = 0.5


class CodeTree(NamedTuple):
    """Probabilities of rows of categories.

    Parameters
    ----------
    order : ndarray of int (n_positions,)
        Positions, parents before their children.
    parent : ndarray of int (n_positions,)
        Parent of each position; itself where it has none.
    log_table : ndarray (n_positions, n_categories, n_categories)
        Log probability of each category (last axis) given that of the parent.

    References
    ----------
    Chow and Liu, Approximating Discrete Probability Distributions with Dependence Trees, 1968.
    """

    order: np.ndarray
    parent: np.ndarray
    log_table: np.ndarray

    @classmethod
    def fit(cls, codes: np.ndarray, n_categories: int) -> CodeTree:
        """The tree of largest leave-one-out likelihood of ``codes (rows, n_positions)``.

        A position has a parent only if that explains left-out rows better than its margin.
        """
        n_rows, n = codes.shape
        margins = [np.bincount(column, minlength=n_categories) for column in codes.T]
        alone = [_left_out(m[None], None, PSEUDO_COUNT * n_categories) for m in margins]
        gain, rows = np.zeros((n, n)), np.zeros((n, n))
        for child in range(n):
            share = (margins[child] + PSEUDO_COUNT) / (n_rows + PSEUDO_COUNT * n_categories)
            for other in range(n):
                if other != child:
                    joint = _joint(codes[:, other], codes[:, child], n_categories)
                    found = [_left_out(joint, share, strength) for strength in PRIOR_ROWS]
                    rows[other, child] = PRIOR_ROWS[int(np.argmax(found))]
                    gain[other, child] = max(found) - alone[child]
        # Both directions of an edge gain nearly the same; a tree may run either way.
        mean_gain = 0.5 * (gain + gain.T)
        mean_gain[mean_gain < MIN_GAIN] = 0.0
        tree = minimum_spanning_tree(-mean_gain)
        order, parent = _rooted(tree + tree.T, n)
        tables = []
        for child in range(n):
            share = (margins[child] + PSEUDO_COUNT) / (n_rows + PSEUDO_COUNT * n_categories)
            table = np.broadcast_to(share, (n_categories, n_categories))
            if parent[child] != child:
                joint = _joint(codes[:, parent[child]], codes[:, child], n_categories)
                strength = rows[parent[child], child]
                table = (joint + strength * share) / (joint.sum(1, keepdims=True) + strength)
            tables.append(np.log(table))
        return cls(order, parent, np.stack(tables))


def _joint(first: np.ndarray, second: np.ndarray, n_categories: int) -> np.ndarray:
    both = np.bincount(first * n_categories + second, minlength=n_categories**2)
    return both.reshape(n_categories, n_categories)


def _left_out(counts: np.ndarray, share: np.ndarray | None, strength: float) -> float:
    """Log-likelihood of each row by the others; ``counts (parent, child)``."""
    n_categories = counts.shape[1]
    prior = strength * (1.0 / n_categories if share is None else share)
    others = np.maximum(counts - 1.0, 0.0) + prior
    total = np.maximum(counts.sum(1, keepdims=True) - 1.0, 0.0) + strength
    return float((counts * np.log(others / total)).sum())


def _rooted(edges, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in an order from the roots, and the parent of each."""
    order: list[int] = []
    parent = np.arange(n)
    for root in range(n):
        if root not in order:
            found, before = breadth_first_order(edges, root, directed=False)
            order.extend(found.tolist())
            parent[found[1:]] = before[found[1:]]
    return np.array(order), parent
