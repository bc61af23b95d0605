"""Synthesisers: each takes a table, a number of rows and a seed, and gives a table."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata


def vae(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    from skvae import VAESynthesizer

    return VAESynthesizer(random_state=seed).fit(train).sample(n)


def vae_no_critic(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    from skvae import VAESynthesizer

    return VAESynthesizer(critic=None, random_state=seed).fit(train).sample(n)


def vae_no_balance(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Independent rows."""
    from skvae import VAESynthesizer

    return VAESynthesizer(balance=None, random_state=seed).fit(train).sample(n)


def vae_transformer(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """What the representation's decoder draws, on the same margins."""
    from skvae import VAETransformer

    vae = VAETransformer(n_components=16, margins="rank", random_state=seed)
    return vae.fit(train).sample(n)


def independent(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Every column drawn from its own cells: perfect margins and nothing else."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({c: v.array[rng.integers(len(train), size=n)] for c, v in train.items()})


def copula(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Gaussian copula: empirical margins, correlations of normal scores.

    A category is an interval of the scores as wide as it is frequent, and a cell a random
    point in it; so is a repeated number.
    """
    rng = np.random.default_rng(seed)
    margins = {name: _ordered(column) for name, column in train.items()}
    scores = [_scores(column, *margins[name], rng) for name, column in train.items()]
    mixing = np.corrcoef(np.stack(scores))
    drawn = ndtr(rng.multivariate_normal(np.zeros(len(mixing)), mixing, size=n, method="eigh"))
    return pd.DataFrame(
        {name: _at(margins[name][1], u) for name, u in zip(train, drawn.T, strict=True)}
    ).astype(train.dtypes)


def _ordered(column: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """Place of each cell, and the cells in that order: categories by frequency."""
    if column.dtype == "category":
        place = (-column.value_counts()).rank(method="first")[column].to_numpy()
    else:
        place = column.to_numpy()
    return place, column.iloc[np.argsort(place, kind="stable")]


def _scores(column, place, ordered, rng) -> np.ndarray:
    # Equal places in random order are random points of their interval.
    order = rng.permutation(len(column))
    ranks = np.empty(len(column))
    ranks[order] = rankdata(place[order], method="ordinal")
    return ndtri((ranks - 0.5) / len(column))


def _at(ordered: pd.Series, u: np.ndarray):
    return ordered.array[np.minimum((u * len(ordered)).astype(int), len(ordered) - 1)]


METHODS = {
    "independent": independent,
    "copula": copula,
    "vae_transformer": vae_transformer,
    "vae_no_critic": vae_no_critic,
    "vae_no_balance": vae_no_balance,
    "vae": vae,
}
PEERS = {"tvae": "TVAE", "ctgan": "CTGAN"}


def run(method: str, train: pd.DataFrame, n: int, seed: int) -> tuple[pd.DataFrame, float]:
    """Sample in this process; the table, and CPU seconds."""
    started = time.process_time()
    table = METHODS[method](train, n, seed)
    return table, time.process_time() - started


def run_peer(
    method: str, train: pd.DataFrame, n: int, seed: int, python: Path
) -> tuple[pd.DataFrame, float]:
    """Sample in the environment of the peers; the table, and CPU seconds without imports."""
    categories = [name for name, column in train.items() if column.dtype == "category"]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("train.csv", "categories.json", "sample.csv")]
        train.to_csv(files[0], index=False)
        files[1].write_text(json.dumps(categories))
        script = Path(__file__).with_name("_synthesis_peer.py")
        command = [python, script, PEERS[method], seed, n, *files]
        ran = subprocess.run(
            list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True
        )
        table = pd.read_csv(
            files[2],
            dtype=dict.fromkeys(categories, str),
            keep_default_na=False,
            float_precision="round_trip",
        )
    levels = {name: train[name].dtype for name in categories}
    return table.astype(levels), float(ran.stdout.split()[-1])
