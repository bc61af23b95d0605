"""Likelihoods of tables as variants: heavy tails, and a family per column with a mixture prior."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import subspace_angles
from sklearn.metrics import roc_auc_score

from skvae import VAETransformer
from skvae.likelihoods import StudentT
from skvae.networks import MLP

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]

# ---------------------------------------------------------------------------------- heavy tails


def plane_with_outliers(n, seed):
    """Rows about a plane of three dimensions, but 5 % of them ten times as far in all columns."""
    rng = np.random.default_rng(seed)
    plane = np.random.default_rng(7).normal(size=(3, 10))
    X = rng.normal(size=(n, 3)) @ plane + 0.3 * rng.normal(size=(n, 10))
    is_outlier = rng.random(n) < 0.05
    X[is_outlier] = 10.0 * rng.normal(size=(is_outlier.sum(), 10))
    return X, plane, is_outlier


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_outliers_do_not_turn_the_plane_under_heavy_tails(seed):
    X, plane, _ = plane_with_outliers(600, seed)
    new, _, is_outlier = plane_with_outliers(600, seed + 50)
    degrees = {}
    for name, likelihood in (("normal", "normal"), ("student_t", StudentT(df=3.0))):
        vae = VAETransformer(
            3, network=MLP(()), likelihood=likelihood, objective="elbo", view=None,
            weight_decay=0.0, max_iter=50, random_state=seed,
        ).fit(X)  # fmt: skip
        degrees[name] = np.degrees(subspace_angles(vae.components_.T, plane.T)).max()
    # Over two seeds 1.6 and 33 degrees.
    assert degrees["student_t"] < 10.0
    assert degrees["normal"] > 25.0
    assert roc_auc_score(is_outlier, -vae.score_samples(new)) >= 0.98


# --------------------------------------------------------------------------- a family per column


def columns_of_two_factors(n, seed, apart=False):
    """Numbers, a price, counts, categories and levels of two factors, or each of its own."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))

    def told(a, b, noise=0.3):
        factors = rng.normal(size=(n, 2)) if apart else z
        return factors @ [a, b] + noise * rng.normal(size=n)

    return pd.DataFrame(
        {
            "length": told(1, 0),
            "width": told(1, -1),
            "price": np.exp(told(0, 1)),
            "visits": rng.poisson(np.exp(1.0 + told(0.8, 0, 0.0))),
            "kind": np.array(["a", "b", "c"])[np.digitize(told(0, 1), [-0.6, 0.6])],
            "size": pd.Categorical.from_codes(
                np.digitize(told(1, 0), [-0.6, 0.6]), ["s", "m", "l"], ordered=True
            ),
        }
    )


def errors_of_gaps(seed, apart=False):
    """Errors in gaps over those of the mean, and of the likeliest category; and the rows."""
    X = columns_of_two_factors(400, seed, apart)
    gone = np.random.default_rng(seed + 9).random(X.shape) < 0.2
    gone[0] = True
    gaps = X.astype({"visits": float}).mask(gone)
    vae = VAETransformer(2, prior="mixture", max_iter=25, random_state=seed).fit(gaps)
    filled, numbers, categories = vae.impute(gaps), [], []
    for name, missing in zip(X.columns, gone.T):
        true, found = X[name][missing], filled[name][missing]
        if name in ("kind", "size"):
            usual = gaps[name].mode()[0]
            categories.append((found != true).mean() / (true != usual).mean())
        else:
            usual = gaps[name].mean()
            numbers.append(np.sqrt(((found - true) ** 2).mean() / ((usual - true) ** 2).mean()))
    return np.mean(numbers), np.mean(categories), filled


def test_gaps_of_a_family_per_column_are_filled_by_the_other_columns():
    numbers, categories, filled = errors_of_gaps(0)
    assert numbers < 0.8
    assert categories < 0.8
    assert set(filled["kind"]) <= set("abc") and set(filled["size"]) <= {"s", "m", "l"}
    # A row of which nothing is known has what is usual.
    assert not filled.isna().any(axis=None)
    # Columns that say nothing of one another leave nothing better than what is usual.
    numbers, categories, _ = errors_of_gaps(0, apart=True)
    assert numbers > 0.95
    assert categories > 0.9
