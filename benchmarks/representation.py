"""Codes as features and as maps, beside PCA, factor analysis, kernel PCA, UMAP and autoencoders.

    python benchmarks/representation.py --data ../shared/data --peers-python PYTHON

PYTHON is the interpreter of an environment with umap-learn and pythae; without it these two are
left out.  Without ``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to
``benchmarks/results/representation_<part>.csv``, one line per table, seed and method, and
``representation.md`` is written from them.  What is there already is not measured again, unless
``--again`` asks for it, so that an interrupted run goes on where it was:

    python benchmarks/representation.py --methods skvae --again    # ours alone, anew
    python benchmarks/representation.py --report                   # the page alone
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from types import ModuleType

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import _representation_features as features
import _representation_maps as maps
import _representation_scores as scores
import _representation_stability as stability
import numpy as np
import pandas as pd
from _report import paragraphs, versions, write
from _representation_methods import PEERS, Peers

RESULTS = Path(__file__).parent / "results" / "representation"
PARTS: dict[str, ModuleType] = {
    "features": features,
    "maps": maps,
    "scores": scores,
    "stability": stability,
}
ORDER = ["Features", "Maps", "Scores", "Stability"]
# What ``--methods skvae`` stands for: everything of ours, of every part.
OURS = {"skvae", *maps.OURS, *scores.OURS}


def known(path: Path, part: str) -> pd.DataFrame:
    file = path.with_name(f"{path.name}_{part}.csv")
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=PARTS[part].KEYS)


def keep(path: Path, part: str, line: dict) -> None:
    """Add a line to the file as it is now: others may be measuring beside this process."""
    keys = PARTS[part].KEYS
    lines = pd.concat([known(path, part), pd.DataFrame([line])], ignore_index=True)
    lines = lines.drop_duplicates(keys, keep="last").sort_values(keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines.to_csv(path.with_name(f"{path.name}_{part}.csv"), index=False)


def run(chosen, part: str) -> None:
    module = PARTS[part]
    done = {tuple(line) for line in known(chosen.out, part)[module.KEYS].to_numpy().tolist()}
    for place in module.cases(chosen):
        method = place["method"]
        if method not in chosen.methods or (tuple(place.values()) in done and not chosen.again):
            continue
        if method in PEERS and chosen.peers.python is None:
            continue
        started = time.time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figures = module.measure(chosen, place)
        if figures is None:
            continue
        print(place | figures, f"{time.time() - started:.0f} s", flush=True)
        keep(chosen.out, part, place | figures)


def page(path: Path) -> None:
    """Markdown from what the CSV files hold."""
    sections: dict[str, list[str]] = {}
    for part, module in PARTS.items():
        results = known(path, part)
        if len(results):
            sections |= module.report(results)
    head = ["# Representation", "", *paragraphs(f"CPU seconds of one thread. {versions()}.")]
    write(path.with_suffix(".md"), head, ORDER, sections)


def warm_up() -> None:
    """Nobody pays for importing torch, or for its first call, in the first line measured."""
    import torch

    from skvae import VAETransformer

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        VAETransformer(2, max_iter=2, random_state=0).fit(np.random.RandomState(0).randn(64, 4))


def main() -> None:
    every = list(dict.fromkeys(name for part in PARTS.values() for name in part.ORDER))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers-python", type=Path, help="has umap-learn and pythae")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--methods", nargs="*", default=every, choices=every)
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--quick", action="store_true", help="a few hundred rows of each table")
    parser.add_argument("--again", action="store_true", help="also what is in the files already")
    parser.add_argument("--report", action="store_true", help="write the page and measure nothing")
    parser.add_argument("--picture", action="store_true", help="draw the decoded plane as well")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if chosen.report:
        return page(chosen.out)
    if chosen.data is None:
        print("representation: left out, it needs --data or SKVAE_DATA")
        return
    chosen.data = Path(chosen.data)
    if "skvae" in chosen.methods:
        chosen.methods = {*chosen.methods, *OURS}
    if OURS & set(chosen.methods):
        warm_up()
    with Peers(chosen.peers_python) as chosen.peers:
        for part in chosen.parts:
            run(chosen, part)
    if chosen.picture:
        maps.picture(chosen, chosen.out.with_name(f"{chosen.out.name}_plane.png"))
    page(chosen.out)


if __name__ == "__main__":
    main()
