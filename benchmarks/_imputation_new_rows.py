"""Rows with gaps after a fit to a table without any: errors and intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

NOTE = (
    "VAEImputer fitted to two thirds of a table without gaps, 1,000 rows at most, and 500 other "
    "rows at most, of which cells are hidden. `rel` is the error over that of the mean or mode of "
    "the seen cells, weighted by cells; `coverage` that of 90 % intervals."
)
MOST_FITTED, MOST_NEW = 1000, 500


def table_of(
    names: Iterable[str],
    load: Callable,
    mechanisms: dict[str, Callable],
    measures: Callable,
    folder: Path,
    rates: Iterable[float],
    seeds: Iterable[int],
) -> pd.DataFrame:
    """One line per table, mechanism and rate: means over the seeds."""
    from skvae import VAEImputer

    lines = []
    for name in names:
        whole = load(name, folder)
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(whole))
            n = min(MOST_FITTED, 2 * len(whole) // 3)
            imputer = VAEImputer(unknown="missing", random_state=seed)
            imputer.fit(whole.iloc[order[:n]])
            new = whole.iloc[order[n : n + MOST_NEW]].reset_index(drop=True)
            for mechanism, hide in mechanisms.items():
                for rate in rates:
                    mask = hide(new, rate, np.random.default_rng([seed, *map(ord, name)]))
                    mask[mask.all(1), 0] = False
                    hidden = new.copy()
                    for j, column in enumerate(new):
                        hidden[column] = hidden[column].mask(mask[:, j])
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        bounds = imputer.predict_interval(hidden)
                        found = measures(new, mask, imputer.transform(hidden), None, bounds)
                    case = {"table": name, "gaps": f"{mechanism} {rate:.0%}"}
                    lines.append(case | {key: found[key] for key in ("rel", "coverage")})
                    print(lines[-1], flush=True)
    return pd.DataFrame(lines).groupby(["table", "gaps"], sort=False).mean().reset_index()
