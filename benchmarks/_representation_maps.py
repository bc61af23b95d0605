"""Maps: two dimensions, unseen rows, beside UMAP; and what the plane decodes to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from _report import markdown_table
from _representation_features import LOADED, with_error
from _representation_measures import measures
from _representation_methods import Codes, autoencoder, pca, skvae

KEYS = ["table", "seed", "method"]
TABLES, SEEDS = ("digits", "mnist"), 3
N_WARM = 100
SHOWN = {"knn": "5-NN", "logistic": "logistic", "trust": "trustworthiness", "r2": "R2"}
NOTE = """
Half of digits, and 10,000 rows of MNIST, to learn from; unseen rows judged, three splits.
`neighbors` is `VAETransformer(2, penalty="neighbors")`, which keeps its training rows as UMAP
does; `encoder` is the same with `NeighborGraph(keep_neighbors=False)`. Each has
fitted a few rows in the same process before, so that nobody pays for what is compiled or imported;
`transform` is per unseen row, all of them in one call. CPU time of one thread. On a quieter
machine an earlier version fitted MNIST in 2.3 s where UMAP took 7.5.
"""


def neighbors(case, seed: int) -> Codes:
    return skvae(case, 2, seed, penalty="neighbors")


def encoder(case, seed: int) -> Codes:
    from skvae.penalties import NeighborGraph

    return skvae(case, 2, seed, penalty=NeighborGraph(keep_neighbors=False))


OURS = {"neighbors": neighbors, "encoder": encoder}
HERE = {
    **OURS,
    "skvae": lambda case, seed: skvae(case, 2, seed),
    "pca": lambda case, seed: pca(case, 2, seed),
    "autoencoder": lambda case, seed: autoencoder(case, 2, seed),
}
ORDER = [*HERE, "umap"]
# What nobody takes for a map, where it takes most of a minute.
LEFT_OUT = {("mnist", "skvae")}


def cases(chosen) -> Iterator[dict]:
    for table in [name for name in TABLES if name in (chosen.tables or TABLES)]:
        for seed in chosen.seeds if chosen.seeds is not None else range(SEEDS):
            for method in ORDER:
                if (table, method) not in LEFT_OUT:
                    yield dict(zip(KEYS, [table, seed, method]))


def measure(chosen, place: dict) -> dict | None:
    method, seed = place["method"], place["seed"]
    if method in OURS and not find_spec("skvae.penalties"):
        return None
    case = LOADED(place["table"], chosen, seed)
    if method == "umap":
        return measures(case, chosen.peers(method, case, 2, seed))
    few = case._replace(train=case.train[:N_WARM], y_train=case.y_train[:N_WARM])
    HERE[method](few, seed)
    return measures(case, HERE[method](case, seed))


# -- report ---------------------------------------------------------------------------------------


def report(results: pd.DataFrame) -> dict[str, list[str]]:
    lines = [*NOTE.strip().split("\n"), ""]
    for table, part in results.groupby("table", sort=False):
        grouped = part.groupby("method")
        n_rows = {"digits": 899, "mnist": 3000}[table]
        rows = []
        for method in [name for name in ORDER if name in grouped.groups]:
            group = grouped.get_group(method)
            micro = f"{group['transform'].mean() / n_rows * 1e6:.1f}"
            texts = [with_error(group[name]) for name in SHOWN]
            rows.append([method, str(len(group)), *texts, f"{group['fit'].mean():.1f}", micro])
        head = ["method", "splits", *SHOWN.values(), "warm fit, s", "transform, µs per row"]
        lines += [f"{table}:", "", *markdown_table(head, rows), ""]
    return {"Maps": lines}


# -- picture --------------------------------------------------------------------------------------


def picture(chosen, path: Path, n_steps: int = 20) -> None:
    """Codes of unseen rows, and what the plane decodes to."""
    import matplotlib.pyplot as plt

    from skvae import VAETransformer

    figure, axes = plt.subplots(2, 2, figsize=(10, 10), layout="constrained")
    for (left, right), table in zip(axes, TABLES):
        case = LOADED(table, chosen, 0)
        model = VAETransformer(2, penalty="neighbors", random_state=0).fit(case.train)
        codes = model.transform(case.test)
        low, high = codes.min(0), codes.max(0)
        left.scatter(*codes.T, c=case.y_test, s=3, cmap="tab10")
        for digit in range(10):
            place = np.median(codes[case.y_test == digit], axis=0)
            left.text(*place, str(digit), size=14, weight="bold", ha="center", va="center")
        left.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=f"{table}: unseen rows")
        x, y = (np.linspace(a, b, n_steps) for a, b in zip(low, high))
        plane = np.stack(np.meshgrid(x, y[::-1]), -1).reshape(-1, 2)
        images = np.asarray(model.inverse_transform(plane))
        side = round(np.sqrt(images.shape[1]))
        # A blank line around each, an eighth as wide as the image.
        margins = [(0, 0), (0, 0), (0, side // 8), (0, side // 8)]
        mosaic = np.pad(images.reshape(n_steps, n_steps, side, side), margins)
        mosaic = mosaic.swapaxes(1, 2).reshape(n_steps * mosaic.shape[-1], -1)
        right.imshow(mosaic, cmap="gray_r", vmin=0, vmax=1)
        right.set(xticks=[], yticks=[], title=f"{table}: inverse_transform of the plane")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
