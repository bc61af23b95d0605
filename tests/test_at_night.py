"""Rows of later that are not like those of the training, and what services say of them."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.exceptions import CheckpointError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "amount": RNG.lognormal(size=80),
        "hour": RNG.integers(0, 24, 80),
        "kind": RNG.choice(["card", "cash"], 80),
        "currency": "EUR",
    }
)
QUICK = {"max_iter": 2, "random_state": 0, "score_function": "likelihood"}


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(**QUICK).fit(FRAME)


def test_a_new_category_is_named_in_a_constant_column_too(detector):
    later = FRAME[:3].assign(currency=["EUR", "USD", None])
    with pytest.raises(ValueError, match="'currency' holds .* unseen in fit: 'USD'; .*'EUR'"):
        detector.score_samples(later)
    with pytest.raises(ValueError, match="'currency' holds .* unseen in fit: 3; .*'EUR'"):
        detector.score_samples(later.assign(currency=3))
    lenient = VAEOutlierDetector(unknown="missing", **QUICK).fit(FRAME)
    assert_array_equal(lenient.score_samples(later), lenient.score_samples(FRAME[:3]))
    gaps = later.assign(currency=None)
    assert_array_equal(detector.score_samples(gaps), detector.score_samples(FRAME[:3]))


def test_graphs_refuse_what_estimators_refuse(detector):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skvae.export import feeds, to_onnx

    content = to_onnx(detector, ["score_samples"]).SerializeToString()
    session = onnxruntime.InferenceSession(content)
    later = FRAME[:3].assign(currency=["EUR", "USD", None])
    (scores,) = session.run(None, feeds(session, later))
    assert_array_equal(np.isnan(scores), [False, True, False])
    with pytest.raises(ValueError, match="feeds expects numbers in column 'hour'.*'noon'"):
        feeds(session, later.assign(hour="noon"))


def test_graphs_of_numbers_know_columns_by_name():
    onnxruntime = pytest.importorskip("onnxruntime")
    from skvae.export import feeds, to_onnx

    X = FRAME[["amount", "hour"]]
    vae = VAETransformer(1, max_iter=2, random_state=0).fit(X)
    session = onnxruntime.InferenceSession(to_onnx(vae).SerializeToString())
    expected = feeds(session, X)["X"]
    assert_allclose(expected, X, rtol=1e-6)
    # Other orders and further columns gave other codes, or an error of onnxruntime.
    assert_array_equal(feeds(session, FRAME[["kind", "hour", "amount"]])["X"], expected)
    assert_array_equal(feeds(session, X.to_numpy())["X"], expected)
    with pytest.raises(ValueError, match=r"\['hour'\] are not there"):
        feeds(session, X.rename(columns={"hour": "Hour"}))
    unnamed = VAETransformer(1, max_iter=2, random_state=0).fit(X.to_numpy())
    session = onnxruntime.InferenceSession(to_onnx(unnamed).SerializeToString())
    assert_array_equal(feeds(session, X)["X"], expected)


def test_unseen_categories_are_shown_as_they_came(detector):
    with pytest.raises(ValueError, match="unseen in fit: 7; .*by missing cells, or fit with"):
        detector.score_samples(FRAME[:2].assign(kind=7))


def test_strings_in_a_column_of_numbers_say_where_and_what_to_do(detector):
    with pytest.raises(ValueError, match="'12'.*'hour' held numbers.*strings now.*to_numeric"):
        detector.score_samples(FRAME[:2].assign(hour="12"))


def test_what_is_normal_has_the_labels_of_the_rows(detector):
    rows = FRAME.sample(4, random_state=0)
    told, normal = detector.explain(rows, return_normal=True)
    assert_array_equal(told.index, rows.index)
    assert_array_equal(normal.index, rows.index)
    assert isinstance(VAEOutlierDetector(**QUICK).fit(RNG.normal(size=(50, 2))).explain(
        RNG.normal(size=(3, 2)), return_normal=True
    )[1], np.ndarray)  # fmt: skip


@pytest.mark.parametrize("share", [0.99, 0.9999])
def test_shares_that_leave_nothing_to_train_on(share):
    with pytest.raises(ValueError, match=f"conformal={share} of VAEOutl.* 2 of 80 rows.*Lower it"):
        VAEOutlierDetector(conformal=share, **QUICK).fit(FRAME)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_records_and_series_are_no_tables(detector):
    rows = FRAME[:2].to_dict("records")
    for wrong in (rows, rows[0]):
        with pytest.raises(ValueError, match=r"got dictionaries.*pd.DataFrame\(rows\)") as caught:
            detector.predict(wrong)
        # Whose rows these are is nobody's business who reads the log.
        assert "card" not in str(caught.value)
    with pytest.raises(ValueError, match=r"A Series is no table.*X.iloc\[\[i\]\]"):
        detector.predict(FRAME.iloc[0])
    assert_array_equal(detector.predict(pd.DataFrame(rows)), detector.predict(FRAME[:2]))


@pytest.mark.parametrize("dtype", [float, int])
def test_cells_under_a_mask_are_missing(dtype):
    X = RNG.integers(0, 9, (60, 3)).astype(dtype)
    mask = RNG.random(X.shape) < 0.2
    masked, gaps = np.ma.masked_array(X, mask), np.where(mask, np.nan, X)
    first, second = (VAEOutlierDetector(**QUICK).fit(rows) for rows in (masked, gaps))
    assert_array_equal(first.score_samples(masked), second.score_samples(gaps))
    assert not np.array_equal(first.score_samples(masked), first.score_samples(X))


def test_a_checkpoint_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match=r"checkpoint='.*file.*' of VAE.* is no folder"):
            VAEOutlierDetector(checkpoint=place, **QUICK).fit(FRAME)


def test_no_threads():
    with pytest.raises(ValueError, match="n_jobs should be .*, got 0"):
        VAEOutlierDetector(n_jobs=0, **QUICK).fit(FRAME)


def test_one_column_to_keep(detector, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    from skvae.io import transform_parquet

    FRAME.assign(row=range(80)).to_parquet(tmp_path / "rows.parquet")
    path = transform_parquet(
        detector, tmp_path / "rows.parquet", tmp_path / "out.parquet", method="predict", keep="row"
    )
    assert pq.read_table(path).column_names == ["row", "predict"]


ROWS = FRAME[["amount", "kind"]].assign(
    day=pd.Timestamp("2020-01-01") + pd.to_timedelta(FRAME["hour"], "D"), paid=FRAME["hour"] > 9
)
BLANKS = {"None": None, "NaN": np.nan, "NaT": pd.NaT}


@pytest.fixture(scope="module")
def filling():
    quick = {"max_iter": 2, "random_state": 0}
    vae = VAETransformer(1, **quick).fit(ROWS)
    return vae, VAEImputer(n_members=1, refine=None, **quick).fit(ROWS)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("column", ["amount", "kind", "day", "paid"])
def test_columns_without_a_cell_have_any_dtype(filling, column, blank):
    """Records of a service: what is missing there gives its column no dtype."""
    vae, imputer = filling
    records = [row | {column: BLANKS[blank]} for row in ROWS[:2].to_dict("records")]
    later, known = pd.DataFrame(records), ROWS[:2].copy()
    known[column] = known[column].astype("boolean" if column == "paid" else known[column].dtype)
    known.loc[:, column] = pd.NaT if column == "day" else pd.NA if column == "paid" else np.nan
    assert_array_equal(vae.transform(later), vae.transform(known))
    for fill in (vae.impute, imputer.transform):
        expected = fill(known)[column]
        assert fill(later)[column].tolist() == expected.tolist()
    if column in ("kind", "day"):
        assert fill(later)[column].dtype.kind == ROWS[column].dtype.kind


def test_columns_of_none_in_polars():
    polars = pytest.importorskip("polars")
    imputer = VAEImputer(max_iter=1, n_members=1, refine=None, random_state=0)
    imputer.fit(polars.from_pandas(ROWS))
    later = polars.DataFrame([{name: None for name in ROWS}])
    assert later.dtypes == [polars.Null] * 4
    done = imputer.transform(later)
    assert done.dtypes == polars.from_pandas(ROWS).dtypes and not sum(done.null_count().row(0))


def test_dates_where_numbers_were_are_still_refused(detector):
    with pytest.raises(TypeError, match="'amount' held numbers in fit and holds date-times now"):
        detector.score_samples(FRAME[:2].assign(amount=[pd.NaT, pd.Timestamp("2020")]))


def test_dates_as_text_are_refused_with_what_makes_them_dates(filling):
    later = ROWS[:2].assign(day=ROWS["day"][:2].astype(str))
    with pytest.raises(TypeError, match="'day' held date-times in .* labels now.*pd.to_datetime"):
        filling[0].transform(later)
    dates = later.assign(day=pd.to_datetime(later["day"]))
    assert_array_equal(filling[0].transform(dates), filling[0].transform(ROWS[:2]))
