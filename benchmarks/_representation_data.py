"""Tables with a target, their splits, and the numbers that peers are given of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.io import loadmat
from scipy.sparse import csr_matrix, issparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

IMAGES, COUNTS, TABLE = "images", "counts", "table"
MOST_TRAIN, MOST_TEST = 2500, 2500


class Case(NamedTuple):
    """Rows to learn from and rows to judge on, as given and as peers take them."""

    kind: str
    train: Any
    test: Any
    y_train: np.ndarray
    y_test: np.ndarray
    prepare: Callable[[Any], np.ndarray]
    # Of the prepared test rows: False where a cell was a hole.
    observed: np.ndarray

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        return self.prepare(self.train), self.prepare(self.test)


# -- loaders: folder -> rows, target ------------------------------------------------------------


def digits(folder: Path):
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def mnist(folder: Path):
    def read(name: str, start: int):
        return np.frombuffer(gzip.open(folder / "images/mnist" / name).read(), np.uint8, -1, start)

    X = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    return X, read("train-labels-idx1-ubyte.gz", 8)


def pbmc(folder: Path):
    f = np.load(folder / "derived/10X_PBMC_top2000.npz")
    return csr_matrix((f["data"], f["indices"], f["indptr"]), f["shape"]), f["y"]


def news(folder: Path):
    file = loadmat(folder / "counts/20news_w100.mat")
    return pd.DataFrame(file["documents"].T.toarray().astype(int)), file["newsgroups"].ravel()


def breast_cancer(folder: Path):
    return load_breast_cancer(return_X_y=True, as_frame=True)


def wine_white(folder: Path):
    table = pd.read_csv(folder / "imputation/winequality-white.csv", header=None)
    # Grades 3 and 9 have a handful of rows.
    return table.iloc[:, :-1], table.iloc[:, -1].clip(4, 8)


def _last_is_target(path: str, start: int = 0, **options):
    def load(folder: Path):
        table = pd.read_csv(folder / path, skipinitialspace=True, **options)
        return table.iloc[:, start:-1], table.iloc[:, -1]

    return load


def mushroom(folder: Path):
    lines = (folder / "mixed/arff/mushroom.arff").read_text().splitlines()
    start = [line.lower().strip() for line in lines].index("@data") + 1
    rows = [line.replace("'", "").split(",") for line in lines[start:] if "," in line]
    table = pd.DataFrame(rows).replace("?", np.nan)
    table = table.loc[:, table.nunique() > 1]
    return table.iloc[:, :-1], table.iloc[:, -1]


def ecg(folder: Path):
    path = folder / "timeseries/ecg5000/ECG5000_TRAIN.txt"
    table = pd.read_csv(path, sep=r"\s+", header=None)
    return table.iloc[:, 1:], table.iloc[:, 0].astype(int)


REMASKER = "imputation/remasker/"
FEATURES: dict[str, tuple[str, Callable]] = {
    "digits": (IMAGES, digits),
    "mnist": (IMAGES, mnist),
    "pbmc": (COUNTS, pbmc),
    "20news": (TABLE, news),
    "breast_cancer": (TABLE, breast_cancer),
    "obesity": (TABLE, _last_is_target(REMASKER + "obesity.csv", 1)),
    "wine_white": (TABLE, wine_white),
    "credit": (TABLE, _last_is_target(REMASKER + "credit.csv", 1)),
    "german": (TABLE, _last_is_target("mixed/german.csv", header=None)),
    "adult": (TABLE, _last_is_target("mixed/adult-train.csv", header=None, na_values="?")),
    "mushroom": (TABLE, mushroom),
    "ecg5000": (TABLE, ecg),
}
# A density in the units of the columns is the same thing for all methods here.
CONTINUOUS = ("digits", "mnist", "breast_cancer", "wine_white", "ecg5000")


def adbench(name: str):
    def load(folder: Path):
        return np.load(folder / "adbench" / f"{name}.npz")["X"].astype(float)

    return load


def _columns(path: str, chosen: slice, **options):
    return lambda folder: pd.read_csv(folder / path, **options).iloc[:, chosen].to_numpy(float)


DENSITIES: dict[str, Callable[[Path], np.ndarray]] = {
    "digits": lambda folder: digits(folder)[0],
    "breast_cancer": lambda folder: breast_cancer(folder)[0].to_numpy(),
    "wine": lambda folder: load_wine().data,
    "diabetes": lambda folder: np.delete(load_diabetes(scaled=False).data, 1, 1),
    "wine_white": lambda folder: wine_white(folder)[0].to_numpy(),
    "wine_red": _columns("imputation/winequality-red.csv", slice(0, -1), header=None),
    "concrete": _columns(REMASKER + "compression.csv", slice(1, -1)),
    "parkinsons": _columns(REMASKER + "parkinsons.csv", slice(1, -1)),
    "htru2": _columns("mixed/HTRU_2.csv", slice(0, -1), header=None),
    "magic": adbench("22_magic.gamma"),
    "satellite": adbench("30_satellite"),
    "pendigits": adbench("28_pendigits"),
}

# -- splits and preparation -----------------------------------------------------------------------


def halves(n_rows: int, seed: int, n_train=MOST_TRAIN, n_test=MOST_TEST):
    """Places of training and of test rows."""
    order = np.random.default_rng(seed).permutation(n_rows)
    return order[: n_rows // 2][:n_train], order[n_rows // 2 :][:n_test]


def load(name: str, folder: Path, seed: int, quick: bool = False) -> Case:
    """A table split in two; ``quick`` takes a tenth of MNIST and 600 rows of the others."""
    kind, loader = FEATURES[name]
    X, y = loader(folder)
    # Five thousand rows of adult and fewer of all others; of MNIST 10,000 and 3,000.
    caps = (10000, 3000) if name == "mnist" else (MOST_TRAIN, MOST_TEST)
    train, test = halves(len(y), seed, *((600, 600) if quick else caps))
    y = pd.factorize(y, sort=True)[0]
    if isinstance(X, pd.DataFrame):
        X = _typed(X)
    if name == "mnist":
        X = X[np.r_[train, test]] / np.float32(255)
        rows = X[: len(train)], X[len(train) :]
    else:
        rows = tuple(X.iloc[i].reset_index(drop=True) if hasattr(X, "iloc") else X[i]
                     for i in (train, test))  # fmt: skip
    prepare = PREPARATIONS[kind](rows[0])
    observed = np.ones((1, 1), dtype=bool)
    if isinstance(X, pd.DataFrame):
        observed = prepare.observed(rows[1])
    return Case(kind, *rows, y[train], y[test], prepare, observed)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are, everything else as categories."""
    table = table.rename(columns=str).reset_index(drop=True)
    others = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.astype(dict.fromkeys(others, "category"))


class _OneScale:
    """Centred columns over one number: the root of their mean variance."""

    def __init__(self, train):
        X = self._numbers(train)
        self.mean = X.mean(0)
        self.scale = np.sqrt(X.var(0).mean())

    @staticmethod
    def _numbers(X) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def __call__(self, X) -> np.ndarray:
        return (self._numbers(X) - self.mean) / self.scale


class _LogCounts(_OneScale):
    """Logarithms of one plus counts per as many counts as the median row has."""

    def __init__(self, train):
        self.size = float(np.median(_dense(train).sum(1)))
        super().__init__(train)

    def _numbers(self, X) -> np.ndarray:
        counts = _dense(X)
        total = np.maximum(counts.sum(1, keepdims=True), 1e-9)
        return np.log1p(counts / total * self.size)


def _dense(X) -> np.ndarray:
    return X.toarray().astype(np.float64) if issparse(X) else np.asarray(X, np.float64)


class _Standardised:
    """Numbers with medians in their holes and one column per category, standardised."""

    def __init__(self, train: pd.DataFrame):
        self.numeric = list(train.select_dtypes("number"))
        self.medians = train[self.numeric].median()
        self.categories = {
            name: column.cat.categories for name, column in train.select_dtypes("category").items()
        }
        X = self._numbers(train)
        # A category that no training row has tells a peer nothing.
        self.varies = X.std(0) > 0
        self.mean, self.scale = X.mean(0)[self.varies], X.std(0)[self.varies]

    def _numbers(self, table: pd.DataFrame) -> np.ndarray:
        numbers = table[self.numeric].astype(float).fillna(self.medians).to_numpy()
        hot = [
            (table[name].astype(object).to_numpy()[:, None] == levels.to_numpy()[None])
            for name, levels in self.categories.items()
        ]
        return np.concatenate([numbers, *hot], 1, dtype=np.float64)

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        return (self._numbers(table)[:, self.varies] - self.mean) / self.scale

    def observed(self, table: pd.DataFrame) -> np.ndarray:
        repeats = [1] * len(self.numeric) + [len(levels) for levels in self.categories.values()]
        names = [*self.numeric, *self.categories]
        return np.repeat(table[names].notna().to_numpy(), repeats, axis=1)[:, self.varies]


PREPARATIONS: dict[str, Callable] = {
    IMAGES: _OneScale,
    COUNTS: _LogCounts,
    TABLE: _Standardised,
}
