"""Tables of Dask and searches over processes give the bits of one call in one process."""

import copy
import os

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from skvae import VAEOutlierDetector, VAETransformer

dask = pytest.importorskip("dask")
dd, da = pytest.importorskip("dask.dataframe"), pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
from skvae.dask import map_partitions  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore:.*large graph.*:UserWarning"),
]


def mixed(n=120, seed=0):
    """Numbers with gaps, categories, flags and counts, by an index of their own."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "x": z + 0.1 * rng.normal(size=n),
            "y": -z,
            "kind": pd.Categorical(np.where(z > 0, "up", "down")),
            "word": np.where(z > 1, "far", "near"),
            "flag": z > 0.5,
            "count": rng.poisson(3, size=n),
        },
        index=pd.Index(np.arange(n) * 10 + 5, name="id"),
    )
    frame.loc[frame.index[::7], "x"] = np.nan
    return frame


@pytest.fixture(scope="module")
def frame():
    return mixed()


@pytest.fixture(scope="module")
def vae(frame):
    return VAETransformer(2, max_iter=3, hidden_layer_sizes=(8,), random_state=0).fit(frame)


@pytest.fixture(scope="module")
def cluster():
    """Two processes of Dask."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def kept():
    """A parameter and its folds, for a search."""
    X = mixed(60)[["x", "y"]].to_numpy()
    X = np.where(np.isnan(X), 0.0, X)
    vae = VAETransformer(max_iter=2, hidden_layer_sizes=(4,), random_state=0)
    make = lambda n_jobs: GridSearchCV(vae, {"n_components": [1, 2]}, cv=2, n_jobs=n_jobs)  # noqa: E731
    return make, X, make(None).fit(X)


def same(searched, reference):
    name = "mean_test_score"
    return np.array_equal(searched.cv_results_[name], reference.cv_results_[name])


METHODS = ["score_samples", "transform", "reconstruct", "impute"]


@pytest.mark.parametrize("method", METHODS)
def test_partitions_of_a_frame(method, frame, vae):
    found = map_partitions(vae, dd.from_pandas(frame, npartitions=4), method)
    whole = getattr(vae, method)(frame)
    computed = found.compute(scheduler="synchronous")
    assert found.npartitions == 4 and computed.index.equals(frame.index)
    pd.testing.assert_index_equal(found._meta.index[:0], frame.index[:0])
    if computed.ndim == 1:
        assert found.name == computed.name == method and found.dtype == computed.dtype
        assert np.array_equal(computed.to_numpy(), whole)
        return
    assert list(found.columns) == list(computed.columns)
    assert dict(found.dtypes) == dict(computed.dtypes)
    if isinstance(whole, pd.DataFrame):
        whole = whole.set_axis(frame.index)
        pd.testing.assert_frame_equal(computed, whole, check_dtype=False, check_categorical=False)
    else:
        assert np.array_equal(computed.to_numpy(), whole)


def test_of_a_frame_only_known_columns_are_read(frame, vae):
    wide = frame.assign(more=1.0)[["more", *frame.columns[::-1]]]
    found = map_partitions(vae, dd.from_pandas(wide, npartitions=2))
    assert np.array_equal(found.compute(scheduler="synchronous"), vae.score_samples(frame))


def test_an_estimator_that_is_fitted_anew_is_another_task(frame):
    # Those of equal names are one to a cluster, which may hold the result of the first.
    vae = VAETransformer(1, max_iter=1, hidden_layer_sizes=(4,), random_state=0).fit(frame)
    table = dd.from_pandas(frame, npartitions=2)

    def tasks(estimator):
        names = {str(name) for name, *_ in map_partitions(estimator, table).dask}
        return {name for name in names if name.startswith(("VAETransformer", "framed"))}

    before = tasks(vae)
    assert before == tasks(vae) == tasks(copy.deepcopy(vae))
    vae.set_params(random_state=1).fit(frame)
    assert len(before) == 2 and not before & tasks(vae)


def test_partitions_without_rows(frame, vae):
    table = dd.from_pandas(frame, npartitions=3)
    found = map_partitions(vae, table[table.y > 0]).compute(scheduler="synchronous")
    assert np.array_equal(found, vae.score_samples(frame[frame.y > 0]))
    none = map_partitions(vae, table[table.y > 1e9]).compute(scheduler="synchronous")
    assert len(none) == 0 and none.dtype == np.float64


def test_frames_of_the_estimator_keep_their_names(frame, vae):
    named = VAETransformer(2, max_iter=1, hidden_layer_sizes=(4,), random_state=0)
    named = named.set_output(transform="pandas").fit(frame)
    found = map_partitions(named, dd.from_pandas(frame, npartitions=2), "transform")
    pd.testing.assert_frame_equal(found.compute(scheduler="synchronous"), named.transform(frame))


def test_what_is_promised_has_the_names_of_the_levels_of_the_columns(frame):
    named = frame[["x", "y"]].rename_axis(columns="measured")
    vae = VAETransformer(1, max_iter=1, random_state=0).fit(named)
    rows = map_partitions(vae, dd.from_pandas(named, npartitions=2), "reconstruct")
    assert rows._meta.columns.identical(named.columns)
    assert rows.compute().columns.identical(named.columns)


def test_columns_that_must_be_there_are_tried_on_the_first_row(frame):
    given = VAETransformer(
        1, condition="kind", max_iter=1, hidden_layer_sizes=(4,), random_state=0
    ).fit(frame)
    found = map_partitions(given, dd.from_pandas(frame, npartitions=2))
    assert np.array_equal(found.compute(scheduler="synchronous"), given.score_samples(frame))


def test_methods_with_arguments_and_what_comes_out_by_hand(frame, vae):
    table = dd.from_pandas(frame, npartitions=2)
    found = map_partitions(vae, table, meta=pd.Series(dtype=float, name="nats"), n_draws=3)
    assert found.name == "nats"
    computed = found.compute(scheduler="synchronous")
    assert np.array_equal(computed, vae.score_samples(frame, n_draws=3))
    assert not np.array_equal(computed, vae.score_samples(frame))


@pytest.mark.parametrize("method", ["score_samples", "transform", "predict"])
def test_blocks_of_an_array(method):
    X = np.random.default_rng(0).normal(size=(90, 4))
    detector = VAEOutlierDetector(2, max_iter=2, hidden_layer_sizes=(4,), random_state=0).fit(X)
    estimator = detector if hasattr(detector, method) else VAETransformer(2, max_iter=1).fit(X)
    found = map_partitions(estimator, da.from_array(X, chunks=(40, 2)), method)
    whole = getattr(estimator, method)(X)
    assert found.shape == whole.shape and found.dtype == whole.dtype
    assert np.array_equal(found.compute(scheduler="synchronous"), whole)


@pytest.mark.parametrize(
    "table, method, error, match",
    [
        (None, "score_samples", TypeError, "expects a DataFrame or an Array of Dask"),
        ("array", "score_samples", TypeError, "got 1 dimension"),
        ("frame", "fly", AttributeError, "no method 'fly'"),
        ("frame", "score", TypeError, "gave float for 1 rows"),
    ],
)
def test_bad_calls(table, method, error, match, frame, vae):
    tables = {"array": da.zeros(6), "frame": dd.from_pandas(frame, npartitions=2)}
    with pytest.raises(error, match=match):
        map_partitions(vae, tables.get(table, frame), method)


# ------------------------------------------------------------------------- real processes


def test_a_cluster_gives_the_bits_of_one_call(frame, vae, cluster, tmp_path):
    dd.from_pandas(frame.reset_index(), npartitions=4).to_parquet(tmp_path / "rows")
    scores = map_partitions(vae, tmp_path / "rows")
    whole = vae.score_samples(frame)
    assert np.array_equal(scores.compute(), whole)
    codes = map_partitions(vae, dd.read_parquet(tmp_path / "rows"), "transform")
    # One task holds the estimator, whatever the number of partitions.
    tasks = dict(dask.optimize(codes)[0].__dask_graph__())
    holders = [key for key, task in tasks.items() if "VAETransformer(" in repr(task)]
    assert len(holders) == 1
    codes.to_parquet(tmp_path / "codes")
    written = pd.read_parquet(tmp_path / "codes")
    assert np.array_equal(written.to_numpy(), vae.transform(frame))
    assert list(written.columns) == list(vae.get_feature_names_out())
    # Other processes did it.
    pids = set(cluster.run(os.getpid).values())
    assert len(pids) == 2 and os.getpid() not in pids


def test_a_search_over_dask(cluster, kept):
    make, X, reference = kept
    with joblib.parallel_config(backend="dask"):
        assert same(make(2).fit(X), reference)


def test_a_search_over_loky(kept):
    make, X, reference = kept
    with joblib.parallel_config(backend="loky"):
        assert same(make(2).fit(X), reference)
    # Another seed would be seen.
    other = make(None).set_params(estimator__random_state=1).fit(X)
    assert not same(other, reference)
