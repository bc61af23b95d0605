"""Tables of ADBench: at most 5,000 rows, as many outliers among them as among all, or 20."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _outliers_splits import Labelled, generator

MOST_ROWS, LEAST_OUTLIERS = 5000, 20


def names(folder: Path) -> list[str]:
    files = (folder / "adbench").glob("*.npz")
    return sorted((file.stem for file in files), key=lambda name: int(name.split("_")[0]))


def load(folder: Path, name: str, seed: int) -> Labelled:
    """A table, other rows with each seed where it has more than enough."""
    with np.load(folder / "adbench" / f"{name}.npz") as file:
        X, y = file["X"].astype(float), file["y"].astype(int)
    if len(y) <= MOST_ROWS:
        return Labelled(X, y)
    rng = generator(name, seed)
    outliers, normal = (rng.permutation(np.flatnonzero(y == kind)) for kind in (1, 0))
    n_outliers = min(max(round(MOST_ROWS * y.mean()), LEAST_OUTLIERS), len(outliers))
    kept = np.sort(np.r_[outliers[:n_outliers], normal[: MOST_ROWS - n_outliers]])
    return Labelled(X[kept], y[kept])
