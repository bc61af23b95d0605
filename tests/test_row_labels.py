"""Tables that stand for rows of another have its labels: pandas aligns by them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


def table(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = pd.DataFrame({"x": x, "y": x + 0.3 * rng.normal(size=n), "z": rng.normal(size=n)})
    frame["kind"] = np.where(x > 0, "a", "b")
    # As a random split leaves them.
    return frame.set_axis(rng.permutation(n)).rename_axis(index="row", columns="column")


X = table()


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(2, max_iter=5, random_state=0).set_output(transform="pandas").fit(X)


def test_differences_from_reconstructions_are_of_the_same_rows(vae):
    rows = vae.reconstruct(X)
    difference = X["y"] - rows["y"]
    assert_array_equal(difference, X["y"].to_numpy() - rows["y"].to_numpy())


METHODS = {
    "transform": lambda vae: vae.transform(X),
    "reconstruct": lambda vae: vae.reconstruct(X),
    "inverse_transform": lambda vae: vae.inverse_transform(vae.transform(X)),
    "impute": lambda vae: vae.impute(X),
    "draws": lambda vae: vae.impute(X, 2)[1],
    "sample given": lambda vae: vae.sample(given=X[["kind"]]),
    "synthesizer given": lambda vae: (
        VAESynthesizer(critic=None, max_iter=1, random_state=0).fit(X).sample(given=X[["kind"]])
    ),
    "imputer": lambda vae: VAEImputer(max_iter=1, refine=None, random_state=0).fit_transform(X),
    "optimize": lambda vae: (
        VAETransformer(2, supervision="properties", max_iter=2, random_state=0)
        .fit(X, X["z"].to_numpy())
        .optimize(X, 1.0, max_iter=1)
    ),
    "sample under conditions": lambda vae: (
        VAETransformer(2, condition=["kind"], max_iter=2, random_state=0)
        .fit(X)
        .sample(condition=X)
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_rows_keep_their_labels(vae, name):
    rows = METHODS[name](vae)
    assert rows.index.identical(X.index)
    assert name == "transform" or rows.columns.identical(X.columns)


def test_new_rows_are_counted(vae):
    for rows in (vae.sample(3), vae.sample(3, given={"kind": "a"}), vae.interpolate(X[:2], 3)):
        assert_array_equal(rows.index, range(3))
        assert rows.columns.identical(X.columns)


def test_rows_take_the_names_of_labels_that_they_came_with(vae):
    others = X.rename_axis(columns="other")
    assert vae.reconstruct(others).columns.name == "other"
    assert vae.inverse_transform(vae.transform(others)).columns.name == "column"


def test_labels_that_are_tuples_need_no_levels():
    labels = pd.Index([("a", 1), ("a", 2), ("b", 1), ("b", 2)], tupleize_cols=False, name="c")
    rows = X.set_axis(labels, axis=1)
    detector = VAEOutlierDetector(2, max_iter=1, random_state=0).fit(rows)
    repaired, changed = detector.repair(rows[:3])
    assert repaired.columns.tolist() == changed.columns.tolist() == labels.tolist()
    vae = VAETransformer(2, max_iter=1, random_state=0).fit(rows)
    assert vae.sample(2).columns.tolist() == vae.reconstruct(rows).columns.tolist()


def test_labels_stay_out_of_other_containers():
    numbers = X[["x", "y", "z"]]
    of_array = VAETransformer(2, max_iter=2, random_state=0).fit(numbers.to_numpy())
    with pytest.warns(UserWarning, match="feature names"):
        assert type(of_array.reconstruct(numbers)) is np.ndarray
    of_frame = VAETransformer(2, max_iter=2, random_state=0).set_output(transform="polars")
    assert type(of_frame.fit(X).reconstruct(X)) is pl.DataFrame


@pytest.mark.parametrize("score_function", ["local", "elbo"])
def test_explanations_have_the_levels_of_the_columns(score_function):
    levels = [("size", "x"), ("size", "y"), ("size", "z"), ("label", "kind")]
    columns = pd.MultiIndex.from_tuples(levels, names=["what", "which"])
    settings = {"score_function": score_function, "max_iter": 2, "random_state": 0}
    rows = X.set_axis(columns, axis=1)
    detector = VAEOutlierDetector(2, **settings).fit(rows)
    told = detector.explain(rows[:3])
    assert told.columns[:4].identical(columns) and told["size"].shape == (3, 3)
    assert told.columns[4:].tolist() == ([("(code)", "")] if score_function == "elbo" else [])
    plain = VAEOutlierDetector(2, **settings).fit(X).explain(X[:3])
    assert_array_equal(told, plain)
    assert plain.columns[:4].identical(X.columns)
    repaired, changed = detector.repair(rows)
    assert changed.columns.identical(columns) and repaired.columns.identical(columns)
