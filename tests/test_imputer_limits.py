"""VAEImputer: imputed numbers are kept within limits."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skvae import VAEImputer


def table(n=150, seed=0):
    """Lengths near 0 that a normal distribution takes below, with gaps; whole numbers; labels."""
    rng = np.random.default_rng(seed)
    length = rng.exponential(size=n)
    frame = pd.DataFrame(
        {
            "length": length,
            "double": (2 * length + rng.normal(size=n)).astype(np.float32),
            "whole": pd.array(rng.poisson(1 + length), dtype="Int64"),
            "label": pd.Categorical(rng.choice(["a", "b"], n)),
        }
    )
    holes = rng.uniform(size=(n, 4)) < 0.4
    return frame.mask(pd.DataFrame(holes, columns=frame.columns))


X = table()
LIMITS = {"min_value": {"length": 0.25, "whole": 0.5}, "max_value": {"double": 1.0, "whole": 2.0}}


def fitted(X=X, **limits):
    params = {"max_iter": 1, "n_members": 2, "refine": None, "random_state": 0}
    return VAEImputer(**params, **limits).fit(X)


def answers(imputer, X=X):
    return [imputer.transform(X), *imputer.predict_interval(X, 0.95), *imputer.impute(X, 3)]


@pytest.fixture(scope="module")
def limited():
    return fitted(**LIMITS)


def test_imputed_numbers_lie_within_the_limits(limited):
    for plain, kept in zip(answers(fitted()), answers(limited)):
        assert kept.dtypes.equals(X.dtypes)
        for name, low, high in (("length", 0.25, None), ("double", None, 1.0), ("whole", 1, 2)):
            expected = plain[name].clip(low, high).where(X[name].isna(), X[name])
            pd.testing.assert_series_equal(kept[name], expected)
        pd.testing.assert_series_equal(kept["label"], plain["label"])


def test_without_limits_there_is_something_to_limit():
    assert all((answer["length"] < 0.25).sum() > 3 for answer in answers(fitted())[1::2])


def test_observed_cells_beyond_a_limit_stay(limited):
    seen = X["length"] < 0.25
    assert seen.sum() > 5
    assert_array_equal(limited.transform(X)["length"][seen], X["length"][seen])


def test_containers_agree_and_files_keep_the_limits(limited):
    polars = pl.from_pandas(X)
    expected = limited.transform(X)
    other = fitted(polars, **LIMITS).transform(polars)
    for name in ("length", "double", "whole"):
        assert_array_equal(other[name].to_numpy(), expected[name].to_numpy(dtype=float))
    assert pickle.loads(pickle.dumps(limited)).transform(X).equals(expected)


def test_arrays_take_one_limit_for_all_columns_or_one_each():
    numbers = X[["length", "double"]].to_numpy(dtype=float)
    one, each = fitted(numbers, min_value=0.1), fitted(numbers, min_value=[0.1, -np.inf])
    plain, gaps = fitted(numbers).transform(numbers), np.isnan(numbers)
    assert_array_equal(one.transform(numbers)[gaps], np.maximum(plain, 0.1)[gaps])
    assert_array_equal(each.transform(numbers)[gaps], np.maximum(plain, [0.1, -np.inf])[gaps])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_value": {"width": 0}}, "min_value should name.*'width', which the table does not"),
        ({"max_value": {"label": 0}}, "max_value should name columns of numbers.*'label'"),
        ({"min_value": [0, 1]}, "one number per column, 4 in all; got 2"),
        ({"min_value": {"length": "low"}}, "min_value should be made of numbers"),
        ({"max_value": np.nan}, "max_value should be made of numbers"),
        (
            {"min_value": 2, "max_value": 1},
            "'length' should be at most its max_value; got 2 and 1",
        ),
    ],
)
def test_refusals(limits, message):
    with pytest.raises(ValueError, match=message):
        fitted(**limits)
