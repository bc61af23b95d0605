"""Labelled tables that tasks of outlier detection are made of: rows and classes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from _representation_data import mnist, news
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)

REMASKER = "imputation/remasker/"


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are, everything else as categories."""
    table = table.rename(columns=str).reset_index(drop=True)
    others = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.astype(dict.fromkeys(others, "category"))


def codes(column: pd.Series) -> np.ndarray:
    """Names as numbers, numbers as they are."""
    numbers = pd.api.types.is_numeric_dtype(column)
    return column.to_numpy() if numbers else pd.factorize(column, sort=True)[0]


def bundled(load: Callable):
    return lambda folder: load(return_X_y=True)


def last(path: str, *, start: int = 0, n_rows: int | None = None, **options):
    """A file whose last column is the class."""

    def load(folder: Path):
        table = pd.read_csv(folder / path, **options)
        table = table if n_rows is None else table.sample(n_rows, random_state=0)
        return typed(table.iloc[:, start:-1]), codes(table.iloc[:, -1])

    return load


def digits(folder: Path):
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def mnist14(folder: Path):
    """The first 4,000 digits, four pixels in one."""
    X, y = (part[:4000] for part in mnist(folder))
    X = (X / 255.0).astype(np.float32)
    return X.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196), y


def bank(folder: Path):
    with zipfile.ZipFile(folder / "mixed/bank+marketing.zip") as outer:
        inner = zipfile.ZipFile(io.BytesIO(outer.read("bank.zip")))
    table = pd.read_csv(inner.open("bank-full.csv"), sep=";").sample(12000, random_state=0)
    return typed(table.iloc[:, :-1]), codes(table["y"])


def colic(folder: Path):
    """Without the number of the hospital, and what takes more values than a category should."""
    table = pd.read_csv(folder / "mixed/horse-colic.csv", header=None, na_values="?")
    X = table.drop(columns=[2, 27])
    kept = [j for j in X if X[j].nunique() > 1 and (X[j].nunique() < 40 or X[j].dtype.kind == "f")]
    return typed(X[kept]), table.iloc[:, -1].to_numpy()


def titanic(folder: Path):
    table = pd.read_csv(folder / "mixed/titanic.csv")
    return typed(table.drop(columns=["survived", "alive", "deck"])), table["survived"].to_numpy()


def penguins(folder: Path):
    table = pd.read_csv(folder / "mixed/penguins.csv")
    return typed(table.drop(columns=["species", "island"])), codes(table["species"])


def breast_categories(folder: Path):
    path = folder / "mixed/breast-cancer.csv"
    table = pd.read_csv(path, header=None, quotechar="'", na_values="?")
    return typed(table.iloc[:, :-1]), pd.factorize(table.iloc[:, -1])[0]


def parkinsons(folder: Path):
    table = pd.read_csv(folder / REMASKER / "parkinsons.csv")
    return table.drop(columns=[table.columns[0], "status"]), table["status"].to_numpy()


def _wine(folder: Path, colour: str):
    path = folder / f"imputation/winequality-{colour}.csv"
    table = pd.read_csv(path, sep=None, engine="python", header=None)
    return table.iloc[:, :-1].add_prefix("c"), table.iloc[:, -1].to_numpy()


def wine_colour(folder: Path):
    parts = [_wine(folder, colour)[0] for colour in ("red", "white")]
    return pd.concat(parts, ignore_index=True), np.repeat([0, 1], [len(part) for part in parts])


def diamonds(folder: Path):
    table = pd.read_csv(folder / "mixed/diamonds.csv").sample(10000, random_state=0)
    return typed(table.drop(columns=["cut"])), codes(table["cut"])


def autos(folder: Path):
    """Shapes of the body as classes."""
    table = pd.read_csv(folder / "mixed/auto_imports.csv", header=None, na_values="?")
    return typed(table.drop(columns=[6, 1])), codes(table[6])


def mpg(folder: Path):
    table = pd.read_csv(folder / "mixed/mpg.csv", na_values="?")
    return table.select_dtypes("number"), codes(table["origin"])


def nursery(folder: Path):
    lines = (folder / "mixed/arff/nursery.arff").read_text().splitlines()
    start = [line.lower().startswith("@data") for line in lines].index(True) + 1
    rows = [line.replace("'", "") for line in lines[start:] if line.strip() and line[0] != "%"]
    text = io.StringIO("\n".join(rows))
    table = pd.read_csv(text, header=None, na_values="?", skipinitialspace=True)
    table = table.sample(6000, random_state=0)
    table = table[table[8] != "recommend"]
    return typed(table.iloc[:, :-1]), codes(table.iloc[:, -1])


def ecg(folder: Path):
    table = np.loadtxt(folder / "timeseries/ecg5000/ECG5000_TRAIN.txt")
    return table[:, 1:], table[:, 0].astype(int)


def california(folder: Path):
    """Places by the ocean as classes."""
    table = pd.read_csv(folder / "imputation/california_housing.csv")
    return table.drop(columns=["ocean_proximity"]), codes(table["ocean_proximity"])


def words(folder: Path):
    X, y = news(folder)
    return (X.to_numpy() > 0).astype(float), y


def concrete(folder: Path):
    """Young, usual and old samples as classes."""
    table = pd.read_csv(folder / REMASKER / "compression.csv")
    age = table["Age (day)"]
    return table.iloc[:, 1:].drop(columns=["Age (day)"]), (age > 28) + 2 * (age < 14)


def diabetes(folder: Path):
    """Sexes as classes."""
    X, _ = load_diabetes(return_X_y=True)
    return np.delete(X, 1, 1), (X[:, 1] > 0).astype(int)


def remasker(name: str):
    """The first column numbers the rows."""

    def load(folder: Path):
        table = pd.read_csv(folder / REMASKER / f"{name}.csv")
        return table.iloc[:, 1:-1].reset_index(drop=True), table.iloc[:, -1].to_numpy()

    return load


ADULT = {"header": None, "na_values": "?", "skipinitialspace": True, "n_rows": 12000}
SOURCES: dict[str, Callable] = {
    "iris": bundled(load_iris),
    "wine": bundled(load_wine),
    "digits": digits,
    "mnist14": mnist14,
    "htru": last("mixed/HTRU_2.csv", header=None),
    "adult": last("mixed/adult-train.csv", **ADULT),
    "bank": bank,
    "german": last("mixed/german.csv", header=None),
    "colic": colic,
    "titanic": titanic,
    "penguins": penguins,
    "breastcat": breast_categories,
    **{
        name: remasker(name)
        for name in ("blood", "credit", "health", "obesity", "raisin", "yeast")
    },
    "parkinsons": parkinsons,
    "wqred": lambda folder: _wine(folder, "red"),
    "wqwhite": lambda folder: _wine(folder, "white"),
    "winecolour": wine_colour,
    "diamonds": diamonds,
    "autos": autos,
    "mpg": mpg,
    "nursery": nursery,
    "ecg": ecg,
    "california": california,
    "wdbc": bundled(load_breast_cancer),
    "news": words,
    "concrete": concrete,
    "diabetes": diabetes,
}
