"""Scores: whether the density of the default suffers from codes that are good features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from _report import markdown_table
from _representation_data import DENSITIES, halves
from sklearn.decomposition import PCA, FactorAnalysis

KEYS = ["table", "seed", "method"]
SEEDS, D = 5, 8
# The same value in more than this share of the training rows: a column that a normal is
# infinitely narrow on, so that its density tells nothing.
TOO_OFTEN = 0.9
NOTE = """
Log-likelihood of unseen rows in nats per column, 8 components (one fewer than the columns where
there are 8 or fewer), half of the rows to learn from and at most 2,500, five splits. Columns with
one value in more than 90 % of the training rows are left out. `auto_noise` is the default but for
`Normal(scale="auto")`. The settings for density alone are the ordinary bound with one noise per
column or one for all, a bound of several draws, wider networks, and no noise on what the encoder
sees, with logarithms of the same columns; the last columns say by how much the default is above
(+) or below (-) the linear models and the best setting, itself included, and `auto_noise` the
latter.
"""


def cases(chosen) -> Iterator[dict]:
    for seed in chosen.seeds if chosen.seeds is not None else range(SEEDS):
        for table in [name for name in DENSITIES if name in (chosen.tables or DENSITIES)]:
            for method in ORDER:
                yield dict(zip(KEYS, [table, seed, method]))


def settings() -> dict[str, dict]:
    """The default, and what might be better for a density alone."""
    from skvae.likelihoods import Columnwise, Normal
    from skvae.objectives import ELBO, IWAE

    own, shared = (Columnwise(Normal(scale=scale)) for scale in ("column", "shared"))
    plain = {"objective": ELBO(beta=1.0), "view": None, "likelihood": own}
    return {
        "skvae": {},
        "auto_noise": {"likelihood": Columnwise(Normal(scale="auto"))},
        "own_noise": plain | {"view": "denoising"},
        "shared_noise": plain | {"view": "denoising", "likelihood": shared},
        "no_view": plain,
        "draws": plain | {"objective": IWAE(n_draws=8)},
        "wide": plain | {"hidden_layer_sizes": (256, 128)},
    }


OURS = ("skvae", "auto_noise", "own_noise", "shared_noise", "no_view", "draws", "wide")
LINEAR = {"factor_analysis": FactorAnalysis, "ppca": PCA}
ORDER = [*OURS, *LINEAR]


def measure(chosen, place: dict) -> dict | None:
    seed, method = place["seed"], place["method"]
    X = DENSITIES[place["table"]](chosen.data)
    train, test = (X[rows] for rows in halves(len(X), seed, *((300, 300) if chosen.quick else ())))
    kept = np.array([np.unique(c, return_counts=True)[1].max() for c in train.T])
    kept = kept <= TOO_OFTEN * len(train)
    train, test = train[:, kept], test[:, kept]
    n_columns = train.shape[1]
    d = min(D, n_columns - 1)
    if method in LINEAR:
        scale = train.std(0)
        model = LINEAR[method](d, random_state=seed).fit(train / scale)
        nats = model.score_samples(test / scale) - np.log(scale).sum()
    else:
        from skvae import VAETransformer

        model = VAETransformer(n_components=d, random_state=seed, **settings()[method])
        nats = model.fit(train).score_samples(test)
    figures = {"log_likelihood": nats.mean() / n_columns, "median": np.median(nats) / n_columns}
    return {name: round(float(value), 4) for name, value in figures.items()}


# -- report ---------------------------------------------------------------------------------------


def report(results: pd.DataFrame) -> dict[str, list[str]]:
    wide = results.pivot_table(
        index="table", columns="method", values="log_likelihood", sort=False
    )
    wide = wide.loc[[table for table in DENSITIES if table in wide.index]]
    wide = wide[[method for method in ORDER if method in wide]]
    head = ["table", *wide.columns]
    ours = [method for method in OURS if method in wide]
    gaps = pd.DataFrame(index=wide.index)
    if "skvae" in wide:
        for name in [name for name in LINEAR if name in wide]:
            gaps[f"above {name}"] = wide["skvae"] - wide[name]
        if ours[1:]:
            gaps["above the best"] = wide["skvae"] - wide[ours].max(axis=1)
        if "auto_noise" in wide:
            gaps["auto_noise above it"] = wide["auto_noise"] - wide[ours].max(axis=1)
    rows = [
        [name, *(f"{v:.3f}" for v in wide.loc[name]), *(f"{v:+.3f}" for v in gaps.loc[name])]
        for name in wide.index
    ]
    lines = [*NOTE.strip().split("\n"), ""]
    lines += markdown_table([*head, *gaps.columns], rows) + [""]
    for name in gaps:
        least = 0.0 if name.removeprefix("above ") in LINEAR else -0.03
        share = f"{(gaps[name] >= least).sum()} of {gaps[name].notna().sum()} tables"
        lines += [
            f"{name}: at least {least:g} on {share}, {gaps[name].mean():+.3f} on average.",
            "",
        ]
    return {"Scores": lines}
