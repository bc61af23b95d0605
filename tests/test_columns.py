"""Kinds of columns: found, asked for, refused; dates, many categories, and bad tables."""

import datetime
import pickle
import tracemalloc
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.likelihoods import Columnwise, Normal
from skvae.table import TableCodec

# Models of two epochs have learned little.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")

N = 400
NAN = np.nan


def kinds_of(codec):
    return {column.name: column.kind for column in codec.columns_}


def class_of(column, **params):
    codec = TableCodec("auto", **params).fit(
        pd.DataFrame({"a": column, "x": np.arange(len(column))})
    )
    return type(codec.columns_[0]).__name__


def quick(**params):
    settings = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
    return VAETransformer(2, **{**settings, **params})


# -------------------------------------------------------------------------------- detection


RNG = np.random.default_rng(0)
FOUND = {
    "poisson": (RNG.poisson(3, N), "CountColumn"),
    "overdispersed": (RNG.negative_binomial(1, 0.1, N), "CountColumn"),
    "Int": (pd.array([None, *RNG.poisson(3, N - 1)], dtype="Int64"), "CountColumn"),
    "year": (RNG.integers(1950, 2020, N), "ContinuousColumn"),
    "negative": (np.r_[-1, RNG.poisson(3, N - 1)], "ContinuousColumn"),
    "bell": (np.round(RNG.normal(1000, 30, N)).astype(int), "ContinuousColumn"),
    "income": (np.round(RNG.lognormal(10, 1.2, N)).astype(int), "ContinuousColumn"),
    "huge": (RNG.integers(0, 10**15, N), "ContinuousColumn"),
    "few_counts": (RNG.poisson(3, 12), "ContinuousColumn"),
    "zero_one": (RNG.integers(0, 2, N), "BinaryColumn"),
    "small_zero_one": (RNG.integers(0, 2, N).astype("uint8"), "BinaryColumn"),
    "float_zero_one": (RNG.integers(0, 2, N).astype(float), "ContinuousColumn"),
    "two_three": (RNG.integers(2, 4, N), "ContinuousColumn"),
    "flag": (RNG.random(N) < 0.5, "BinaryColumn"),
    "skewed": (RNG.lognormal(0, 1, N), "PositiveColumn"),
    "single": (RNG.lognormal(0, 1, N).astype(np.float32), "PositiveColumn"),
    "with_zero": (np.r_[0.0, RNG.lognormal(0, 1, N - 1)], "ContinuousColumn"),
    "far": (RNG.normal(100, 1, N), "ContinuousColumn"),
    "uniform": (RNG.random(N), "ContinuousColumn"),
    "digits": (RNG.integers(0, 17, N).astype(float), "ContinuousColumn"),
    "few_rows": (np.exp(3 * RNG.normal(size=20)), "ContinuousColumn"),
    "text": (RNG.choice(["a", "b"], N), "CategoricalColumn"),
    "category": (pd.Categorical(RNG.choice(["a", "b"], N)), "CategoricalColumn"),
    "ordered": (pd.Categorical(RNG.choice(["a", "b"], N), ordered=True), "OrdinalColumn"),
    "dates": (pd.date_range("2020", periods=N), "ContinuousColumn"),
}


@pytest.mark.parametrize("name", FOUND)
def test_kinds_are_found(name):
    column, expected = FOUND[name]
    assert class_of(column) == expected


def test_kinds_of_arrays():
    whole = RNG.poisson(3, (N, 1))
    assert kinds_of(TableCodec("auto").fit(whole)) == {"x0": "continuous"}
    both = np.c_[RNG.integers(0, 2, N), RNG.integers(-5, 5, N)]
    assert kinds_of(TableCodec("auto").fit(both)) == {"x0": "binary", "x1": "continuous"}
    mixed = np.c_[RNG.normal(size=N), RNG.lognormal(0, 1, N), RNG.normal(size=N)]
    codec = TableCodec("auto").fit(mixed)
    assert codec.blocks_ == (("continuous", (1, 1, 1)),) and codec.modelled_index_ == [0, 2, 1]
    encoded = codec.encode(mixed)
    assert (encoded.log_jacobian[:, :2] == 0).all()
    assert_allclose(encoded.log_jacobian[:, 2], np.log(mixed[:, 1]))
    assert encoded.inputs is encoded.values
    assert_allclose(codec.decode(encoded.values), mixed, rtol=1e-5, atol=1e-6)


def test_numbers_whose_logarithms_do_not_differ_have_none():
    """They are not modelled by them, unless asked for, and then have a density all the same."""
    X = np.column_stack([1e15 + RNG.normal(size=N), RNG.normal(size=N)])
    assert TableCodec("auto").fit(X).columns_[0].title == ""
    kinds = {"x0": "positive"}
    codec = TableCodec("auto", column_kinds=kinds).fit(X)
    assert codec.columns_[0].title == "positive" and np.exp(codec.log_scale_[1]) > 1e-15
    assert_allclose(codec.decode(codec.encode(X).values), X, rtol=1e-6)
    assert np.isfinite(quick(column_kinds=kinds).fit(X).score_samples(X)).all()


def test_a_likelihood_decides_for_all_columns():
    X = pd.DataFrame({"a": RNG.negative_binomial(1, 0.2, 100), "b": RNG.lognormal(0, 1, 100)})
    assert kinds_of(quick(likelihood="normal").fit(X).codec_) == dict.fromkeys("ab", "continuous")
    assert kinds_of(quick().fit(X).codec_) == {"a": "count", "b": "continuous"}
    assert quick(likelihood="normal").fit(X).codec_.encode(X).log_jacobian is None


def test_one_likelihood_per_kind_decides_for_no_column():
    X = pd.DataFrame({"a": RNG.negative_binomial(1, 0.2, 100), "b": RNG.lognormal(0, 1, 100)})
    default = quick().fit(X)
    assert_array_equal(
        quick(likelihood=Columnwise()).fit(X).score_samples(X), default.score_samples(X)
    )
    model = quick(likelihood=Columnwise(continuous=Normal("column"), count="poisson")).fit(X)
    assert kinds_of(model.codec_) == kinds_of(default.codec_)
    assert_array_equal(model.codec_.encode(X).log_jacobian, default.codec_.encode(X).log_jacobian)
    assert [type(part).__name__ for part in model.vae_.likelihood.parts] == ["Normal", "Poisson"]


def test_found_kinds_score_in_original_units():
    """A model of logarithms gives the densities of the numbers themselves."""
    X = RNG.lognormal(0, 1, (500, 2))
    found = quick().fit(X)
    logs = quick(likelihood="normal").fit(np.log(X))
    expected = logs.score_samples(np.log(X)) - np.log(X).sum(1)
    assert_allclose(found.score_samples(X), expected, rtol=1e-4, atol=1e-3)


def test_numbers_outside_a_positive_column_have_a_score():
    X = RNG.lognormal(0, 0.5, (300, 2))
    detector = VAEOutlierDetector(2, max_iter=3, random_state=0).fit(X)
    assert not detector.codec_.columns_[0].is_linear
    scores = detector.score_samples([[1.0, 1.0], [0.0, 1.0], [-5.0, 1.0], [-1e300, 1.0]])
    assert np.isfinite(scores).all() and (np.diff(scores) < 0).all()


# --------------------------------------------------------------------------------- asked for


ASKED = {
    "continuous": ([1, 0, 1, 2], "continuous"),
    "positive": ([1.0, 2.0, 3.0, 9.0], "continuous"),
    "count": ([0.0, 3.0, 1.0, 2.0], "count"),
    "binary": ([0.0, 1.0, 1.0, 0.0], "binary"),
    "categorical": ([3, 1, 7, 3], "categorical"),
    "ordinal": ([3.5, 1.5, 7.5, 3.5], "ordinal"),
    "datetime": (pd.to_datetime(["2020-01-01", "2020-01-03", None, "2020-01-02"]), "continuous"),
}


@pytest.mark.parametrize("margins", ["scale", "rank"])
@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("numeric", ["auto", "continuous", "count"])
def test_kinds_that_are_asked_for(kind, numeric, margins):
    cells, expected = ASKED[kind]
    X = pd.DataFrame({"other": [1, 2, 3, 4], "a": cells})
    codec = TableCodec(numeric, column_kinds={"a": kind}, margins=margins).fit(X)
    if margins == "scale" or kind not in ("continuous", "datetime"):
        assert kinds_of(codec)["a"] == expected
    encoded = codec.encode(X)
    back = codec.decode(encoded.values)
    assert back.dtypes.tolist() == X.dtypes.tolist()
    seen = X["a"].notna()
    if seen.all():
        assert_allclose(back["a"].astype(float), X["a"].astype(float), rtol=1e-6)
    else:
        assert back["a"][seen].tolist() == X["a"][seen].tolist()


def test_two_labels_are_binary_and_declared_ones_ordinal():
    X = pd.DataFrame({"a": ["y", "n", "y"], "b": pd.Categorical(["l", "h", "l"], ["l", "h"])})
    codec = TableCodec(column_kinds={"a": "binary", "b": "ordinal"}).fit(X)
    assert kinds_of(codec) == {"a": "categorical", "b": "ordinal"}
    assert codec.columns_[1].categories == ["l", "h"]


@pytest.mark.parametrize(
    "cells, kind, match",
    [
        ([1.0, 0.0, 2.0], "positive", "'a'.*positive.*greater than 0; got 0.0 in row 1.*constant"),
        ([1.0, -3.0, 2.0], "count", "'a'.*count.*got -3.0 in row 1.*column_kinds=.'a': \"cont"),
        ([1.0, 2.5, 2.0], "count", "'a'.*count.*got 2.5 in row 1"),
        ([0.0, 7.0, 1.0], "binary", "'a'.*binary.*got 7.0 in row 1.*column_kinds=.'a': \"cont"),
        (["u", "v", "w"], "binary", "'a'.*binary.*3 labels.*'w'.*categorical"),
        (["u", "v", "w"], "count", r"'a'.*count.*'u'.*astype\(float\)"),
        (["u", "v", "w"], "ordinal", "'a'.*ordinal.*'u'.*ordered=True"),
        (["u", "v", "w"], "datetime", "'a'.*datetime.*to_datetime"),
        ([1.0, 2.0, 3.0], "datetime", "'a'.*datetime.*float64.*to_datetime"),
        (pd.to_datetime(["2020", "2021", "2022"]), "count", "'a'.*count.*datetime64"),
        ([1.0, 2.0, 3.0], "real", "'a' should be one of 'continuous'.*got 'real'"),
        ([1.0, 2.0, 3.0], ["count"], "'a' should be one of 'continuous'.*got"),
    ],
)
def test_kinds_that_cells_contradict(cells, kind, match):
    X = pd.DataFrame({"a": cells, "b": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=match):
        TableCodec(column_kinds={"a": kind}).fit(X)
    with pytest.raises(ValueError, match=match):
        quick(column_kinds={"a": kind}).fit(X)


def test_unknown_columns():
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pytest.raises(ValueError, match="does not have: 'c'. Its columns are 'a', 'b'"):
        TableCodec(column_kinds={"c": "count"}).fit(X)
    with pytest.raises(ValueError, match="does not have: 'a'. Its columns are 'x0', 'x1'"):
        TableCodec(column_kinds={"a": "count"}).fit(X.to_numpy())
    with pytest.raises(TypeError, match="column_kinds should be a dict.*got 'count'"):
        TableCodec(column_kinds="count").fit(X)
    with pytest.raises(ValueError, match="'column_kinds' parameter"):
        quick(column_kinds="count").fit(X)
    with pytest.raises(ValueError, match="margins should be one of 'scale', 'rank', got 'ranks'"):
        TableCodec(margins="ranks").fit(X)


def test_every_kind_in_one_model():
    X = pd.DataFrame({name: cells for name, (cells, _) in FOUND.items() if len(cells) == N})
    model = quick(column_kinds={"digits": "ordinal", "year": "categorical"}).fit(X)
    kinds = [kind for kind, _ in model.codec_.blocks_]
    assert kinds == ["continuous", "count", "binary", "categorical", "ordinal"]
    assert np.isfinite(model.score_samples(X)).all()
    drawn = model.sample(50)
    assert drawn.dtypes.tolist() == X.dtypes.tolist()
    assert set(drawn["digits"]) <= set(X["digits"]) and (drawn["skewed"] > 0).all()
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.score_samples(X), model.score_samples(X))


# -------------------------------------------------------------------------------------- dates


def dates(unit="ns", zone=None, step="D", n=30):
    index = pd.date_range("2021-03-01", periods=n, freq=step, tz=zone).as_unit(unit)
    return pd.Series(index).where(np.arange(n) % 7 != 3)


@pytest.mark.parametrize("margins", ["scale", "rank"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30"])
@pytest.mark.parametrize("step", ["D", "h", "7s"])
def test_dates_round_trip(step, zone, unit, margins):
    X = pd.DataFrame({"when": dates(unit, zone, step), "x": np.arange(30.0)})
    codec = TableCodec(margins=margins).fit(X)
    encoded = codec.encode(X)
    slot = codec.modelled_index_.index(0)
    assert_array_equal(encoded.mask[:, slot], X["when"].notna())
    back = codec.decode(encoded.values)
    assert back["when"].dtype == X["when"].dtype
    seen = X["when"].notna()
    assert back["when"][seen].tolist() == X["when"][seen].tolist()
    assert codec.decode(np.full((1, 2), NAN))["when"].isna().all()


def test_dates_come_in_other_units_and_zones():
    X = pd.DataFrame({"when": dates("ns", "UTC")})
    codec = TableCodec().fit(X)
    for other in (dates("s", "UTC"), dates("us", "UTC").dt.tz_convert("Asia/Tokyo")):
        assert_array_equal(
            codec.encode(pd.DataFrame({"when": other})).values, codec.encode(X).values
        )


def test_dates_of_polars():
    pl = pytest.importorskip("polars")
    days = [datetime.date(2020, 1, 1), None, datetime.date(2020, 3, 1)]
    hours = [datetime.datetime(2020, 1, 1, 5), None, datetime.datetime(2020, 3, 1, 7)]
    X = pl.DataFrame({"day": days, "x": [1.0, 2.0, 3.0]}).with_columns(
        *(pl.Series(unit, hours, dtype=pl.Datetime(unit)) for unit in ("ms", "us", "ns")),
        pl.Series("zone", hours, dtype=pl.Datetime("us", "Europe/Berlin")),
    )
    codec = TableCodec().fit(X)
    encoded = codec.encode(X)
    back = codec.decode(encoded.values)
    assert back.schema == X.schema
    assert (
        back.filter(pl.Series([True, False, True]))
        .drop("x")
        .equals(X.filter(pl.Series([True, False, True])).drop("x"))
    )
    abroad = codec.decode(encoded.values, container="pandas")
    assert abroad["zone"].dt.tz is not None and abroad["day"][0] == pd.Timestamp("2020-01-01")
    home = TableCodec().fit(abroad)
    assert home.decode(home.encode(abroad).values, container="polars")["day"][0].year == 2020
    cells = codec.decode(encoded.values, container="numpy")
    assert cells[0, 0] == datetime.datetime(2020, 1, 1)


def test_arrow_dates():
    pytest.importorskip("pyarrow")
    X = pd.DataFrame({"when": dates("us").astype("timestamp[us][pyarrow]")})
    codec = TableCodec().fit(X)
    back = codec.decode(codec.encode(X).values)
    seen = X["when"].notna()
    assert back["when"].dtype == X["when"].dtype
    assert back["when"][seen].tolist() == X["when"][seen].tolist()


def test_dates_and_numbers_are_not_mixed_up():
    when = pd.DataFrame({"a": dates()})
    numbers = pd.DataFrame({"a": np.arange(30.0)})
    with pytest.raises(TypeError, match="'a' held date-times in fit and holds numbers now"):
        TableCodec().fit(when).encode(numbers)
    with pytest.raises(TypeError, match="'a' held numbers in fit and holds date-times now"):
        TableCodec().fit(numbers).encode(when)
    labels = pd.DataFrame({"a": ["u", "v"] * 15})
    with pytest.raises(TypeError, match="'a' held labels in fit and holds date-times now"):
        TableCodec().fit(labels).encode(when)


def test_a_model_of_dates():
    X = pd.DataFrame({"when": dates(n=60), "x": np.arange(60.0)})
    model = quick().fit(X)
    drawn = model.sample(5)
    assert drawn["when"].dtype == X["when"].dtype
    assert (drawn["when"].dt.normalize() == drawn["when"]).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.score_samples(X.iloc[:1].assign(when=pd.NaT).astype(X.dtypes))).all()


# ------------------------------------------------------------------------------ imputed kinds


@pytest.mark.parametrize("refine", [None, "auto"])
def test_gaps_of_every_kind_are_filled(refine):
    rng = np.random.default_rng(0)
    n = 60
    whole = pd.DataFrame(
        {
            "price": np.round(rng.lognormal(0, 1.5, n), 2) + 0.01,
            "visits": rng.poisson(2, n),
            "grade": rng.integers(1, 4, n).astype(float),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), ["s", "m", "l"], ordered=True),
            "when": pd.date_range("2020-01-01", periods=n, tz="Europe/Berlin"),
            "flag": rng.integers(0, 2, n).astype(float),
        }
    )
    X = whole.astype({"visits": float})
    for j in range(X.shape[1]):
        X.iloc[j::9, j] = None
    kinds = {"price": "positive", "visits": "count", "grade": "ordinal", "flag": "binary"}
    imputer = VAEImputer(
        column_kinds=kinds, refine=refine, max_iter=2, n_members=2, random_state=0
    )
    assert {c.kind for c in imputer.fit(X).codec_.columns_} == {
        "continuous", "count", "binary", "categorical"
    }  # fmt: skip
    for filled in (imputer.transform(X), *imputer.impute(X, 2)):
        assert filled.dtypes.tolist() == X.dtypes.tolist()
        assert filled.notna().all(axis=None)
        seen = X.notna()
        pd.testing.assert_frame_equal(filled.where(seen), X.where(seen))
        assert (filled["price"] > 0).all() and set(filled["grade"]) == {1.0, 2.0, 3.0}
        assert (filled["visits"] >= 0).all() and filled["flag"].between(0, 1).all()
    lower, upper = imputer.predict_interval(X)
    assert (lower["when"] <= upper["when"]).all() and (lower["price"] > 0).all()
    with pytest.raises(ValueError, match="'visits'.*binary.*column_kinds"):
        VAEImputer(column_kinds={"visits": "binary"}).fit(X)


@pytest.mark.filterwarnings("ignore:.*are worth about|.*rest on fewer")
def test_given_cells_and_gaps_of_binned_and_rare_values():
    rng = np.random.default_rng(0)
    level = [f"l{j}" for j in range(300)]
    X = pd.DataFrame(
        {
            "level": pd.Categorical(np.r_[level, level, rng.choice(level[:10], 400)]),
            "gain": np.where(rng.random(1000) < 0.6, 0.0, np.round(rng.lognormal(5, 1, 1000))),
            "when": pd.date_range("2020-01-01", periods=1000),
            "price": rng.lognormal(0, 1, 1000),
        }
    )
    model = quick(margins="rank", max_iter=2).fit(X)
    assert not model.codec_.columns_[0].is_linear
    drawn = model.sample(30, given={"level": "l299", "gain": 0.0}, random_state=0)
    assert set(drawn["level"]) == {"l299"} and set(drawn["gain"]) == {0.0}
    drawn = model.sample(30, given={"when": pd.Timestamp("2020-03-01")}, random_state=0)
    assert set(drawn["when"]) == {pd.Timestamp("2020-03-01")}
    assert drawn["gain"].nunique() > 5 and drawn["level"].nunique() > 5
    gaps = X.iloc[:40].copy()
    gaps.loc[::2, "gain"] = NAN
    first, second = model.impute(gaps, 2, n_draws=20, random_state=0)
    assert first["gain"].notna().all() and not first["gain"].equals(second["gain"])
    seen = gaps["gain"].notna()
    pd.testing.assert_frame_equal(first[seen], gaps[seen])
    assert model.impute(gaps, n_draws=20)["gain"].notna().all()


def test_numbers_stay_continuous_in_an_imputer():
    X = np.c_[RNG.lognormal(size=60), RNG.integers(0, 2, 60), RNG.poisson(2, 60)]
    X[0, 0] = NAN
    imputer = VAEImputer(refine=None, max_iter=1, n_members=1, random_state=0).fit(X)
    assert imputer.codec_.blocks_ == (("continuous", (1, 1, 1)),)


# --------------------------------------------------------------------------- many categories


def many(n_levels=10_000, n_rows=20_000):
    rng = np.random.default_rng(0)
    levels = [f"level {j}" for j in range(n_levels)]
    weights = 1.0 / np.arange(1, n_levels + 1)
    drawn = rng.choice(n_levels, n_rows - n_levels, p=weights / weights.sum())
    codes = np.r_[np.arange(n_levels), drawn]
    return pd.Series(pd.Categorical.from_codes(codes, levels)), np.bincount(codes)


def test_rare_levels_share_a_code():
    column, counts = many()
    X = pd.DataFrame({"level": column, "x": np.random.default_rng(0).normal(size=len(column))})
    codec = TableCodec().fit(X)
    coded = codec.columns_[1 - 1]
    assert coded.size == 256 and len(coded.categories) == 255 and len(coded.rare) == 9745
    assert min(counts[[int(c[6:]) for c in coded.categories]]) >= max(
        counts[[int(c[6:]) for c in coded.rare]]
    )
    encoded = codec.encode(X)
    assert encoded.inputs.shape == (20_000, 257)
    slot = codec.modelled_names_.index("level")
    shares = np.bincount(encoded.values[:, slot].astype(int)) / len(X)
    # The probabilities of all levels sum to one, and are the frequencies.
    levels = pd.DataFrame({"level": column.cat.categories.astype("category"), "x": 0.0})
    at = codec.encode(levels)
    codes = at.values[:, slot].astype(int)
    log_p = np.log(shares[codes]) - at.log_jacobian[:, slot]
    assert_allclose(np.exp(log_p).sum(), 1.0, rtol=1e-9)
    place = [int(level[6:]) for level in levels["level"]]
    assert_allclose(np.exp(log_p), counts[place] / len(X), rtol=1e-6)
    point = codec.decode(encoded.values)
    assert point.dtypes.tolist() == X.dtypes.tolist()
    assert set(point["level"][codes_of(encoded, slot) == 255]) == {coded.rare[0]}
    uniform = np.random.default_rng(0).random(encoded.values.shape)
    drawn = codec.decode(encoded.values, uniform=uniform)["level"]
    assert drawn.nunique() > 3000
    same = codec.encode(pd.DataFrame({"level": drawn, "x": 0.0}))
    assert_array_equal(codes_of(same, slot), codes_of(encoded, slot))


def codes_of(encoded, slot):
    return encoded.values[:, slot].astype(int)


def test_ten_thousand_levels_take_bounded_memory():
    column, _ = many()
    X = pd.DataFrame({"level": column, "x": np.random.default_rng(0).normal(size=len(column))})
    tracemalloc.start()
    model = quick(max_iter=1, hidden_layer_sizes=(16,)).fit(X)
    scores = model.score_samples(X.iloc[:2000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(scores).all()
    assert peak < 150e6  # one number per level and row would be 800 MB
    assert model.vae_.network.get_params()  # a model at all
    assert sum(p.numel() for p in model.vae_.parameters()) < 50_000
    drawn = model.sample(500, random_state=0)
    assert drawn["level"].nunique() > 100


def test_unseen_and_declared_levels():
    column, _ = many(1000, 3000)
    X = pd.DataFrame({"level": column.cat.add_categories(["never"]), "x": np.arange(3000.0)})
    codec = TableCodec().fit(X)
    late = X.iloc[:2].assign(level=pd.Categorical(["never", "level 3"], X["level"].cat.categories))
    with pytest.raises(ValueError, match="'level'.*unseen.*'never'"):
        codec.encode(late)
    codec.set_params(unknown="missing")
    encoded = codec.encode(late)
    slot = codec.modelled_names_.index("level")
    assert encoded.mask[:, slot].tolist() == [False, True]
    assert encoded.log_jacobian[0, slot] == 0
    few = TableCodec().fit(X[column.cat.codes < 256])
    assert few.columns_[0].size == 256 and few.columns_[0].is_linear


# ---------------------------------------------------------------------------------- bad tables


def bad(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"x": np.linspace(0, 1, n), **columns})


class Unhashable:
    __hash__ = None


BAD = {
    "mixed types": (
        bad(a=pd.Series([1, "two", 3.0, "four"], dtype=object)),
        "'two'.*column 'a' mixes strings.*astype",
    ),
    "mixed flags": (
        bad(a=pd.Series([True, "no", None, 3], dtype=object)),
        "'no'.*column 'a' mixes",
    ),
    "lists": (bad(a=pd.Series([[1], [2], [3], [4]], dtype=object)), "'a'.*list.*Repair"),
    "unhashable": (
        bad(a=pd.Series([Unhashable(), Unhashable()], dtype=object)),
        "'a'.*Unhashable.*Repair",
    ),
    "sets": (bad(a=pd.Series([{1}, {2}], dtype=object)), "'a'.*set.*Repair"),
    "tuple categories": (
        bad(a=pd.Series(pd.Categorical([(1, 2), (3, 4), (1, 2), (3, 4)]))),
        r"'a'.*tuple.*astype\(str\)",
    ),
    "date objects": (
        bad(a=pd.Series([datetime.date(2020, 1, d) for d in (1, 2)], dtype=object)),
        "'a'.*date cells.*pd.to_datetime",
    ),
    "timedelta": (bad(a=pd.to_timedelta([1, 2, 3], unit="D")), "'a'.*timedelta.*total_seconds"),
    "period": (bad(a=pd.period_range("2020", periods=3, freq="M")), "'a'.*period.*to_timestamp"),
    "free text": (bad(a=[f"text {j}" for j in range(200)]), "'a' looks like free text.*Drop"),
    "infinite": (bad(a=[1.0, np.inf, 2.0]), "infinity.*'a'.*NaN"),
    "complex": (bad(a=[1j, 2.0, 3.0]), "Complex.*'a'"),
    "duplicate names": (
        pd.DataFrame(np.eye(3), columns=["a", "b", "a"]),
        "duplicates: 'a'.*Rename",
    ),
    "nothing varies": (pd.DataFrame({"a": [1.0, 1.0], "b": ["u", "u"]}), "nothing to model.*Pass"),
    "empty": (pd.DataFrame({"a": [NAN, NAN], "b": [None, None]}), "nothing to model.*Pass"),
}

GOOD = {
    "time zones": bad(a=dates(zone="Europe/Berlin"), b=dates(zone="UTC")),
    "NaT": bad(a=pd.Series([pd.NaT] * 29 + [pd.Timestamp("2020")])),
    "all NaT": bad(a=pd.Series([pd.NaT] * 4, dtype="datetime64[ns]")),
    "constant dates": bad(a=pd.Series([pd.Timestamp("2020-02-29 12:34:56.789")] * 4)),
    "constant zoned dates": bad(a=pd.Series([pd.Timestamp("2020-02-29", tz="Asia/Tokyo")] * 4)),
    "empty categories": bad(a=pd.Categorical([None] * 4, categories=[])),
    "unused categories": bad(a=pd.Categorical(["u", "v", "u", None], categories=["z", "v", "u"])),
    "one observed cell": bad(a=[NAN, NAN, 5.0, NAN], b=[None, "u", None, None]),
    "missing row": pd.DataFrame({"a": [1.0, NAN, 3.0, 2.0], "b": ["u", None, "v", "u"]}),
    "missing column": bad(a=[NAN] * 4, b=[None] * 4),
    "huge integers": bad(
        a=[2**62, 2**61, -(2**62), 5], b=np.array([2**64 - 1, 0, 7, 9], "uint64")
    ),
    "decimals": bad(
        a=pd.Series([Decimal("1.5"), Decimal("2.25"), None, Decimal(7)], dtype=object)
    ),
    "nullable": bad(
        a=pd.array([1, None, 3, 4], dtype="Int8"),
        b=pd.array([True, None, False, True], dtype="boolean"),
        c=pd.array(["u", None, "v", "u"], dtype="string"),
        d=pd.array([1.5, None, 2.5, 3.5], dtype="Float32"),
    ),
    "tiny": bad(a=[5e-324, 1e-323, 0.0, 1e-322]),
    "wide": bad(a=[-1.7e308, 1.7e308, 0.0, 1.0]),
}


@pytest.mark.parametrize("margins", ["scale", "rank"])
@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_with_the_repair(name, margins):
    X, match = BAD[name]
    for act in (quick(margins=margins).fit, VAEOutlierDetector(margins=margins).fit):
        with pytest.raises((TypeError, ValueError), match=match):
            act(X)


@pytest.mark.parametrize("margins", ["scale", "rank"])
@pytest.mark.parametrize("name", GOOD)
def test_odd_tables_come_out_right(name, margins):
    X = GOOD[name]
    model = quick(margins=margins, max_iter=1).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.transform(X)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = model.sample(3, random_state=0)
        assert model.reconstruct(X).shape == X.shape
    assert list(drawn.columns) == list(X.columns)
    assert drawn.dtypes.tolist() == X.dtypes.tolist()
    for column in X:
        if X[column].nunique() == 1 and X[column].dtype.kind != "O":
            assert (drawn[column] == X[column].dropna().iloc[0]).all()
