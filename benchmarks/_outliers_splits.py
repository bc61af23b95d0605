"""Rows to learn from and rows to judge, the same for every method, and as peers take them."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

ONE_CLASS, CONTAMINATED = "one-class", "contaminated"
PROTOCOLS = (ONE_CLASS, CONTAMINATED)


class Labelled(NamedTuple):
    """Rows, an array or a frame with categories and holes, and 1 where they are outliers."""

    X: Any
    y: np.ndarray


class Case(NamedTuple):
    """Training rows, rows to score, and which of these are outliers.

    ``test`` is None where the training rows themselves are scored.
    """

    train: Any
    test: Any
    y: np.ndarray

    def matrices(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Numbers standardised by the training rows, medians in holes, a column per category."""
        prepare = _preparation(self.train).fit(self.train)
        test = None if self.test is None else prepare.transform(self.test)
        return prepare.transform(self.train), test


def generator(table: str, seed: int) -> np.random.Generator:
    """Randomness that depends on the table and the seed alone."""
    return np.random.default_rng([seed, zlib.crc32(table.encode())])


def take(X, places: np.ndarray):
    """Rows of an array or of a frame."""
    return X.iloc[places].reset_index(drop=True) if hasattr(X, "iloc") else X[places]


def split(table: str, labelled: Labelled, protocol: str, seed: int) -> Case:
    """Half of the normal rows to train on and all others to score, or all rows for both."""
    X, y = labelled
    if protocol == CONTAMINATED:
        return Case(X, None, y)
    normal = generator(table, seed).permutation(np.flatnonzero(y == 0))
    half = len(normal) // 2
    test = np.r_[normal[half:], np.flatnonzero(y == 1)]
    return Case(take(X, normal[:half]), take(X, test), y[test])


def _preparation(X):
    if not isinstance(X, pd.DataFrame):
        return make_pipeline(FunctionTransformer(np.float64), StandardScaler())
    numbers = X.select_dtypes(["number", "bool"]).columns
    categories = X.columns.difference(numbers, sort=False)
    # A category that only a scored row has is a column that training rows leave at 0.
    levels = [list(X[name].cat.categories) for name in categories]
    columns = make_column_transformer(
        (SimpleImputer(strategy="median", keep_empty_features=True), numbers),
        (OneHotEncoder(categories=levels, handle_unknown="ignore"), categories),
        sparse_threshold=0,
    )
    return make_pipeline(columns, StandardScaler())
