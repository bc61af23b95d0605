"""Bad and extreme tables and weights: a right, finite answer or an error that says why."""

import signal
import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEOutlierDetector, VAETransformer

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
]
BOTH = pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
NAN = np.nan


@pytest.fixture(autouse=True)
def never_a_hang():
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TimeoutError("hangs: no answer in 60 seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


rng = np.random.default_rng(0)
GOOD = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(60, 4))
HOLES = rng.random(GOOD.shape)
COUNTS = rng.poisson(3.0, size=(60, 4)).astype(float)
FRAME = pd.DataFrame(GOOD, columns=list("abcd"))
MIXED = FRAME.assign(kind=rng.choice(["x", "y", "z"], 60), flag=rng.random(60) < 0.5)
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(60), "D")


def where(cells, value, X=GOOD):
    X = X.copy()
    X[cells] = value
    return X


def make(cls=VAETransformer, **params):
    return cls(**{"max_iter": 3, "random_state": 0, **params})


def check_answers(estimator, X, unknown=()):
    """Everything is finite, but for the columns of which nothing was ever observed."""
    scores = estimator.score_samples(X)
    assert scores.shape == (len(X),) and np.isfinite(scores).all()
    if isinstance(estimator, VAEOutlierDetector):
        assert np.isfinite(estimator.offset_)
        assert set(estimator.predict(X)) <= {-1, 1}
        return
    codes, scale = estimator.infer(X)
    assert np.isfinite(codes).all() and (scale > 0).all()
    for rows in (estimator.reconstruct(X), estimator.sample(7)):
        rows = pd.DataFrame(rows)
        empty = rows.columns.isin(unknown)
        assert rows.loc[:, empty].isna().all(axis=None)
        assert rows.loc[:, ~empty].notna().all(axis=None)
        numbers = rows.loc[:, ~empty].select_dtypes("number").astype(float)
        assert np.isfinite(numbers).all(axis=None)


# ---------------------------------------------------------------------------------------- fit

RIGHT = {
    "two rows": GOOD[:2], "three rows": GOOD[:3], "one column": GOOD[:, :1],
    "all-missing column": (where(np.s_[:, 1], NAN), [1]),
    "all-missing row": where(np.s_[3], NAN),
    "nine cells of ten missing": where(HOLES < 0.9, NAN),
    "one cell a row": np.where(np.arange(60)[:, None] % 4 == np.arange(4), GOOD, NAN),
    "column with one cell": where(np.s_[1:, 2], NAN),
    "objects that are numbers": GOOD.astype(object), "lists": GOOD.tolist(),
    "objects with None": np.where(HOLES < 0.1, None, GOOD.astype(object)),
    "one cell of 1e30": where((0, 0), 1e30), "one cell of 1e300": where((0, 0), 1e300),
    "offset of 1e15": GOOD + 1e15, "columns from 1e-300 to 1e300": GOOD * [1e-300, 1, 1e30, 1e300],
    "two distinct rows": np.repeat(GOOD[:2], 20, axis=0),
    "identical columns": np.repeat(GOOD[:, :1], 5, axis=1),
    "three columns of four constant": where(np.s_[:, :3], 7.0),
    "5 rows of 200": rng.normal(size=(5, 200)), "2 rows of 200": rng.normal(size=(2, 200)),
    "rare ones": np.eye(60)[:, :4], "booleans": GOOD > 0, "float16": GOOD.astype(np.float16),
    "int8": (GOOD * 20).astype("i1"), "uint64 near its end": (2**63 * (1 + HOLES)).astype("u8"),
    "long double": GOOD.astype(np.longdouble), "Fortran order": np.asfortranarray(GOOD),
    "names that are numbers": pd.DataFrame(GOOD), "categories only": MIXED[["kind"]],
    "one category": FRAME.assign(kind="x"),
    "nullable, all missing": (FRAME.assign(e=pd.array([None] * 60, dtype="Int64")), ["e"]),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer(name, cls):
    X, unknown = RIGHT[name] if isinstance(RIGHT[name], tuple) else (RIGHT[name], ())
    check_answers(make(cls).fit(X), X, unknown)


@BOTH
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300, 1e308 / np.abs(GOOD).max()])
def test_the_unit_of_the_columns_does_not_matter(scale, cls):
    # scikit-learn's own sum of the cells is inf - inf near the end of float64.
    with np.errstate(invalid="ignore" if scale > 1e300 else "warn"):
        one, other = make(cls).fit(GOOD), make(cls).fit(GOOD * scale)
        check_answers(other, GOOD * scale)
        # Densities have units; how rarely rows are so odd has none.
        unit = np.log(scale) if cls is VAETransformer else 0.0
        expected = one.score_samples(GOOD) - 4 * unit
        assert_allclose(other.score_samples(GOOD * scale), expected, rtol=1e-6, atol=1e-3)
        if cls is VAETransformer:
            assert_allclose(other.transform(GOOD * scale), one.transform(GOOD), atol=1e-4)
        else:
            assert_array_equal(other.predict(GOOD * scale), one.predict(GOOD))


FLOAT = r"could not convert string to float"
TEXT = FLOAT + r".*Text and categories need a DataFrame"
NOTHING = r"nothing to model: every column .* is constant or missing.*two different values"
INFINITE = r"Input X contains infinity or a value too large for dtype\('float64'\)"
WRONG = {
    "no rows": (np.empty((0, 4)), ValueError, r"0 sample\(s\) .*minimum of 2 .* by {cls}"),
    "no columns": (np.empty((5, 0)), ValueError, r"0 feature\(s\) .*minimum of 1 is required"),
    "no rows, frame": (FRAME[:0], ValueError, r"0 sample\(s\) .*minimum of 2 .* by {cls}"),
    "one row": (GOOD[:1], ValueError, r"1 sample\(s\) .*minimum of 2 is required by {cls}"),
    "all missing": (np.full((9, 3), NAN), ValueError, NOTHING),
    "one row, repeated": (np.repeat(GOOD[:1], 20, axis=0), ValueError, NOTHING),
    "constant up to rounding": (1 + 1e-17 * GOOD, ValueError, NOTHING),
    "inf": (where((0, 0), np.inf), ValueError, INFINITE),
    "-inf": (where((0, 0), -np.inf), ValueError, INFINITE),
    "inf, frame": (FRAME.assign(c=np.inf), ValueError, INFINITE + ".*column 'c'"),
    "strings": (np.array([["1", "2"], ["3", "5"]]), ValueError, "numeric.*a DataFrame"),
    "object strings": (np.array([["a", "b"], ["c", "d"]], dtype=object), ValueError, TEXT),
    "mixed objects": (np.array([[1, "b"], [2.0, "d"]], dtype=object), ValueError, TEXT),
    "complex": (GOOD + 1j, ValueError, "Complex data not supported"),
    "sparse": (scipy.sparse.csr_array(GOOD), TypeError, "Sparse data was passed.*toarray"),
    "1-D": (GOOD[:, 0], ValueError, r"Expected 2D array, got 1D array.*reshape\(-1, 1\)"),
    "3-D": (GOOD[None], ValueError, "dim 3, while dim <= 2 is required by {cls}.*reshape"),
    "number": (3.0, ValueError, "Expected 2D array, got scalar array"),
    "None": (None, ValueError, "Expected 2D array, got scalar array"),
    "ragged": ([[1, 2], [3]], ValueError, "inhomogeneous.*end in NaN"),
    "time spans": (FRAME.assign(t=DAYS - DAYS[0]), TypeError, "'t' of dtype timedelta64.*Repair"),
    "array of dates": (np.array([["2020-01-01"]] * 5, "M8[D]"), TypeError, "datetime64.*Convert"),
    "row with a date": (FRAME.assign(t=DAYS).iloc[0], TypeError, "Timestamp.*is no table"),
    "dictionaries": (FRAME.assign(t=[{}] * 60), TypeError, "'t' of dtype object.*dict.*Repair"),
    "free text": (FRAME.assign(t=[f"no {i}" for i in range(60)]), ValueError, "'t'.*free text"),
    "one name twice": (FRAME.set_axis(list("aabc"), axis=1), ValueError, "duplicates: 'a'"),
    "names of two types": (FRAME.set_axis(["a", 1, 2, 3], axis=1), TypeError, "all.*string names"),
}


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_a_clear_error_in_fit(name, cls):
    X, error, message = WRONG[name]
    with pytest.raises(error, match="(?s)" + message.replace("{cls}", cls.__name__)):
        make(cls).fit(X)


NEGATIVE = "modelled as count, which expects non-negative whole numbers up to 1e9; got"
SHARES = "'x.' is modelled as binary, which expects values between 0 and 1; got"


@pytest.mark.parametrize(
    ("likelihood", "X", "message"),
    [
        ("poisson", COUNTS - 1, NEGATIVE), ("negative_binomial", COUNTS - 1, NEGATIVE),
        ("poisson", COUNTS + 0.5, NEGATIVE), ("poisson", 0 * COUNTS, NOTHING),
        ("poisson", where(COUNTS == 0, np.inf, COUNTS), INFINITE),
        ("bernoulli", GOOD, SHARES), ("bernoulli", COUNTS, SHARES),
        ("poisson", where(HOLES < 0.2, NAN, COUNTS), None), ("poisson", COUNTS * 1e6, None),
        ("poisson", where((0, 0), 1e12, COUNTS), NEGATIVE),
        ("negative_binomial", where((0, 0), 1e12, COUNTS), NEGATIVE),
        ("negative_binomial", COUNTS * 1e12, NEGATIVE), ("bernoulli", 1 / (1 + COUNTS), None),
        ("bernoulli", where(HOLES < 0.2, NAN, COUNTS > 2.0 + np.zeros((60, 4))), None),
        ("bernoulli", np.repeat((COUNTS[:, :1] > 2) * 1.0, 4, axis=1), None),
        ("student_t", where((0, 0), 1e30), None), ("student_t", GOOD * 1e-30, None),
    ],
)  # fmt: skip
def test_values_outside_the_domain_of_a_likelihood(likelihood, X, message):
    X = np.asarray(X, dtype=float)
    if message is None:
        check_answers(make(likelihood=likelihood).fit(X), X)
    else:
        with pytest.raises(ValueError, match=message):
            make(likelihood=likelihood).fit(X)


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_counts_beyond_those_that_a_likelihood_knows(likelihood):
    """They are explained or refused, but not cut."""
    X = COUNTS * 1e12
    try:
        model = make(likelihood=likelihood).fit(X)
    except ValueError as error:
        assert "count" in str(error)
    else:
        assert 0.1 < model.reconstruct(X).mean() / X.mean() < 10


# -------------------------------------------------------------------------------- after fit


@pytest.fixture(scope="module")
def models():
    return {
        (cls, name): make(cls).fit(X)
        for cls in (VAETransformer, VAEOutlierDetector)
        for name, X in (("array", GOOD), ("frame", FRAME), ("mixed", MIXED))
    }


WIDTH = "X has {n} features, but {{cls}} is expecting 4 features as input"
NAMES = "feature names should match those that were passed during fit"
LATER = {
    "too narrow": ("array", GOOD[:, :3], ValueError, WIDTH.format(n=3)),
    "too wide": ("array", np.c_[GOOD, GOOD], ValueError, WIDTH.format(n=8)),
    "no rows": ("array", GOOD[:0], ValueError, r"0 sample\(s\) .* minimum of 1 is required"),
    "1-D": ("array", GOOD[0], ValueError, "Expected 2D array, got 1D array"),
    "inf": ("array", where((0, 0), np.inf), ValueError, INFINITE),
    "strings": ("array", np.array([["a"] * 4], dtype=object), ValueError, FLOAT),
    "complex": ("array", GOOD + 1j, ValueError, "Complex data not supported"),
    "sparse": ("array", scipy.sparse.csr_array(GOOD), TypeError, "Sparse data was passed"),
    "reordered names": ("frame", FRAME[list("bacd")], ValueError, NAMES + ".*same order"),
    "renamed": ("frame", FRAME.rename(columns={"a": "z"}), ValueError, NAMES + ".*unseen.*- z"),
    "column gone": ("frame", FRAME[list("abc")], ValueError, NAMES + ".*now missing:\n- d"),
    "column more": ("frame", FRAME.assign(e=1), ValueError, NAMES + ".*unseen.*- e"),
    "unseen category": ("mixed", MIXED.assign(kind="new"), ValueError, "'kind'.*unseen.*'new'"),
    "strings for numbers": ("mixed", MIXED.assign(a="s"), ValueError, FLOAT + ": 's' .column 'a'"),
    "numbers for strings": ("mixed", MIXED.assign(kind=1.0), ValueError, "'kind'.*unseen.*: 1;"),
    "numbers for flags": ("mixed", MIXED.assign(flag=7.0), ValueError, "'flag'.*between 0 and 1"),
    "inf in a frame": ("mixed", MIXED.assign(b=np.inf), ValueError, INFINITE + ".*column 'b'"),
    "missing row": ("array", np.full((2, 4), NAN), None, None),
    "missing row of a frame": ("mixed", MIXED[:3].assign(**dict.fromkeys(MIXED)), None, None),
    "1e8": ("array", np.full((1, 4), 1e8), None, None),
    "1e30": ("array", np.full((1, 4), 1e30), None, None),
    "-1e30 among others": ("array", where((3, 2), -1e30), None, None),
    "1e300": ("array", np.full((1, 4), 1e300), None, None),
    "1e-300": ("array", np.full((1, 4), 1e-300), None, None),
    "3e38 in float32": ("array", np.full((1, 4), 3e38, dtype=np.float32), None, None),
    "1e30 in a frame": ("mixed", MIXED.assign(a=1e30), None, None),
}


@BOTH
@pytest.mark.parametrize("name", LATER)
def test_a_table_unlike_that_of_fit(name, cls, models):
    fitted_on, X, error, message = LATER[name]
    model = models[cls, fitted_on]
    if error is None:
        return check_answers(model, X)
    for method in ("transform", "infer", "reconstruct", "score_samples", "predict"):
        if hasattr(model, method):
            with pytest.raises(error, match="(?s)" + message.replace("{cls}", cls.__name__)):
                getattr(model, method)(X)


def test_a_far_row_is_an_outlier_and_does_not_move_the_others(models):
    X = where(3, 1e30)
    detector = models[VAEOutlierDetector, "array"]
    assert detector.predict(X)[3] == -1
    others = np.arange(60) != 3
    assert_array_equal(detector.score_samples(X)[others], detector.score_samples(GOOD)[others])
    assert detector.score_samples(X)[3] < detector.score_samples(GOOD).min() - 10


def test_unseen_categories_as_missing_cells():
    model = make(unknown="missing").fit(MIXED)
    unseen, missing = MIXED.assign(kind="new"), MIXED.assign(kind=None)
    assert_array_equal(model.score_samples(unseen), model.score_samples(missing))
    check_answers(model, unseen)


def test_arrays_after_frames_and_frames_after_arrays(models):
    for name, X in (("frame", GOOD), ("array", FRAME)):
        model = models[VAETransformer, name]
        with pytest.warns(UserWarning, match="feature names"):
            codes = model.transform(X)
        assert_allclose(codes, model.transform(FRAME if name == "frame" else GOOD), rtol=1e-6)


# ------------------------------------------------------------------------------------ weights

ONES = np.ones(60)
WEIGHTS = {
    "zero": (0 * ONES, ValueError, "non-zero|sums to zero"),
    "negative": (-ONES, ValueError, "Negative values in data passed to `sample_weight`"),
    "one negative": (where(0, -1.0, ONES), ValueError, "Negative values"),
    "NaN": (where(0, NAN, ONES), ValueError, "sample_weight contains NaN"),
    "inf": (where(0, np.inf, ONES), ValueError, "sample_weight contains infinity"),
    "too short": (ONES[:5], ValueError, r"sample_weight.shape == \(5,\), expected \(60,\)"),
    "2-D": (np.ones((60, 2)), ValueError, "Sample weights must be 1D array or scalar"),
    "strings": (["a"] * 60, ValueError, FLOAT),
    "one row left": (np.eye(60)[0], ValueError, NOTHING + "|minimum of 2 is required"),
    "two rows left": (np.eye(60)[0] + np.eye(60)[1], None, None),
    "1e-300": (1e-300 * ONES, None, None), "1e300": (1e300 * ONES, None, None),
    "from 1e-300 to 1e300": (np.logspace(-300, 300, 60), None, None),
    "booleans": (GOOD[:, 0] > 0, None, None), "integers": (np.arange(60), None, None),
    "scalar": (2.0, None, None),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, cls):
    weights, error, message = WEIGHTS[name]
    if error is None:
        check_answers(make(cls).fit(GOOD, sample_weight=weights), GOOD)
    else:
        with pytest.raises(error, match=message):
            make(cls).fit(GOOD, sample_weight=weights)
