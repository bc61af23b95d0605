"""Stability: codes of digits over seeds of the estimator, and the same seed twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from _report import markdown_table
from _representation_features import LOADED
from _representation_methods import METHODS, PEERS
from scipy.linalg import orthogonal_procrustes

KEYS = ["table", "method"]
ORDER = [*METHODS, *PEERS]
N_SEEDS, D = 5, 8
NOTE = """
Digits, 8 components, one split, five seeds of the estimator; codes of unseen rows, aligned pair by
pair by an orthogonal Procrustes rotation after centring. `aligned` is the correlation of all
numbers of a pair then, `as they come` that of each component without any alignment; `same bits`
whether fitting twice with one seed gives equal codes.
"""


def cases(chosen) -> Iterator[dict]:
    if "digits" in (chosen.tables or ["digits"]):
        for method in ORDER:
            yield {"table": "digits", "method": method}


def measure(chosen, place: dict) -> dict | None:
    method, case = place["method"], LOADED("digits", chosen, 0)

    def codes(seed: int) -> np.ndarray:
        if method in PEERS:
            return chosen.peers(method, case, D, seed).test
        return METHODS[method](case, D, seed).test

    found = [codes(seed) for seed in range(N_SEEDS)]
    pairs = [aligned(a, b) for a, b in combinations(found, 2)]
    plain = [as_they_come(a, b) for a, b in combinations(found, 2)]
    return {
        "aligned": round(float(np.mean(pairs)), 4),
        "least_aligned": round(float(np.min(pairs)), 4),
        "as_they_come": round(float(np.mean(plain)), 4),
        "same_bits": bool(np.array_equal(found[0], codes(0))),
    }


def aligned(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of all numbers after the best rotation of one onto the other."""
    a, b = a - a.mean(0), b - b.mean(0)
    rotation, _ = orthogonal_procrustes(a, b)
    return np.corrcoef((a @ rotation).ravel(), b.ravel())[0, 1]


def as_they_come(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T)]))


def report(results: pd.DataFrame) -> dict[str, list[str]]:
    found = results.set_index("method")
    rows = [
        [
            method,
            *(f"{found.loc[method, c]:.3f}" for c in ("aligned", "least_aligned", "as_they_come")),
            "yes" if found.loc[method, "same_bits"] else "no",
        ]
        for method in ORDER
        if method in found.index
    ]
    head = ["method", "aligned, mean", "aligned, least", "as they come", "same bits"]
    return {"Stability": [*NOTE.strip().split("\n"), "", *markdown_table(head, rows)]}
