"""Every published variant of the table in docs/variants.py: it fits, searches and comes back."""

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvae import VAETransformer

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "variants.py"
if not TABLE.exists():
    pytest.skip("no documentation beside the tests", allow_module_level=True)
spec = importlib.util.spec_from_file_location("skvae_variants", TABLE)
table = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = table
spec.loader.exec_module(table)

QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
EACH = pytest.mark.parametrize("variant", table.VARIANTS, ids=lambda variant: variant.name)

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


def rows(variant):
    """Rows of what the likelihood is of."""
    numbers = plain_rows()
    if "token" in variant.spelling.lower():
        return np.clip(np.rint(numbers) + 3.0, 0.0, 6.0)
    return (numbers > 0.5) * 1.0 if "bernoulli" in variant.spelling else numbers


def plain_rows():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(80, 2))
    return codes @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(80, 6))


def targets(variant):
    first = plain_rows()[:, 0]
    known = {"classes": (first > 0).astype(int), "properties": first}
    return known.get(table.arguments(variant.spelling).get("supervision"))


def estimator(variant):
    return VAETransformer(**QUICK | table.arguments(variant.spelling))


@EACH
def test_it_fits_gives_codes_and_comes_back(variant):
    X, y = rows(variant), targets(variant)
    vae = clone(estimator(variant)).fit(X, y)
    codes = vae.transform(X)
    assert len(codes) == 80
    assert np.isfinite(codes).all()
    assert repr(vae) == repr(clone(vae))
    assert_array_equal(pickle.loads(pickle.dumps(vae)).transform(X), codes)
    assert_array_equal(clone(vae).fit(X, y).transform(X), codes)
    assert np.shape(vae.reconstruct(X)) == (80, 6)


@EACH
def test_what_it_cannot_honestly_offer_is_an_error(variant):
    X, y = rows(variant), targets(variant)
    vae = estimator(variant).fit(X, y)
    try:
        scores = vae.score_samples(X)
    except ValueError as error:
        assert len(str(error)) > 60 and "score" in str(error)
    else:
        assert np.isfinite(scores).all()


@EACH
def test_its_hyperparameter_can_be_searched(variant):
    name, values = variant.search
    search = GridSearchCV(
        estimator(variant), {name: values}, cv=2, error_score="raise",
        scoring=lambda vae, X, y=None: -np.mean((X - vae.reconstruct(X)) ** 2),
    ).fit(rows(variant), targets(variant))  # fmt: skip
    assert search.best_params_[name] in values


def test_the_page_is_that_of_the_table():
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), "run python docs/variants.py"


@EACH
def test_its_tests_exist(variant):
    assert (ROOT / "tests" / f"{variant.tests}.py").exists()
