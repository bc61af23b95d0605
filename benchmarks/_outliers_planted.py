"""Tables with a known share of outliers: planted ones, and rows of other classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_swiss_roll


class Planted(NamedTuple):
    """Training rows and new rows of one kind, with labels that are 1 for outliers."""

    X: np.ndarray
    y: np.ndarray
    X_new: np.ndarray
    y_new: np.ndarray


MOST_ROWS = 1200


def tables() -> dict[str, np.ndarray]:
    """Clean tables by name."""
    rng = np.random.default_rng(0)
    factors, heavy = rng.normal(size=(3, 10)), rng.normal(size=(5, 30))
    centres = 4 * rng.normal(size=(4, 8))
    kind = rng.choice(4, MOST_ROWS, p=[0.6, 0.25, 0.1, 0.05])
    common = rng.normal(size=(MOST_ROWS, 1))
    return {
        "factors": rng.normal(size=(MOST_ROWS, 3)) @ factors
        + 0.3 * rng.normal(size=(MOST_ROWS, 10)),
        "heavy tails": rng.standard_t(4, size=(MOST_ROWS, 5)) @ heavy
        + 0.3 * rng.standard_t(4, size=(MOST_ROWS, 30)),
        "four groups": centres[kind] + rng.normal(size=(MOST_ROWS, 8)),
        "log-normal": np.exp(0.5 * common + 0.7 * rng.normal(size=(MOST_ROWS, 5))),
        "swiss roll": make_swiss_roll(MOST_ROWS, noise=0.3, random_state=0)[0],
        "diabetes": load_diabetes().data,
    }


def classes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Normal rows and outliers of labelled tables by name."""
    tumours, digits = load_breast_cancer(), load_digits()
    is_low = digits.target < 4
    return {
        "breast cancer": (
            tumours.data[tumours.target == 1],
            tumours.data[tumours.target == 0],
        ),
        "digits below 4": (digits.data[is_low], digits.data[~is_low]),
    }


def far(X: np.ndarray, n_rows: int, rng) -> np.ndarray:
    """Rows moved by 1.5 to 4 standard deviations in every column, to either side."""
    sign = rng.choice([-1.0, 1.0], size=(n_rows, X.shape[1]))
    return X[rng.integers(len(X), size=n_rows)] + sign * X.std(0) * rng.uniform(
        1.5, 4.0, size=(n_rows, 1)
    )


def shuffled(X: np.ndarray, n_rows: int, rng) -> np.ndarray:
    """Rows whose cells are those of different rows."""
    return np.column_stack([rng.choice(X[:, j], n_rows) for j in range(X.shape[1])])


PLANTS = {"moved": far, "shuffled": shuffled}


def mixed(normal: np.ndarray, odd: np.ndarray, rng) -> Planted:
    """Both together in a random order, seven tenths for training."""
    X = np.concatenate([normal, odd])
    y = np.repeat([0, 1], [len(normal), len(odd)])
    order = rng.permutation(len(X))
    X, y, half = X[order], y[order], int(0.7 * len(X))
    return Planted(X[:half], y[:half], X[half:], y[half:])


def tasks(shares, seed: int):
    """Name, kind of outlier, share and rows of each task."""
    rng = np.random.default_rng(seed)
    for name, X in tables().items():
        yield name, "none", 0.0, mixed(X, X[:0], rng)
        for kind, plant in PLANTS.items():
            for share in shares:
                odd = plant(X, round(share * len(X) / (1 - share)), rng)
                yield name, kind, share, mixed(X, odd, rng)
    for name, (normal, others) in classes().items():
        yield name, "none", 0.0, mixed(normal, normal[:0], rng)
        for share in shares:
            n_odd = round(share * len(normal) / (1 - share))
            yield (
                name,
                "other class",
                share,
                mixed(normal, others[rng.permutation(len(others))[:n_odd]], rng),
            )
