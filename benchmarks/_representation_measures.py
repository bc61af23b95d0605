"""How much codes tell: of a target, of neighbours, and of the rows themselves."""

from __future__ import annotations

import warnings

import numpy as np
from _representation_data import Case
from _representation_methods import Codes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MOST_JUDGED = 1000


def measures(case: Case, codes: Codes) -> dict[str, float]:
    found = {
        "knn": knn(case, codes),
        "logistic": logistic(case, codes),
        "trust": trust(case, codes),
        "r2": r2(case, codes),
        "log_likelihood": log_likelihood(case, codes),
    }
    seconds = dict(zip(("fit", "transform"), codes.seconds))
    return {k: round(float(v), 4) for k, v in (found | seconds).items()}


def knn(case: Case, codes: Codes) -> float:
    model = KNeighborsClassifier(5).fit(codes.train, case.y_train)
    return model.score(codes.test, case.y_test)


def logistic(case: Case, codes: Codes) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(codes.train, case.y_train).score(codes.test, case.y_test)


def trust(case: Case, codes: Codes) -> float:
    rows = case.prepare(case.test)[:MOST_JUDGED]
    return trustworthiness(rows, codes.test[:MOST_JUDGED], n_neighbors=12)


def r2(case: Case, codes: Codes) -> float:
    """Explained share of the squares of the prepared cells that are no holes."""
    if codes.back is None:
        return np.nan
    truth = case.prepare(case.test)
    weight = np.broadcast_to(case.observed, truth.shape)
    error = (truth - codes.back) ** 2 - codes.back_variance
    return 1.0 - np.sum(weight * error) / np.sum(weight * truth**2)


def log_likelihood(case: Case, codes: Codes) -> float:
    """Nats per column."""
    if codes.log_likelihood is None:
        return np.nan
    return codes.log_likelihood.mean() / case.test.shape[1]
