"""Best values of columns that grow with a logarithm: how far beyond the table of fit they go."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEImputer, VAETransformer
from skvae.networks import VariationalRecurrent
from skvae.table import TableCodec
from skvae.table.reach import ROOM, within_reach

# Models of few epochs have learned little.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


def planted(n_rows=300):
    """A number, one by its logarithm and a count, all of one factor."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n_rows)
    return pd.DataFrame(
        {
            "number": z + 0.1 * rng.normal(size=n_rows),
            "positive": np.exp(z + 0.1 * rng.normal(size=n_rows)),
            "count": rng.poisson(np.exp(0.7 * z + 1)),
        }
    )


@pytest.fixture(scope="module")
def model():
    return VAETransformer(1, max_iter=40, learning_rate_init=0.01, random_state=0).fit(planted())


def limits(X):
    """Largest best cells, but for rounding to float32."""
    found = X.max() + ROOM * (X.max() - X.min())
    found["count"] = np.rint(found["count"])
    return found * (1 + 1e-6)


def without_ceilings(model):
    """As models were before there were any."""
    copy = pickle.loads(pickle.dumps(model))
    for column in copy.codec_.columns_:
        vars(column).pop("ceiling", None)
    return copy


def test_the_ceiling_lies_half_a_range_above_the_largest_cell():
    X = planted()
    codec = TableCodec("auto").fit(X)
    assert [type(c).__name__ for c in codec.columns_] == [
        "ContinuousColumn", "PositiveColumn", "CountColumn"
    ]  # fmt: skip
    far = within_reach(codec, np.full((1, 3), 50.0, dtype=np.float32))
    assert far.dtype == np.float32
    cells = codec.decode(far, "numpy")[0]
    order = [codec.modelled_index_.index(j) for j in range(3)]
    assert far[0, order[0]] == 50.0
    assert_allclose(cells[1:], limits(X)[["positive", "count"]], rtol=2e-6)


def test_what_lies_below_is_left_alone():
    X = planted()
    codec = TableCodec("auto").fit(X)
    more = X.assign(positive=1.4 * X["positive"], count=X["count"] + 1)
    for values in (codec.encode(X).values, codec.encode(more).values, np.full((1, 3), -9.0)):
        assert_array_equal(within_reach(codec, values), values)
    missing = np.full((1, 3), np.nan)
    assert np.isnan(within_reach(codec, missing)).all()


def test_cells_come_back_from_however_far():
    """Negative control: the ceiling is of best values, not of what a column can hold."""
    codec = TableCodec("auto").fit(planted())
    far = pd.DataFrame({"number": [1e6], "positive": [1e12], "count": [1_000_000]})
    encoded = codec.encode(far)
    assert_allclose(codec.decode(encoded.values, "numpy"), far, rtol=1e-5)
    assert (codec.decode(within_reach(codec, encoded.values), "numpy")[0, 1:] < 100).all()


@pytest.mark.parametrize("kind", ["positive", "count"])
def test_codes_far_out_become_rows_near_the_table(model, kind):
    X, before = planted(), without_ceilings(model)
    codes = model.transform(X)
    pd.testing.assert_frame_equal(model.inverse_transform(codes), before.inverse_transform(codes))
    far = np.linspace(-6, 6, 25)[:, None] * np.abs(codes).max()
    cells = model.inverse_transform(far)[kind]
    assert limits(X)[kind] - 1 < cells.max() <= limits(X)[kind]
    # Negative control.
    assert before.inverse_transform(far)[kind].max() > 50 * X[kind].max()
    # Numbers as they are go on along with the codes.
    assert np.abs(model.inverse_transform(far)["number"]).max() > 2 * np.abs(X["number"]).max()


def test_a_row_far_out_is_reconstructed_near_the_table(model):
    X = planted()
    row = pd.DataFrame({"number": [12.0], "positive": [np.exp(12.0)], "count": [5000]})
    found, before = model.reconstruct(row), without_ceilings(model).reconstruct(row)
    for kind in ("positive", "count"):
        assert found[kind].item() <= limits(X)[kind] < 0.1 * before[kind].item()


def test_scores_and_draws_know_no_ceiling(model):
    X, before = planted(), without_ceilings(model)
    far = X.assign(positive=1e4 * X["positive"])
    assert_array_equal(model.score_samples(far), before.score_samples(far))
    pd.testing.assert_frame_equal(
        model.sample(50, random_state=0), before.sample(50, random_state=0)
    )


@pytest.mark.filterwarnings("ignore:.*effective draws")
def test_gaps_are_filled_near_the_table(model):
    X, before = planted(), without_ceilings(model)
    row = pd.DataFrame({"number": [12.0], "positive": [np.nan], "count": [5000]})
    assert model.impute(row)["positive"].item() <= limits(X)["positive"]
    assert before.impute(row)["positive"].item() > 10 * limits(X)["positive"]
    drawn = [each.impute(row, 3, random_state=0) for each in (model, before)]
    for one, other in zip(*drawn):
        pd.testing.assert_frame_equal(one, other)


def test_gaps_of_an_imputer_are_filled_below_the_ceiling():
    X = planted(60)
    X.iloc[::4, 1] = np.nan
    imputer = VAEImputer(
        hidden_layer_sizes=(4,), max_iter=1, refine=None, n_members=1, random_state=0,
        column_kinds={"positive": "positive"},
    ).fit(X)  # fmt: skip
    before, drawn = imputer.transform(X), imputer.impute(X, 2, random_state=0)
    # Of a model of one epoch nothing lies as far out as that.
    column = imputer.codec_.columns_[1]
    assert np.isfinite(column.ceiling)
    most = before["positive"][::4].median()
    column.ceiling = column.forward(np.array([most]))[0].item()
    found = imputer.transform(X)
    wanted = np.where(X["positive"].isna(), before["positive"].clip(upper=most), X["positive"])
    assert_allclose(found["positive"], wanted, rtol=1e-6)
    assert (found["positive"] < before["positive"]).any()
    for one, other in zip(drawn, imputer.impute(X, 2, random_state=0)):
        pd.testing.assert_frame_equal(one, other)


def test_forecasts_go_on_below_the_ceiling():
    rng = np.random.default_rng(0)
    logs = 0.3 * np.arange(6) + rng.normal(0, 0.3, (60, 1)) + 0.05 * rng.normal(size=(60, 6))
    X = np.exp(logs)
    model = VAETransformer(
        1, network=VariationalRecurrent(n_units=4), max_iter=2, random_state=0,
        column_kinds={f"x{j}": "positive" for j in range(6)},
    ).fit(X)  # fmt: skip
    before, drawn = model.forecast(X, 3), model.forecast(X, 3, 2, random_state=0)
    assert_array_equal(before, without_ceilings(model).forecast(X, 3))
    last = model.codec_.columns_[-1]
    last.ceiling = np.quantile(last.forward(np.ravel(before))[0], 0.5)
    found, most = np.asarray(model.forecast(X, 3)), last.decode(last.ceiling)[0]
    assert_allclose(found, np.minimum(before, most), rtol=1e-6)
    assert (found < before).any()
    assert_array_equal(drawn, model.forecast(X, 3, 2, random_state=0))


def test_a_ceiling_beyond_float64_is_none():
    X = np.array([[1e-300, 2.0], [1.7e308, 3.0], [1e10, 2.5]])
    codec = TableCodec(column_kinds={"x0": "positive"}).fit(X)
    values = codec.encode(X).values
    assert_array_equal(within_reach(codec, values), values)
    assert codec.columns_[0].ceiling == np.inf
