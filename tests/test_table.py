"""The codec: what goes in comes out, in every container, dtype and magnitude."""

import datetime
import pickle
import subprocess
import sys
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from skvae.table import Encoded, TableCodec, check_table
from skvae.table.columns import ConstantColumn

pytestmark = pytest.mark.filterwarnings("error")

NAN = np.nan


class VAETransformer(BaseEstimator):
    """A stand-in, whose name the error messages should carry."""


def numbers(n=40, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def mixed(n=12):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "whole": rng.integers(-5, 100, n),
            "small": rng.integers(0, 255, n).astype(np.uint8),
            "Int": pd.array([None, *range(n - 1)], dtype="Int16"),
            "Real": pd.array([None, *np.linspace(0, 1, n - 1)], dtype="Float64"),
            "flag": rng.random(n) < 0.5,
            "Flag": pd.array([None, True, False] * (n // 3), dtype="boolean"),
            "oflag": np.array([None, True, False] * (n // 3), dtype=object),
            "onumber": np.array([None, 1.5, 2] * (n // 3), dtype=object),
            "text": ["b", "a", "c"] * (n // 3),
            "string": pd.array(["b", None, "c"] * (n // 3), dtype="string"),
            "object": np.array(["b", None, "c"] * (n // 3), dtype=object),
            "cat": pd.Categorical(["u", "v", "u"] * (n // 3), categories=["w", "v", "u"]),
            "level": pd.Categorical([3, 1, None] * (n // 3), categories=[3, 2, 1], ordered=True),
        }
    )
    return frame


# ---------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16"])
def test_array_round_trip(dtype, order):
    X = np.asarray(np.abs(numbers() * 20), dtype=dtype, order=order)
    X.flags.writeable = False
    before = X.copy()
    codec = TableCodec(range_ratio=None).fit(X)
    values, mask, inputs = codec.encode(X)
    assert values.dtype == np.float32 and values.flags.c_contiguous
    assert mask is None and inputs is values
    assert_allclose(values.mean(axis=0), 0, atol=1e-5)
    assert_allclose(values.std(axis=0), 1, rtol=1e-5)
    decoded = codec.decode(values)
    assert decoded.dtype == X.dtype
    assert_allclose(decoded, X, rtol=1e-5, atol=1e-5)
    assert_array_equal(X, before)


def test_fitted_attributes():
    codec = TableCodec().fit(mixed())
    kinds = [kind for kind, _ in codec.blocks_]
    assert kinds == ["continuous", "binary", "categorical", "ordinal"]
    assert codec.blocks_[2:] == (("categorical", (3, 2, 2, 2)), ("ordinal", (2,)))
    assert codec.n_modelled_ == sum(len(sizes) for _, sizes in codec.blocks_) == 15
    assert [codec.columns_[j].name for j in codec.modelled_index_] == codec.modelled_names_
    assert codec.modelled_names_[7:10] == ["flag", "Flag", "oflag"]
    assert codec.log_scale_.dtype == np.float64 and codec.log_scale_.shape == (15,)
    assert (codec.log_scale_[7:] == 0).all() and (codec.log_scale_[:7] != 0).all()
    assert codec.columns_[0].dtype == "float64"
    assert codec.columns_[-2].categories == ["v", "u"]
    encoded = codec.encode(mixed())
    assert isinstance(encoded, Encoded)
    assert encoded.inputs.shape == (12, codec.n_inputs_)
    assert encoded.inputs.dtype == np.float32 and encoded.mask.dtype == bool


def test_log_scale_changes_the_unit_of_a_density():
    X = numbers(d=1) * 7 + 3
    codec = TableCodec(range_ratio=None).fit(X)
    assert_allclose(codec.log_scale_, np.log(X.std()))


def test_chunks_do_not_show():
    X = numbers(n=70_000, d=5)
    X[69_000, 2] = NAN
    codec = TableCodec(range_ratio=None).fit(X)
    values, mask, _ = codec.encode(X)
    loc, scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    assert_allclose(values, np.nan_to_num((X - loc) / scale), atol=1e-5)
    assert_array_equal(mask, ~np.isnan(X))


def test_rows_are_encoded_alone_as_together():
    X = numbers(n=3000, d=30)
    X[:, [4, 5, 20]] = 7.0
    codec = TableCodec().fit(X)
    # One cell that is missing and one that is far out change nothing in the rows beside them.
    X[1, 0], X[2, 1] = NAN, 1e300
    for order in "CF":
        values, mask, _ = codec.encode(np.asarray(X, order=order))
        alone = [codec.encode(row[None]) for row in X[:50]]
        assert_array_equal(values[:50], np.concatenate([each.values for each in alone]))
        assert_array_equal(np.argwhere(~mask), [[1, 0]])
        assert values[2, 1] == 1e9 and np.abs(np.delete(values, 2, 0)).max() < 10


def test_wide_tables_take_no_seconds():
    X = numbers(n=20, d=2000)
    codec = TableCodec().fit(X)
    assert_allclose(codec.decode(codec.encode(X).values), X, atol=1e-5)


# ---------------------------------------------------------------------------------- scales


@pytest.mark.parametrize("size", [1e300, 1e30, 1.0, 1e-30, 1e-300, 1e-310])
def test_any_magnitude(size):
    X = numbers() * size
    codec = TableCodec(range_ratio=None).fit(X)
    values = codec.encode(X).values
    assert_allclose(values.std(axis=0), 1, rtol=1e-4)
    assert np.isfinite(codec.log_scale_).all()
    assert_allclose(codec.decode(values), X, rtol=1e-4, atol=1e-6 * size)


def test_magnitudes_side_by_side():
    sizes = np.array([1e300, 1.0, 1e-300])
    X = numbers() * sizes
    codec = TableCodec(range_ratio=None).fit(X)
    assert_allclose(codec.log_scale_, np.log(sizes), atol=1)
    assert_allclose(codec.encode(X).values.std(axis=0), 1, rtol=1e-4)


@pytest.mark.parametrize("noise", [1.0, 1e-3])
def test_large_offset(noise):
    X = 1e9 + noise * numbers(n=500)
    codec = TableCodec(range_ratio=None).fit(X)
    values = codec.encode(X).values
    assert_allclose(values.mean(axis=0), 0, atol=1e-4)
    assert_allclose(values.std(axis=0), 1, rtol=1e-4)


def test_range_beyond_float64_saturates():
    X = np.array([[-1.7e308], [1.7e308], [0.0]])
    codec = TableCodec().fit(X)
    assert np.isfinite(codec.encode(X).values).all()
    far = TableCodec().fit(numbers()).encode(np.full((1, 3), 1e300)).values
    assert (far == 1e9).all()


def test_rare_spikes_are_not_blown_up():
    X = np.zeros((10_000, 1))
    X[:3] = 1.0
    codec = TableCodec(range_ratio=10.0).fit(X)
    assert_allclose(np.exp(codec.log_scale_), 0.1)
    assert codec.encode(X).values.max() < 10.01
    plain = TableCodec(range_ratio=None).fit(X)
    assert_allclose(np.exp(plain.log_scale_), X.std())


def test_infinite_cells_are_refused_without_the_check_too():
    with pytest.raises(ValueError, match="Input X contains infinity.*'x1'"):
        TableCodec().fit(np.array([[1.0, np.inf], [2.0, 3.0]]))


# --------------------------------------------------------------------------------- missing


def test_missing_cells():
    X = numbers()
    X[3, 1] = X[5, 1] = X[5, 2] = NAN
    codec = TableCodec(range_ratio=None).fit(X)
    values, mask, inputs = codec.encode(X)
    assert_array_equal(mask, ~np.isnan(X))
    assert (values[~mask] == 0).all()
    assert_array_equal(inputs[:, :3], values)
    assert_array_equal(inputs[:, 3:], mask[:, 1:])
    complete = codec.encode(X[:3])
    assert complete.mask is None
    assert (complete.inputs[:, 3:] == 1).all()
    assert_allclose(np.exp(codec.log_scale_), np.nanstd(X, axis=0))


def test_missing_only_later():
    X = numbers()
    codec = TableCodec().fit(X)
    late = X.copy()
    late[0, 0] = NAN
    values, mask, inputs = codec.encode(late)
    assert inputs is values and not mask[0, 0] and mask.sum() == mask.size - 1


@pytest.mark.parametrize("absent", [None, NAN, pd.NA, pd.NaT])
@pytest.mark.parametrize("cells", [["b", "a"], [1.5, 2.5], [True, False]])
def test_every_missing_value(absent, cells):
    column = np.array([*cells, absent, *cells], dtype=object)
    X = pd.DataFrame({"a": pd.Series(column, dtype=object), "b": np.arange(5.0)})
    codec = TableCodec().fit(X)
    values, mask, _ = codec.encode(X)
    slot = codec.modelled_index_.index(0)
    assert_array_equal(mask[:, slot], [True, True, False, True, True])
    assert values[2, slot] == 0
    decoded = codec.decode(values)
    assert decoded["a"].dtype == object
    assert decoded["a"].tolist()[:2] == cells
    assert type(decoded["a"][0]) is type(cells[0])


def test_inputs_of_every_kind():
    X = mixed()
    codec = TableCodec().fit(X)
    values, mask, inputs = codec.encode(X)
    widths = [column.n_inputs for column in (codec.columns_[j] for j in codec.modelled_index_)]
    ends = np.cumsum(widths)
    for slot, (stop, width) in enumerate(zip(ends, widths, strict=True)):
        block = inputs[:, stop - width : stop]
        assert (block[~mask[:, slot]] == 0).all()
        if width > 1:
            seen = mask[:, slot]
            assert_array_equal(block[seen].argmax(axis=1), values[seen, slot])
            assert_array_equal(block[seen].sum(axis=1), 1)
    had_missing = [codec.columns_[j].had_missing for j in codec.modelled_index_]
    assert_array_equal(inputs[:, ends[-1] :], mask[:, had_missing])
    flag = inputs[:, 7]
    assert_allclose([flag.mean(), flag.std()], [0, 1], atol=1e-6)


# -------------------------------------------------------------------------------- constant


def test_constants_are_not_modelled():
    X = pd.DataFrame(
        {
            "five": [5, 5, 5],
            "none": [NAN, NAN, NAN],
            "empty": np.array([None, None, None], dtype=object),
            "Int": pd.array([None, None, None], dtype="Int64"),
            "yes": [True, True, True],
            "text": ["a", None, "a"],
            "cat": pd.Categorical(["u", "u", None], categories=["v", "u"]),
            "nocat": pd.Categorical([None, None, None], categories=["v", "u"]),
            "x": [1.0, 2.0, 3.0],
        }
    )
    codec = TableCodec().fit(X)
    assert codec.modelled_names_ == ["x"] and codec.modelled_index_ == [8]
    assert sum(isinstance(column, ConstantColumn) for column in codec.columns_) == 8
    encoded = codec.encode(X)
    assert encoded.mask is None and encoded.values.shape == (3, 1)
    decoded = codec.decode(encoded.values)
    expected = X.assign(text=["a"] * 3, cat=pd.Categorical(["u"] * 3, categories=["v", "u"]))
    assert_frame_equal(decoded, expected)


def test_constant_array_columns():
    X = np.c_[numbers(), np.full(40, 0.1 * 3)]
    X[::2, 3] = 0.3  # the same number, computed in another way
    X = X[:, [0, 3, 1, 2]]
    codec = TableCodec().fit(X)
    assert codec.modelled_index_ == [0, 2, 3]
    assert_allclose(codec.decode(codec.encode(X).values), X, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1.0, 1e300])
def test_nothing_to_model(size):
    X = np.full((4, 2), size)
    X[:, 1] = NAN
    with pytest.raises(ValueError, match="X holds nothing.*constant or missing.*Pass"):
        TableCodec().fit(X)


# --------------------------------------------------------------------------- count, binary


@pytest.mark.parametrize("wrap", [np.asarray, pd.DataFrame])
def test_counts(wrap):
    X = np.random.default_rng(0).poisson(3, (50, 2)).astype(float)
    X[0, 0] = NAN
    table = wrap(X)
    codec = TableCodec(numeric="count", range_ratio=10.0).fit(table)
    values, mask, inputs = codec.encode(table)
    assert codec.blocks_ == (("count", (1, 1)),)
    assert_array_equal(values, np.nan_to_num(X))
    logs = np.log1p(X)
    expected = (logs - np.nanmean(logs, axis=0)) / np.nanstd(logs, axis=0)
    assert_allclose(inputs[:, :2], np.nan_to_num(expected), atol=1e-5)
    assert_array_equal(inputs[:, 2], mask[:, 0])
    assert (codec.log_scale_ == 0).all()
    assert_array_equal(np.asarray(codec.decode(values)), np.nan_to_num(X))
    assert np.asarray(codec.decode(values - 10)).min() == 0


@pytest.mark.parametrize("bad", [-1.0, 2.5])
@pytest.mark.parametrize("wrap", [np.asarray, lambda X: pd.DataFrame(X, columns=["x0", "x1"])])
def test_counts_are_whole(bad, wrap):
    X = np.arange(8.0).reshape(4, 2)
    codec = TableCodec(numeric="count").fit(wrap(X))
    X[2, 1] = bad
    for act in (codec.encode, TableCodec(numeric="count").fit):
        with pytest.raises(ValueError, match=f"'x1'.*non-negative whole.*{bad}.*continuous"):
            act(wrap(X))


def test_pixels():
    X = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    X[:, 2] = 0
    codec = TableCodec(numeric="binary").fit(X)
    values, mask, inputs = codec.encode(X)
    assert codec.blocks_ == (("binary", (1, 1)),) and mask is None
    assert_array_equal(values, X[:, :2])
    mean = X[:, :2].mean(axis=0)
    assert_allclose(inputs, (X[:, :2] - mean) / np.sqrt(mean * (1 - mean)), atol=1e-5)
    assert_array_equal(codec.decode(values), X)
    X[0, 0] = 255
    for act in (codec.encode, TableCodec(numeric="binary").fit):
        with pytest.raises(ValueError, match="'x0'.*between 0 and 1; got 255.0.*Rescale"):
            act(X)


def test_rare_events_are_not_blown_up():
    X = np.zeros((10_000, 1), dtype=bool)
    X[0] = True
    codec = TableCodec().fit(X)
    assert codec.encode(X).inputs.max() < 10.01


def test_boolean_array():
    X = numbers() > 0
    codec = TableCodec().fit(X)
    assert codec.blocks_ == (("binary", (1, 1, 1)),)
    decoded = codec.decode(codec.encode(X).values)
    assert decoded.dtype == bool
    assert_array_equal(decoded, X)


# ---------------------------------------------------------------------------------- pandas


@pytest.mark.parametrize("index", [None, range(20, 32), [f"r{j}" for j in range(12)]])
def test_pandas_round_trip(index):
    X = mixed()
    if index is not None:
        X.index = list(index)
    before = X.copy()
    codec = TableCodec().fit(X)
    decoded = codec.decode(codec.encode(X).values)
    assert_frame_equal(X, before)
    assert isinstance(decoded.index, pd.RangeIndex)
    assert list(decoded.dtypes) == list(X.dtypes)
    X = X.reset_index(drop=True)
    for name in X:
        seen = X[name].notna()
        left, right = decoded[name][seen], X[name][seen]
        if codec.columns_[X.columns.get_loc(name)].kind == "continuous":
            assert_allclose(left.astype(float), right.astype(float), rtol=1e-5, atol=1e-5)
        else:
            assert left.tolist() == right.tolist()


@pytest.mark.parametrize("dtype", ["int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]"])
def test_arrow_backed_columns(dtype):
    pytest.importorskip("pyarrow")
    X = pd.DataFrame({"a": pd.array([1, 0, None, 1], dtype=dtype)})
    codec = TableCodec().fit(X)
    values, mask, _ = codec.encode(X)
    assert_array_equal(mask[:, 0], [True, True, False, True])
    decoded = codec.decode(values)
    assert decoded["a"].dtype == X["a"].dtype
    assert_allclose(decoded["a"][:2].astype(float), [1, 0], atol=1e-6)


def test_integers_are_rounded_and_clipped():
    X = pd.DataFrame({"a": np.array([0, 255], dtype="uint8"), "b": [0, 10**15]})
    codec = TableCodec().fit(X)
    decoded = codec.decode([[-5.0, 0.0], [5.0, 1e30]])
    assert decoded["a"].tolist() == [0, 255]
    assert decoded["b"][0] == 5 * 10**14 and decoded["b"][1] > 9e18
    array = TableCodec().fit(np.array([[0], [100]], dtype="int8"))
    assert array.decode([[99.0], [0.01], [-99.0]]).tolist() == [[127], [50], [-128]]


def test_float32_does_not_overflow_on_decode():
    X = numbers().astype(np.float32) * np.float32(1e38)
    assert np.isfinite(TableCodec().fit(X).decode(np.full((1, 3), 1e9))).all()


def test_missing_values_of_missing_dtypes_decode():
    X = pd.DataFrame({"i": [1, 2, 3], "b": [True, False, True], "c": list("aba")})
    decoded = TableCodec().fit(X).decode([[NAN, NAN, NAN], [0.0, 1.0, 1.0]])
    assert decoded["i"].isna().tolist() == [True, False]
    assert decoded["b"].tolist() == [None, True]
    assert decoded["c"].isna().tolist() == [True, False] and decoded["c"][1] == "b"


def test_object_numbers():
    X = pd.DataFrame(
        {
            "whole": np.array([1, None, 3, 4], dtype=object),
            "either": np.array([1, 2.5, None, True], dtype=object),
            "decimal": np.array([Decimal("1.5"), Decimal(2), None, None], dtype=object),
        }
    )
    codec = TableCodec().fit(X)
    assert codec.blocks_ == (("continuous", (1, 1, 1)),)
    decoded = codec.decode(codec.encode(X).values)
    assert decoded["whole"].tolist()[::2] == [1, 3] and type(decoded["whole"][0]) is int
    assert_allclose(decoded["either"].astype(float)[:2], [1, 2.5])


def test_category_codes_map_by_value():
    X = pd.DataFrame({"c": pd.Categorical(list("abca"), categories=list("abcd"))})
    codec = TableCodec().fit(X)
    assert codec.columns_[0].categories == ["a", "b", "c"]
    other = pd.DataFrame({"c": pd.Categorical(list("abca"), categories=list("dcba"))})
    strings = pd.DataFrame({"c": list("abca")})
    for table in (other, strings, strings.astype(object), strings.astype("string")):
        assert_array_equal(codec.encode(table).values, codec.encode(X).values)
    decoded = codec.decode(codec.encode(other).values)
    assert_frame_equal(decoded, X)


def test_categories_of_numbers_map_by_value():
    X = pd.DataFrame({"c": pd.Categorical([3, 1, 3]), "x": [1.0, 2.0, 4.0]})
    codec = TableCodec().fit(X)
    expected = codec.encode(X).values
    assert_array_equal(codec.encode(X.astype({"c": "int64"})).values, expected)
    assert_array_equal(codec.encode(X.astype({"c": "float32"})).values, expected)
    assert_array_equal(codec.encode(X.astype(float).to_numpy()).values, expected)
    numeric = TableCodec().fit(X.astype({"c": "int64"}))
    assert_array_equal(numeric.encode(X).values, numeric.encode(X.astype("float64")).values)


def test_unknown_category():
    known = [f"k{j:02d}" for j in range(12)]
    X = pd.DataFrame({"colour": known * 5, "x": np.arange(60.0)})
    codec = TableCodec().fit(X)
    odd = X.assign(colour=["u0", "u1", "u2", "u3", "u4", "u5"] + known[:6] * 9)
    with pytest.raises(ValueError, match="'colour'.*'u0'.*'u4', \\.\\.\\.;.*'k00'") as error:
        codec.encode(odd)
    assert "u5" not in str(error.value) and "k10" not in str(error.value)
    assert 'unknown="missing"' in str(error.value)
    codec.set_params(unknown="missing")
    values, mask, inputs = codec.encode(odd)
    assert not mask[:6, 1].any() and mask[6:].all()
    assert (values[:6, 1] == 0).all() and (inputs[:6, 1:] == 0).all()


def test_an_unused_category_is_not_an_unknown_one():
    codec = TableCodec().fit(pd.DataFrame({"c": list("abab")}))
    X = pd.DataFrame({"c": pd.Categorical(list("ab"), categories=list("zab"))})
    assert codec.encode(X).mask is None


@pytest.mark.parametrize("dtype", ["str", "object", "category"])
def test_numbers_that_come_as_strings_later(dtype):
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [True, False, True]})
    codec = TableCodec().fit(X)
    late = X.assign(a=pd.Series(["1.0", "abc", None], dtype=dtype))
    with pytest.raises(ValueError, match="could not convert string to float: '.*'a'"):
        codec.encode(late)


def test_integers_that_come_as_floats_later():
    X = pd.DataFrame({"a": [1, 2, 3], "b": [1.0, 2.0, 4.0]})
    codec = TableCodec().fit(X)
    assert_array_equal(codec.encode(X.astype(float)).values, codec.encode(X).values)
    assert codec.encode(X.astype(float).replace(2.0, NAN)).mask.tolist()[1] == [False, False]


def test_arrays_and_frames_interchange():
    X = numbers()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for one, other in ((X, frame), (frame, X)):
        codec = TableCodec().fit(one)
        assert_array_equal(codec.encode(one).values, codec.encode(other).values)
    flags = frame.assign(b=frame["b"] > 0)
    codec = TableCodec().fit(flags)
    expected = codec.encode(flags).values
    assert_array_equal(codec.encode(flags.astype(float).to_numpy()).values, expected)


@pytest.mark.parametrize(
    "cells, error, match",
    [
        (pd.to_timedelta([1, 2], unit="D"), TypeError, "'bad'.*timedelta.*total_seconds"),
        (pd.period_range("2020", periods=2, freq="M"), TypeError, "'bad'.*period.*to_timestamp"),
        ([1 + 2j, 3], ValueError, "Complex data not supported.*'bad'"),
        (np.array([1 + 2j, 3.0], dtype=object), ValueError, "Complex data not supported.*'bad'"),
        ([[1, 2], [3]], TypeError, "'bad'.*object.*list"),
        ([{"a": 1}, {}], TypeError, "'bad'.*object.*dict"),
        ([datetime.date(2020, 1, 1)] * 2, TypeError, "'bad'.*object.*date.*to_datetime"),
        ([b"a", b"b"], TypeError, "'bad'.*bytes"),
        (pd.arrays.SparseArray([0.0, 1.0]), TypeError, r"'bad'.*df\['bad'\]\.sparse\.to_dense"),
        (pd.cut([1, 2], 2), TypeError, r"'bad'.*Interval.*astype\(str\)"),
        (
            np.array(["abc", 1], dtype=object),
            ValueError,
            r"could not convert string to float: 'abc'.*'bad'.*astype\(\"category\"\)",
        ),
        (np.array([1.0, np.inf], dtype=object), ValueError, "Input X contains infinity.*'bad'"),
    ],
)
def test_refused_columns(cells, error, match):
    X = pd.DataFrame({"good": [1.0, 2.0], "bad": pd.Series(cells)})
    with pytest.raises(error, match=match):
        TableCodec().fit(check_table(VAETransformer(), X))


def test_free_text_is_refused():
    n = 120
    X = pd.DataFrame({"text": [f"t{j % 61}" for j in range(n)], "x": np.arange(n)})
    with pytest.raises(ValueError, match="'text'.*free text.*61.*120 rows.*categorical"):
        TableCodec().fit(X)
    assert TableCodec().fit(X.astype({"text": "category"})).columns_[0].size == 61
    X["text"] = [f"t{j % 60}" for j in range(n)]
    assert TableCodec().fit(X).columns_[0].size == 60


def test_duplicate_names():
    X = pd.DataFrame(numbers(), columns=["a", "b", "a"])
    for act in (TableCodec().fit, lambda X: check_table(VAETransformer(), X)):
        with pytest.raises(ValueError, match="duplicates: 'a'"):
            act(X)


@pytest.mark.parametrize("columns", [[3, 1, 2], ["a", "b", "c"], [("a", 1), ("a", 2), ("b", 1)]])
def test_column_labels(columns):
    if isinstance(columns[0], tuple):
        columns = pd.MultiIndex.from_tuples(columns)
    X = pd.DataFrame(numbers(), columns=columns)
    codec = TableCodec().fit(X)
    assert_frame_equal(codec.decode(codec.encode(X).values), X, rtol=1e-5, atol=1e-6)
    assert codec.modelled_names_ == [str(name) for name in columns]


def test_columns_must_match():
    X = pd.DataFrame(numbers(), columns=["a", "b", "c"])
    codec = TableCodec().fit(X)
    with pytest.raises(ValueError, match="feature names should match.*'a', got 'b'"):
        codec.encode(X[["b", "a", "c"]])
    with pytest.raises(ValueError, match="X has 2 features.*expecting 3 features"):
        codec.encode(X.to_numpy()[:, :2])


# ---------------------------------------------------------------------------------- polars


def polars_table():
    pl = pytest.importorskip("polars")
    return pl.DataFrame(
        {
            "f32": pl.Series([1.0, NAN, 3.0, None], dtype=pl.Float32),
            "f64": [0.5, 1.5, 2.5, 2.0],
            "i8": pl.Series([1, None, 3, 4], dtype=pl.Int8),
            "u64": pl.Series([1, 2, 3, 4], dtype=pl.UInt64),
            "flag": [True, False, None, True],
            "text": ["b", "a", None, "b"],
            "cat": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
            "enum": pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["c", "b", "a"])),
            "null": pl.Series([None] * 4, dtype=pl.Null),
            "same": pl.Series([None, 7, 7, 7], dtype=pl.Int16),
        }
    )


def test_polars_round_trip():
    X = check_table(VAETransformer(), polars_table())
    codec = TableCodec().fit(X)
    values, mask, _ = codec.encode(X)
    assert codec.blocks_[0] == ("continuous", (1, 1, 1, 1))
    assert codec.columns_[7].categories == ["b", "a"]
    assert_array_equal(mask[:, 0], [True, False, True, False])
    decoded = codec.decode(values)
    assert decoded.schema == X.schema
    for name in X.columns:
        for left, right in zip(decoded[name], X[name], strict=True):
            if right is not None and right == right:
                assert left == pytest.approx(right) if name[1:].isdigit() else left == right
    assert decoded["same"].to_list() == [7] * 4 and decoded["null"].to_list() == [None] * 4


def test_polars_numbers_at_once():
    pl = pytest.importorskip("polars")
    X = pl.DataFrame({"a": [1, None, 3], "b": [0.5, NAN, 2.5]})
    codec = TableCodec().fit(X)
    values, mask, _ = codec.encode(X)
    assert mask.tolist() == [[True, True], [False, False], [True, True]]
    assert codec.decode(values).schema == X.schema
    assert codec.decode([[NAN, 0.0]])["a"].to_list() == [None]


def test_polars_refusals():
    pl = pytest.importorskip("polars")
    good = {"x": [1.0, 2.0]}
    for cells, match in (
        ([datetime.timedelta(1)] * 2, r"'bad'.*Duration.*total_seconds"),
        ([[1], [2]], "'bad'.*List"),
        ([{"a": 1}, {"a": 2}], "'bad'.*Struct.*unnest"),
        (pl.Series([Decimal(1), Decimal(2)]), r"'bad'.*Decimal.*cast\(pl.Float64\)"),
    ):
        with pytest.raises(TypeError, match=match):
            TableCodec().fit(pl.DataFrame({**good, "bad": cells}))
    with pytest.raises(TypeError, match="LazyFrame.*collect"):
        TableCodec().fit(pl.LazyFrame(good))
    with pytest.raises(ValueError, match="Input X contains infinity.*'x'"):
        check_table(VAETransformer(), pl.DataFrame({"x": [1.0, np.inf]}))
    with pytest.raises(ValueError, match="'bad'.*free text"):
        TableCodec().fit(pl.DataFrame({"bad": [f"t{j}" for j in range(60)]}))
    codec = TableCodec().fit(pl.DataFrame({"c": ["a", "b"]}))
    with pytest.raises(ValueError, match="'c'.*unseen.*'z'"):
        codec.encode(pl.DataFrame({"c": ["a", "z"]}))


def test_polars_stays_out_unless_needed():
    code = (
        "import sys, pandas as pd; from skvae.table import TableCodec;"
        "TableCodec().fit(pd.DataFrame({'a': [1., 2.], 'b': ['u', 'v']}));"
        "assert 'polars' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------- container


@pytest.mark.parametrize("target", ["pandas", "polars", "numpy"])
@pytest.mark.parametrize("source", ["pandas", "polars", "numpy"])
def test_decode_to_another_container(source, target):
    pytest.importorskip("polars")
    tables = {"pandas": mixed(), "polars": polars_table(), "numpy": numbers()}
    codec = TableCodec().fit(tables[source])
    values, mask, _ = codec.encode(tables[source])
    out = codec.decode(values, container=target)
    assert type(out).__module__.split(".")[0] == target
    assert out.shape == tables[source].shape
    if target != "numpy" or source == "numpy":
        seen = slice(None) if mask is None else mask
        assert_allclose(codec.encode(out).values[seen], values[seen], atol=1e-5)


def test_dtypes_abroad():
    pl = pytest.importorskip("polars")
    X = pd.DataFrame({"a": np.array([1, 2], "int8"), "b": pd.array([1.0, 3.0], "Float32")})
    X = X.assign(c=["u", "v"], d=[True, False])
    X["e"] = X["c"].astype("category")
    codec = TableCodec().fit(X)
    values = codec.encode(X).values
    out = codec.decode(values, container="polars")
    assert out.dtypes == [pl.Int8, pl.Float32, pl.String, pl.Boolean, pl.Categorical]
    back = TableCodec().fit(out).decode(values, container="pandas")
    assert list(back.dtypes) == ["int8", "float32", "str", "bool", "category"]
    assert codec.decode(values, container="numpy").tolist() == [
        [1, 1.0, "u", True, "u"],
        [2, 3.0, "v", False, "v"],
    ]
    plain = TableCodec().fit(X[["a", "b"]]).decode([[1.0, 1.0]], container="numpy")
    assert plain.dtype == np.float32


def test_decode_messages():
    codec = TableCodec().fit(numbers())
    with pytest.raises(ValueError, match="container should be one of.*'excel'"):
        codec.decode(numbers(), container="excel")
    with pytest.raises(ValueError, match=r"expected values of shape \(n_rows, 3\).*\(40, 2\)"):
        codec.decode(numbers(d=2))
    assert codec.decode(np.empty((0, 3))).shape == (0, 3)


# --------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("numeric", ["continuous", "count", "binary"])
def test_weight_two_is_a_row_doubled(numeric):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (30, 3)) if numeric == "binary" else rng.poisson(5, (30, 3))
    X = np.where(rng.random(X.shape) < 0.2, NAN, X)
    weight = rng.integers(0, 4, 30)
    one = TableCodec(numeric).fit(X, sample_weight=weight)
    two = TableCodec(numeric).fit(np.repeat(X, weight, axis=0))
    for left, right in zip(one.columns_, two.columns_, strict=True):
        for name in ("loc", "scale", "mean", "sd"):
            assert_allclose(getattr(left, name, 0), getattr(right, name, 0), rtol=1e-14)
    assert_allclose(one.encode(X).inputs, two.encode(X).inputs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("lib", ["numpy", "pandas", "polars"])
def test_weightless_rows_have_no_influence(lib):
    X = pd.DataFrame({"a": [1.0, 2.0, 4.0, NAN, 9e99], "b": [1, 2, 3, 4, 5]})
    if lib != "numpy":
        X["c"] = ["u", "v", "u", None, "z"]
    table = X.to_numpy() if lib == "numpy" else X
    if lib == "polars":
        table = pytest.importorskip("polars").from_pandas(X)
    codec = TableCodec().fit(table, sample_weight=[1, 1, 1, 0, 0])
    alone = TableCodec().fit(table[:3])
    assert repr(codec.columns_) == repr(alone.columns_)
    assert codec.blocks_ == alone.blocks_ and codec.n_inputs_ == alone.n_inputs_
    assert not any(column.had_missing for column in codec.columns_)


@pytest.mark.parametrize(
    "weight, match", [([1, 1], r"shape \(40,\)"), (-np.ones(40), "non-neg"), (np.zeros(40), "pos")]
)
def test_bad_weights(weight, match):
    with pytest.raises(ValueError, match=f"sample_weight.*{match}|{match}.*sample_weight"):
        TableCodec().fit(numbers(), sample_weight=weight)


# ----------------------------------------------------------------------------------- state


def any_table(name):
    return {"mixed": mixed, "numbers": numbers, "polars": polars_table}[name]()


@pytest.mark.parametrize("name", ["mixed", "numbers", "polars"])
def test_skops_round_trip(name):
    skops = pytest.importorskip("skops.io")
    X = any_table(name)
    codec = TableCodec().fit(X)
    data = skops.dumps(codec)
    untrusted = skops.get_untrusted_types(data=data)
    assert all(kind.startswith("skvae.") for kind in untrusted)
    loaded = skops.loads(data, trusted=untrusted)
    same_codec(codec, loaded, X)


@pytest.mark.parametrize("name", ["mixed", "numbers", "polars"])
def test_pickle_holds_plain_state_only(name):
    X = any_table(name)
    codec = TableCodec().fit(X)
    data = pickle.dumps(codec)
    assert b"pandas." not in data and b"polars." not in data
    same_codec(codec, pickle.loads(data), X)


def same_codec(codec, other, X):
    one, two = codec.encode(X), other.encode(X)
    assert_array_equal(one.values, two.values)
    assert_array_equal(one.inputs, two.inputs)
    left, right = codec.decode(one.values), other.decode(one.values)
    assert left.equals(right) if hasattr(left, "equals") else (left == right).all()
    assert other.blocks_ == codec.blocks_ and repr(other.columns_) == repr(codec.columns_)


def test_scikit_learn_manners():
    codec = TableCodec(numeric="count", unknown="missing")
    assert repr(codec) == "TableCodec(numeric='count', unknown='missing')"
    assert clone(codec).get_params() == codec.get_params()
    for act in (codec.encode, codec.decode):
        with pytest.raises(NotFittedError, match="not fitted"):
            act(numbers())
    for name, value in (("numeric", "real"), ("unknown", "ignore"), ("range_ratio", -1)):
        with pytest.raises(ValueError, match=f"TableCodec: {name} should be.*{value}"):
            TableCodec(**{name: value}).fit(numbers())
    with pytest.raises(ValueError, match="at least one column"):
        TableCodec().fit(pd.DataFrame(index=range(3)))


# -------------------------------------------------------------------------------- checking


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_check_table_copies_nothing(dtype, order):
    X = np.asarray(numbers() > 0, dtype=dtype, order=order)
    X.flags.writeable = False
    estimator = VAETransformer()
    assert check_table(estimator, X) is X
    assert check_table(estimator, X, reset=False) is X
    assert estimator.n_features_in_ == 3


def test_check_table_returns_frames_as_they_are():
    X = mixed()
    estimator = VAETransformer()
    assert check_table(estimator, X) is X
    assert estimator.n_features_in_ == 15
    assert estimator.feature_names_in_.tolist() == X.columns.tolist()
    assert check_table(estimator, X[:1], reset=False).shape == (1, 15)
    with pytest.raises(ValueError, match="feature names should match"):
        check_table(estimator, X[X.columns[::-1]], reset=False)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        check_table(estimator, numbers(d=15), reset=False)


class Arraylike:
    def __array__(self, dtype=None, copy=None):
        return np.asarray([[1.0, 2.0], [3.0, NAN]], dtype=dtype)


@pytest.mark.parametrize(
    "X", [[[1.0, 2.0], [3.0, None]], np.array([[1, 2], [3, None]], dtype=object), Arraylike()]
)
def test_check_table_converts_array_likes(X):
    checked = check_table(VAETransformer(), X)
    assert checked.dtype == np.float64
    assert_array_equal(checked, [[1, 2], [3, NAN]])


def sparse():
    from scipy.sparse import csr_array

    return csr_array(np.eye(3))


INFINITY = r"Input X contains infinity or a value too large for dtype\('float(32|64)'\)"


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda: np.ones(3), ValueError, "Expected 2D array, got 1D array"),
        (lambda: pd.Series([1.0, 2.0, 3.0]), ValueError, "Expected a 2-dimensional container"),
        (lambda: np.ones((3, 3, 3)), ValueError, "Found array with dim 3"),
        (lambda: np.ones((0, 3)), ValueError, r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum"),
        (
            lambda: np.ones((3, 0)),
            ValueError,
            r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum",
        ),
        (lambda: np.array([["a", 1, 2]] * 3, dtype=object), ValueError, "string to float: 'a'"),
        (lambda: np.array([["a", "b", "c"]] * 3), ValueError, "not compatible with arrays of"),
        (lambda: np.ones((3, 3)) * 1j, ValueError, "Complex data not supported"),
        (lambda: np.ones((3, 3), dtype="M8[s]"), TypeError, "real numbers"),
        (sparse, TypeError, "Sparse data was passed"),
        (lambda: np.full((3, 3), np.inf), ValueError, INFINITY),
        (lambda: np.full((3, 3), -np.inf, dtype=np.float32), ValueError, INFINITY),
        (lambda: np.array([[NAN, np.inf, 1.0]] * 3), ValueError, INFINITY),
        (lambda: pd.DataFrame(np.full((3, 3), np.inf)), ValueError, INFINITY),
        (
            lambda: pd.DataFrame({"a": list("uvu"), "b": [1.0, np.inf, 2], "c": 1}),
            ValueError,
            INFINITY + ".*'b'",
        ),
        (
            lambda: pd.DataFrame(np.ones((0, 3))),
            ValueError,
            r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of \d is required "
            "by VAETransformer",
        ),
    ],
)
def test_check_table_errors(make, error, match, reset):
    estimator = VAETransformer()
    if not reset:
        check_table(estimator, numbers())
    X = make()
    if not reset and np.shape(X) == (3, 0):
        match = "."  # the width is wrong as well, and scikit-learn may say so first
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has feature names")
        with pytest.raises(error, match=match):
            check_table(estimator, X, reset=reset)


def test_minimum_rows():
    estimator = VAETransformer()
    for X in (numbers(n=1), pd.DataFrame(numbers(n=1), columns=["a", "b", "c"])):
        with pytest.raises(ValueError, match="1 sample.*minimum of 2 is required by VAETransf"):
            check_table(estimator, X)
        check_table(estimator, X.iloc[[0, 0]] if hasattr(X, "iloc") else X[[0, 0]])
        assert check_table(estimator, X, reset=False) is X


def test_wrong_width():
    estimator = VAETransformer()
    check_table(estimator, numbers())
    for X in (numbers(d=2), pd.DataFrame(numbers(d=2))):
        with pytest.raises(
            ValueError, match="X has 2 features, but VAETransformer is expecting 3"
        ):
            check_table(estimator, X, reset=False)
    with pytest.warns(UserWarning, match="X has feature names"):
        check_table(estimator, pd.DataFrame(numbers(), columns=list("abc")), reset=False)


def test_missing_cells_pass_the_quick_check():
    estimator = VAETransformer()
    X = numbers()
    X[0, 0] = NAN
    check_table(estimator, X)
    assert check_table(estimator, X, reset=False) is X
    huge = np.full((4, 3), 1e308)
    assert check_table(estimator, huge, reset=False) is huge


def test_cells_of_float32_far_from_zero_are_coded_as_those_of_float64():
    rng = np.random.default_rng(0)
    wide = (1e6 + np.round(16 * rng.normal(size=(500, 3))) / 16) * [1.0, -1.0, 1e-3]
    narrow = wide.astype(np.float32)
    codec = TableCodec().fit(narrow.astype(np.float64))
    loc = np.array([column.loc for column in codec.columns_])
    scale = np.array([column.scale for column in codec.columns_])
    exact = (narrow.astype(np.float64) - loc) / scale
    assert_array_equal(codec.encode(narrow).values, exact.astype(np.float32))
    rounded = (narrow - loc.astype(np.float32)) / scale
    assert abs(rounded - exact).max() > 1e-3, "negative control: the location rounded"
