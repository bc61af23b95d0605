"""What the defaults reach beside linear models, and whether the fast loop gives anything away.

    python benchmarks/foundation.py

Results go to ``benchmarks/results/foundation.md``, whose other sections say what tests hold;
about four minutes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, one_thread

from _report import cpu_name, markdown_table, paragraphs, versions, write  # isort: skip

import numpy as np  # isort: skip
from sklearn import datasets  # isort: skip
from sklearn.decomposition import PCA, FactorAnalysis  # isort: skip
from sklearn.model_selection import train_test_split  # isort: skip
from sklearn.neighbors import KNeighborsClassifier  # isort: skip
from sklearn.preprocessing import StandardScaler  # isort: skip

N_SPLITS, N_SEEDS, MAX_ITER, N_COMPONENTS = 5, 12, 60, 8
TABLES = {
    "digits": datasets.load_digits,
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
}
LINEAR, LOOP = "Beside linear models", "The fast loop and automatic differentiation"
HEAD = [
    "# What the foundation shows",
    "",
    "The first two sections are written by `python benchmarks/foundation.py`; what the others say",
    "is held by tests.",
]
TITLES = [LINEAR, LOOP, "Exactness", "Conformance", "Stacks, determinism, bad input"]


def halves(name: str, seed: int) -> list[np.ndarray]:
    """Rows to train on and to judge by, and their classes."""
    X, y = TABLES[name](return_X_y=True)
    classes = y if len(np.unique(y)) <= 10 else None
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=len(X) // 2, random_state=seed, stratify=classes
    )
    varies = np.ptp(X, 0) > 0
    return [X[:, varies], X_test[:, varies], y, y_test]


def nearest(codes: np.ndarray, others: np.ndarray, y: np.ndarray, y_others: np.ndarray) -> float:
    return float(KNeighborsClassifier().fit(codes, y).score(others, y_others))


def beside_linear_models() -> list[str]:
    from skvae import VAETransformer

    rows, accuracies = [], []
    for name in ("digits", "breast cancer", "wine"):
        scores = []
        for seed in range(N_SPLITS):
            X, X_test, y, y_test = halves(name, seed)
            vae = VAETransformer(random_state=seed).fit(X)
            raw = VAETransformer(random_state=seed, calibrate=False).fit(X)
            scaler = StandardScaler().fit(X)
            white, white_test = scaler.transform(X), scaler.transform(X_test)
            linear = FactorAnalysis(N_COMPONENTS, max_iter=3000, random_state=0).fit(white)
            theirs = linear.score(white_test) - np.log(scaler.scale_).sum()
            scores.append([vae.score(X_test), raw.score(X_test), theirs])
            if name == "digits":
                pca = PCA(N_COMPONENTS, random_state=0).fit(X)
                pairs = [[coder.transform(part) for part in (X, X_test)] for coder in (vae, pca)]
                accuracies.append([nearest(*pair, y, y_test) for pair in pairs])
        below = sum(ours < theirs for ours, _, theirs in scores)
        rows.append([name, *(f"{mean:.2f}" for mean in np.mean(scores, 0)), str(below)])
        print(rows[-1], flush=True)
    ours, theirs = np.mean(accuracies, 0)
    ahead = sum(a > b for a, b in accuracies)
    header = ["table", "default", "without calibration", "factor analysis", "splits behind it"]
    return [
        *paragraphs(
            f"Half of the rows train, {N_SPLITS} splits, {N_COMPONENTS} components, without the "
            "columns that are constant there; mean log-likelihood of the other half, nats per row "
            "in the units of the columns."
        ),
        *markdown_table(header, rows),
        "",
        *paragraphs(
            f"Digits, 5-nearest-neighbour accuracy of the codes: {ours:.3f}, of PCA on the same "
            f"splits {theirs:.3f}; ours is ahead on {ahead} of {N_SPLITS}."
        ),
    ]


@contextmanager
def differentiated():
    """Let torch differentiate whatever is trained."""
    from skvae.networks import MLP

    by_hand = MLP.by_hand
    MLP.by_hand = lambda self, gradient_of: None
    try:
        yield
    finally:
        MLP.by_hand = by_hand


def fast_loop() -> list[str]:
    from skvae import VAETransformer

    def scores(name: str) -> np.ndarray:
        X, X_test, _, _ = halves(name, 0)
        shape = {"n_components": 4 if name == "wine" else N_COMPONENTS, "max_iter": MAX_ITER}
        fits = [VAETransformer(random_state=seed, **shape).fit(X) for seed in range(N_SEEDS)]
        return np.array([vae.score(X_test) for vae in fits])

    rows = []
    for name in TABLES:
        fast = scores(name)
        with differentiated():
            slow = scores(name)
        apart = fast - slow
        error = apart.std(ddof=1) / np.sqrt(N_SEEDS)
        found = f"{apart.mean():+.3f} ± {error:.3f}"
        rows.append([name, f"{slow.mean():.3f}", f"{fast.mean():.3f}", found])
        print(rows[-1], flush=True)
    return [
        *paragraphs(
            f"Held-out score, nats per row, of `VAETransformer({N_COMPONENTS}, "
            f"max_iter={MAX_ITER})` (4 components on wine), mean over {N_SEEDS} seeds, trained by "
            "torch's automatic differentiation and by the steps that are written out; the "
            "difference with its standard error."
        ),
        *markdown_table(["table", "differentiated", "written out", "difference"], rows),
        "",
        f"{versions()}. {cpu_name()}, one thread.",
    ]


def main() -> None:
    one_thread()
    warnings.simplefilter("ignore")
    sections = {LINEAR: beside_linear_models(), LOOP: fast_loop()}
    write(RESULTS / "foundation.md", HEAD, TITLES, sections)


if __name__ == "__main__":
    main()
