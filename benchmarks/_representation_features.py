"""Codes as features: every method on every table with a target, at 8 and at 32 dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from _report import markdown_table
from _representation_data import CONTINUOUS, FEATURES, IMAGES, load
from _representation_measures import measures
from _representation_methods import METHODS, PEERS, skvae

KEYS = ["table", "d", "seed", "method"]
# No default, and for images alone: beside the others, but not among the ranks.
ASIDE = {"neighbors": partial(skvae, penalty="neighbors")}
HERE = METHODS | ASIDE
ORDER, COMPARED = [*HERE, *PEERS], [*METHODS, *PEERS]
SIZES, SEEDS = (8, 32), 5
# Fewer of those that take most of the time.
FEWER_SEEDS = {"mnist": 2, "pbmc": 3, "adult": 3, "mushroom": 3}
RANKED = {"knn": "5-NN", "logistic": "logistic", "trust": "trustworthiness", "r2": "R2"}
NOTE = """
Half of the rows to learn from and half to judge on, at most 2,500 each, of MNIST 10,000 and
3,000; another split per seed. All figures are of the judged rows: accuracy of 5 nearest neighbours
on the codes as they come, of a logistic regression on standardised codes, trustworthiness of 12
neighbours on at most 1,000 rows, explained share R2 of the prepared cells after the way there and
back.

Peers are given images centred and over one number, counts as logarithms of one plus counts over
the size of the row, and tables standardised with medians in their holes and one column per
category. Ours is given the rows as they are, with `likelihood="negative_binomial"`
for counts, and its R2 is of expected prepared rows, holes and unseen categories left out for all.
Kernel PCA (radial, `gamma` 1 over the columns) learns from at most 2,500 rows. UMAP has its
defaults, and no way back that takes less than minutes at these sizes. The autoencoder has
the widths of ours, mean squared error, Adam; pythae's VAE its default networks without the last
sigmoid (which no standardised column is fitted by), mean squared error; both as many epochs and as
large batches as ours, and the best of the held-out epochs. A size is left out where the prepared
table is no wider. `neighbors` is ours with `penalty="neighbors"`, for images alone and not among
the ranks.
"""


def cases(chosen) -> Iterator[dict]:
    names = chosen.tables or list(FEATURES)
    # Seed by seed, so that what there is after an interruption is balanced.
    for seed in chosen.seeds if chosen.seeds is not None else range(SEEDS):
        for table in [name for name in FEATURES if name in names]:
            if chosen.seeds is None and seed >= FEWER_SEEDS.get(table, SEEDS):
                continue
            for d in SIZES:
                for method in ORDER:
                    if method in ASIDE and FEATURES[table][0] != IMAGES:
                        continue
                    yield dict(zip(KEYS, [table, d, seed, method]))


class Loaded:
    """The case of last time, kept while it serves."""

    place, case = None, None

    def __call__(self, table: str, chosen, seed: int):
        if self.place != (table, seed):
            self.case = load(table, chosen.data, seed, chosen.quick)
            self.place = (table, seed)
        return self.case


LOADED = Loaded()


def measure(chosen, place: dict) -> dict | None:
    d, seed, method = place["d"], place["seed"], place["method"]
    case = LOADED(place["table"], chosen, seed)
    if d >= case.prepare(case.train[:2]).shape[1]:
        return None
    if method in PEERS:
        return measures(case, chosen.peers(method, case, d, seed))
    return measures(case, HERE[method](case, d, seed))


# -- report ---------------------------------------------------------------------------------------


def report(results: pd.DataFrame) -> dict[str, list[str]]:
    results = results.iloc[pd.Index(FEATURES).get_indexer(results["table"]).argsort(kind="stable")]
    lines = NOTE.strip().split("\n")
    means = results.groupby(["table", "d", "method"])[list(RANKED)].mean()
    return {
        "Features": [*lines, "", *_ranks(means), *_figures(results), *_likelihoods(results)],
    }


def _ranks(means: pd.DataFrame) -> list[str]:
    """Mean rank and number of first places, over the tables that all methods did."""
    rows = []
    means = means.drop(index=list(ASIDE), level="method", errors="ignore")
    for d, part in [(None, means), *means.groupby("d")]:
        cells: dict[str, list[str]] = {}
        for measure in RANKED:
            wide = part[measure].unstack("method").dropna(axis=1, how="all").dropna()
            ranks = wide.rank(axis=1, ascending=False)
            first = (ranks == ranks.min(axis=1).to_numpy()[:, None]).sum()
            for method in COMPARED:
                known = method in ranks
                text = (
                    f"{ranks[method].mean():.2f} ({first[method]}/{len(ranks)})" if known else ""
                )
                cells.setdefault(method, []).append(text)
        label = "8 and 32" if d is None else str(d)
        rows += [[label, method, *texts] for method, texts in cells.items()]
    head = ["d", "method", *RANKED.values()]
    title = "Mean rank over tables, 1 the best, and on how many a method is first:"
    return [title, "", *markdown_table(head, rows), ""]


def _figures(results: pd.DataFrame) -> list[str]:
    lines = []
    for (table, d), part in results.groupby(["table", "d"], sort=False):
        grouped = part.groupby("method")
        rows = [
            _row(method, grouped.get_group(method)) for method in ORDER if method in grouped.groups
        ]
        head = ["method", "seeds", *RANKED.values(), "fit, s", "transform, s"]
        lines += [f"{table}, d = {d}, means over seeds ± their standard errors:", ""]
        lines += [*markdown_table(head, rows), ""]
    return lines


def _row(method: str, part: pd.DataFrame) -> list[str]:
    texts = [with_error(part[name]) for name in RANKED]
    return [method, str(len(part)), *texts, f"{part['fit'].mean():.2f}",
            f"{part['transform'].mean():.4f}"]  # fmt: skip


def with_error(values: pd.Series) -> str:
    if values.isna().all():
        return ""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f}" + (f" ± {error:.3f}" if len(values) > 1 else "")


def _likelihoods(results: pd.DataFrame) -> list[str]:
    part = results[results["table"].isin(CONTINUOUS)].dropna(subset="log_likelihood")
    wide = part.pivot_table(
        index=["table", "d"], columns="method", values="log_likelihood", sort=False
    )
    wide = wide[[method for method in COMPARED if method in wide]]
    rows = [
        [name, str(d), *("below -100" if v < -100 else f"{v:.3f}" for v in line)]
        for (name, d), line in wide.iterrows()
    ]
    title = (
        "Log-likelihood of judged rows, nats per column (PCA as the probabilistic one; factor "
        "analysis gives no noise to pixels that hardly vary in its training rows):"
    )
    return [title, "", *markdown_table(["table", "d", *wide.columns], rows), ""]
