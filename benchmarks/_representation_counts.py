"""Clusters of single cells in the codes of counts, beside those of scVI and of PCA.

    python benchmarks/_representation_counts.py --data ../shared/data --scvi-python PYTHON

``--scvi-python`` is the interpreter of an environment with scvi-tools; without it scVI is left
out.  Without ``--data`` or ``SKVAE_DATA`` nothing runs.  Results go to
``benchmarks/results/representation_counts.csv`` and ``.md``, one line per method and seed; lines
of earlier runs are kept, and replaced where the same thing is measured again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from _report import markdown_table
from scipy.sparse import csr_matrix, save_npz
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.likelihoods import NegativeBinomial

RESULTS = Path(__file__).parent / "results" / "representation_counts"
FILE = "derived/10X_PBMC_top2000.npz"
PEER = Path(__file__).parent / "_representation_counts_peer.py"
KEYS = ["method", "seed"]
N_COMPONENTS = 10
CLUSTERINGS = range(5)
# A fifth of the default: the table says what the others are good for.
MAX_ITER = 40


def load(folder: Path) -> tuple[csr_matrix, np.ndarray]:
    parts = np.load(folder / FILE)
    matrix = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), parts["shape"])
    return matrix.astype(np.float64), parts["y"]


# -- methods: counts and a seed to codes, CPU seconds and seconds -----------------------------


def pca(X: csr_matrix, seed: int) -> np.ndarray:
    """PCA of log1p of counts of rows scaled to the median total."""
    total = np.asarray(X.sum(1))
    logs = np.log1p(X.toarray() / total * np.median(total))
    return PCA(N_COMPONENTS, random_state=seed).fit_transform(logs)


def vae(X: csr_matrix, seed: int, likelihood="negative_binomial", **params) -> np.ndarray:
    """The defaults but for scVI's number of components."""
    return VAETransformer(
        N_COMPONENTS, likelihood=likelihood, random_state=seed, **params
    ).fit_transform(X)


def vae_short(X: csr_matrix, seed: int) -> np.ndarray:
    """The same with fewer epochs."""
    return vae(X, seed, max_iter=MAX_ITER)


def vae_without_sizes(X: csr_matrix, seed: int) -> np.ndarray:
    """The same where the code must tell the size of a row."""
    return vae(X, seed, NegativeBinomial(row_sizes=False), max_iter=MAX_ITER)


def scvi(X: csr_matrix, seed: int, python: str) -> tuple[np.ndarray, float, float]:
    """scVI with its defaults, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        counts, codes = Path(folder) / "counts.npz", Path(folder) / "codes.npy"
        save_npz(counts, X)
        arguments = [python, PEER, str(seed), str(N_COMPONENTS), counts, codes]
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"scVI failed: {done.stderr[-2000:]}")
        cpu, wall = map(float, done.stdout.split()[-2:])
        return np.load(codes), cpu, wall


METHODS = {
    "pca of log1p": pca,
    "vae": vae,
    "vae, 40 epochs": vae_short,
    "vae, 40 epochs, no sizes": vae_without_sizes,
}
ORDER = ["vae", "vae, 40 epochs", "scvi", "pca of log1p", "vae, 40 epochs, no sizes"]


def codes_of(method: str, X: csr_matrix, seed: int, python: str | None):
    if method == "scvi":
        return None if python is None else scvi(X, seed, python)
    started = time.process_time(), time.perf_counter()
    codes = METHODS[method](X, seed)
    return codes, time.process_time() - started[0], time.perf_counter() - started[1]


# -- measures ---------------------------------------------------------------------------------


def measures(codes: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Agreement of clusters with cell types, the same clusterings for all methods."""
    n_types = len(np.unique(y))
    standard = StandardScaler().fit_transform(codes)

    def agreement(make, rows) -> float:
        return float(
            np.mean([adjusted_rand_score(y, make(s).fit_predict(rows)) for s in CLUSTERINGS])
        )

    return {
        "ari_kmeans": agreement(lambda s: KMeans(n_types, n_init=10, random_state=s), codes),
        "ari_mixture": agreement(
            lambda s: GaussianMixture(n_types, n_init=3, reg_covar=1e-4, random_state=s), standard
        ),
        "knn": float(cross_val_score(KNeighborsClassifier(15), codes, y, cv=5).mean()),
    }


def write(results: pd.DataFrame, path: Path, shape: tuple[int, int]) -> None:
    path.parent.mkdir(exist_ok=True)
    results.to_csv(path.with_suffix(".csv"), index=False)
    figures = ["ari_kmeans", "ari_mixture", "knn", "cpu", "seconds"]
    cells = []
    for method in (m for m in ORDER if m in set(results["method"])):
        part = results[results["method"] == method]
        means = [f"{part[name].mean():.3f}" for name in figures[:3]]
        times = [f"{part[name].mean():.0f}" for name in figures[3:]]
        cells.append([method, str(len(part)), *means, *times])
    lines = [
        "# Codes of counts",
        "",
        f"Single cells of blood (10X PBMC), {shape[0]} cells and {shape[1]} genes, as raw counts "
        f"in a sparse matrix; {N_COMPONENTS} components. `ari_kmeans` and `ari_mixture`: "
        "adjusted Rand index of the labelled cell types with clusters by k-means of the codes as "
        "they are, and by a Gaussian mixture of the standardised codes, as many clusters as "
        f"types, means over {len(CLUSTERINGS)} seeds of the clusterer. `knn`: accuracy of 15 "
        "neighbours, five-fold. `cpu`: CPU seconds of fit and transform on one thread; "
        "`seconds`: those of the clock, on a machine that others use. Codes see all cells and "
        f'no label. `vae` is `VAETransformer({N_COMPONENTS}, likelihood="negative_binomial")`, '
        f"`40 epochs` with `max_iter={MAX_ITER}`, `no sizes` with "
        "`NegativeBinomial(row_sizes=False)`; scVI that of scvi-tools 1.4.2 with its defaults. "
        "Means over seeds.",
        "",
        *markdown_table(["method", "seeds", *figures], cells),
    ]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--scvi-python", help="interpreter that can import scvi")
    parser.add_argument("--methods", nargs="*", default=ORDER, choices=ORDER)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if chosen.data is None:
        print("representation_counts: left out, it needs --data or SKVAE_DATA")
        return
    torch.set_num_threads(1)
    X, y = load(Path(chosen.data))
    earlier = chosen.out.with_suffix(".csv")
    lines = pd.read_csv(earlier).to_dict("records") if earlier.exists() else []
    for seed in chosen.seeds:
        for method in chosen.methods:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = codes_of(method, X, seed, chosen.scvi_python)
                if found is None:
                    print(f"{method}: left out, --scvi-python is not given")
                    continue
                codes, cpu, seconds = found
                line = {"method": method, "seed": seed, **measures(codes, y)}
            line |= {"cpu": round(cpu, 1), "seconds": round(seconds, 1)}
            print(line, flush=True)
            lines.append(line)
            results = pd.DataFrame(lines).drop_duplicates(KEYS, keep="last")
            write(results.sort_values(KEYS).round(4), chosen.out, X.shape)


if __name__ == "__main__":
    main()
