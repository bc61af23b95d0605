"""Tables beyond memory: what is read, in which order, and what is learned of it."""

import os
import pickle
import threading
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer
from skvae._component_search import ComponentSearch
from skvae.model_selection import StackedGridSearchCV
from skvae.noise import Noise
from skvae.streaming import Stream, sample_of, source_of
from skvae.streaming import sample as sampling
from skvae.streaming.prefetch import ahead
from skvae.streaming.ranges import ranges_of
from skvae.streaming.shuffling import shuffled
from skvae.streaming.source import ArraySource
from skvae.training import Rows
from skvae.training.feeding import Resident, Streamed
from skvae.training.loop import _Run

N_ROWS = 3_000
SETTINGS = {"n_components": 2, "max_iter": 3, "random_state": 0}


def frame(n_rows=N_ROWS, seed=0):
    """Two latents behind numbers, a flag, a category, a date and holes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 2))
    table = pd.DataFrame(z @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n_rows, 4)))
    table.columns = list("abcd")
    table["flag"] = z[:, 0] > 0
    table["kind"] = np.where(z[:, 1] > 0, "up", "down")
    table["day"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 99, n_rows), "D")
    table.loc[rng.random(n_rows) < 0.1, "b"] = np.nan
    return table


@pytest.fixture(scope="module")
def numbers():
    return frame()[list("abcd")].fillna(0.0)


@pytest.fixture
def small_samples(monkeypatch):
    """Samples so small that tables of tests are beyond them."""
    monkeypatch.setattr(sampling, "SAMPLE_ROWS", 600)


def folder_of(table, path, n_files=3):
    """A folder of Parquet files with row groups of unequal sizes."""
    path.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(table)), n_files)):
        part = pa.Table.from_pandas(table.iloc[rows], preserve_index=False)
        pq.write_table(part, path / f"{number}.parquet", row_group_size=170 + 100 * number)
    return path


def as_path(table, folder):
    return str(folder_of(table, folder / "rows"))


def as_dataset(table, folder):
    return ds.dataset(folder_of(table, folder / "rows"))


def as_feather(table, folder):
    import pyarrow.feather as feather

    feather.write_feather(table, folder / "rows.feather")
    return ds.dataset(folder / "rows.feather", format="feather")


def as_arrow(table, folder):
    return pa.Table.from_pandas(table, preserve_index=False)


def as_memmap(table, folder):
    np.save(folder / "rows.npy", table.to_numpy())
    return np.load(folder / "rows.npy", mmap_mode="r")


ALL = [as_path, as_dataset, as_feather, as_arrow, as_memmap]


# -- sources ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_a_source_holds_the_rows_in_order(make, numbers, tmp_path):
    source = source_of(make(numbers, tmp_path))
    assert source.n_rows == N_ROWS
    whole = source.whole()
    assert np.array_equal(np.asarray(whole), numbers.to_numpy())
    parts = dict(ranges_of(source, 700, {0, 2, 4}))
    assert sorted(parts) == [0, 2, 4]
    assert np.array_equal(np.asarray(parts[2]), numbers.to_numpy()[1400:2100])
    assert np.array_equal(np.asarray(parts[4]), numbers.to_numpy()[2800:])


@pytest.mark.parametrize("make", ALL)
def test_an_epoch_holds_each_row_once_in_another_order(make, numbers, tmp_path, monkeypatch):
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 64)
    monkeypatch.setattr("skvae.streaming.stream.CHUNK_ROWS", 500)
    source = source_of(make(numbers, tmp_path))
    held_out = np.arange(5, N_ROWS, 7)
    stream = Stream(source, lambda table, w: np.asarray(table), held_out, seed=1)
    kept = np.delete(numbers.to_numpy(), held_out, axis=0)
    assert stream.n_rows == len(kept)
    sizes = [len(part) for part in np.array_split(kept, 40)]

    def epoch(number):
        chunks = list(stream.chunks(number, sizes))
        assert [len(rows) for rows, _ in chunks] == [sum(group) for _, group in chunks]
        assert sum((group for _, group in chunks), []) == sizes
        return np.concatenate([rows for rows, _ in chunks])

    first, second = epoch(0), epoch(1)
    order = np.lexsort(kept.T)
    for rows in (first, second):
        assert np.array_equal(rows[np.lexsort(rows.T)], kept[order])
    if len(source.pieces) > 1:
        assert not np.array_equal(first, kept)
        assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch(0))


def test_pieces_of_a_sorted_table_come_mixed():
    table = pa.table({"t": np.arange(64_000.0)})
    source = source_of(table)
    blocks = [first for first, _ in shuffled(source, source.pieces, np.random.default_rng(0))]
    assert sorted(blocks) == [piece.first for piece in source.pieces] and blocks != sorted(blocks)


def rows_of(table, weights=None):
    return Rows(torch.as_tensor(table), torch.as_tensor(table), None, None)


def resident(X):
    return Resident(rows_of(X), torch.arange(len(X)).expand(2, -1))


def streamed(X):
    return Streamed(Stream(ArraySource(X.numpy()), rows_of, np.zeros(0, dtype=int)), 2)


@pytest.mark.parametrize("make", [resident, streamed])
def test_batches_mix_the_rows_of_a_chunk(make):
    X = torch.arange(40.0)[:, None]
    noise = Noise([0, 1])

    def epoch(number):
        batches = list(_Run._batches_of(make(X), noise, number, [10] * 4))
        assert [batch.values.shape[2] for batch in batches] == [10] * 4
        return torch.cat([batch.values for batch in batches], 2)[:, 0, :, 0]

    first, second = epoch(0), epoch(1)
    for rows in (*first, *second):
        assert torch.equal(rows.sort().values, X[:, 0])
        # Each batch is of rows from all over the chunk.
        assert all(len(set((part // 10).tolist())) > 1 for part in rows.split(10))
    assert not torch.equal(first, second) and not torch.equal(*first)


def test_weights_follow_their_rows(numbers):
    source = ArraySource(np.arange(N_ROWS, dtype=np.float64)[:, None])
    stream = Stream(
        source, lambda table, w: (table[:, 0], w), np.array([3, 4]), np.arange(N_ROWS) / 1.0
    )
    for (rows, weights), _ in stream.chunks(0, [1_000, 1_000, 998]):
        assert np.array_equal(rows, weights)


@pytest.mark.parametrize(
    "bad, error, words",
    [
        ("nowhere.parquet", FileNotFoundError, "nothing at"),
        (pa.table({"a": pa.array([[1], [2]])}), TypeError, "'a'"),
        (pa.table({"a": pa.array([], pa.float64())}), ValueError, "at least one row"),
        (pa.table([[1.0, 2.0]] * 2, names=["a", "a"]), ValueError, "got duplicates: 'a'"),
    ],
)
def test_what_cannot_be_read_is_refused(bad, error, words):
    with pytest.raises(error, match=words):
        VAETransformer(**SETTINGS).fit(bad)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("no such thing")
    with pytest.raises(ValueError, match="Parquet"):
        VAETransformer(**SETTINGS).fit(tmp_path / "x.parquet")


# -- what is learned before training ------------------------------------------------------


def test_a_sample_is_uniform_and_its_witnesses_show_what_is_rare(small_samples):
    table = frame()
    table.loc[1234, "kind"] = "sideways"
    table.loc[17, "a"] = 1e3
    table.loc[2999, "c"] = -1e3
    sample = sample_of(source_of(pa.Table.from_pandas(table)), seed=0)
    assert len(sample.table) == len(sample.rows) == 600
    pd.testing.assert_frame_equal(
        sample.table[list("abcd")], table[list("abcd")].iloc[sample.rows].reset_index(drop=True)
    )
    seen = sample.witnesses
    assert seen["a"].max() == 1e3 and seen["c"].min() == -1e3
    assert set(seen["kind"]) == {"up", "down", "sideways"}
    assert len(seen) < 640
    weight = sample.witness_weight(None)
    assert np.allclose(np.average(seen["d"], weights=weight), sample.table["d"].mean())
    # The sample alone knows the one or the other, but not all.
    assert sample.table["c"].min() > -1e3 and "sideways" not in set(sample.table["kind"])


def test_no_number_is_a_missing_cell_to_files_that_tell_them_apart(small_samples):
    table = frame().drop(columns="b")
    source = pa.Table.from_pandas(table)
    holes = table["c"].to_numpy().copy()
    holes[1234] = np.nan
    assert 1234 not in sample_of(source_of(source), seed=0).rows
    for is_null in (True, False):
        column = pa.array(holes, from_pandas=is_null)
        assert column.null_count == is_null
        source = source.set_column(source.schema.get_field_index("c"), "c", column)
        assert sample_of(source_of(source), seed=0).witnesses["c"].isna().sum() == 1
        vae = VAETransformer(**SETTINGS).fit(source)
        assert np.isfinite(vae.score_samples(source)).all()


def test_a_category_of_one_row_is_known(small_samples):
    table = frame()
    table.loc[1234, "kind"] = "sideways"
    vae = VAETransformer(**SETTINGS).fit(pa.Table.from_pandas(table))
    assert np.isfinite(vae.score_samples(table)).all()
    with pytest.raises(ValueError, match="sideways"):
        VAETransformer(**SETTINGS).fit(table.drop(1234)).score_samples(table)


def test_columns_look_alike_in_every_part():
    flags = pa.array([True, None] + [False] * 3)
    source = source_of(
        pa.table(
            {
                "flag": flags,
                "price": pa.array([Decimal("1.50")] * 5),
                "day": pa.array(np.arange(5, dtype=np.int32)).cast(pa.date32()),
                "kind": pa.array(list("abcab")).dictionary_encode(),
                "n": pa.array([1, 2, None, 4, 5]),
            }
        )
    )
    whole = source.whole()
    for _, part in ranges_of(source, 2, {0, 1, 2}):
        assert part["flag"].dtype == whole["flag"].dtype == pd.BooleanDtype()
        assert part["day"].dtype == whole["day"].dtype
        assert part["kind"].dtype.name == "category"
    assert whole["price"].tolist() == [1.5] * 5


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_dates_of_a_zone_are_those_of_the_frame(zone, tmp_path):
    table = frame(200)
    table["day"] = table["day"].dt.tz_localize(zone)
    whole = VAETransformer(**SETTINGS).fit(table)
    X = as_path(table, tmp_path)
    ours = VAETransformer(**SETTINGS).fit(X)
    assert np.array_equal(ours.score_samples(X), whole.score_samples(table))
    assert str(ours.reconstruct(X)["day"].dt.tz) == zone


# -- estimators ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_a_small_source_is_fitted_as_the_table(make, numbers, tmp_path):
    source = make(numbers, tmp_path)
    table = numbers.to_numpy() if make is as_memmap else numbers
    ours, theirs = (VAETransformer(**SETTINGS).fit(X) for X in (source, table))
    assert np.array_equal(ours.transform(source), theirs.transform(table))
    assert np.array_equal(ours.score_samples(source), theirs.score_samples(table))


def test_a_stream_trains_as_well_as_the_table(small_samples):
    table, new = frame(), frame(seed=0).sample(frac=1.0, random_state=1)
    settings = {**SETTINGS, "max_iter": 8, "batch_size": 64}
    streamed = VAETransformer(**settings).fit(pa.Table.from_pandas(table))
    resident = VAETransformer(**settings).fit(table)
    sampled = VAETransformer(**settings).fit(table.iloc[:60])
    scores = [vae.score_samples(new).mean() for vae in (streamed, resident, sampled)]
    assert abs(scores[0] - scores[1]) < 0.2
    assert scores[2] < scores[0] - 0.5
    assert streamed.n_iter_ == 8 and len(streamed.history_["validation_bound"]) == 8


def test_a_stream_fits_the_same_bits_again(numbers, small_samples):
    X = pa.Table.from_pandas(numbers)
    ours, again = (VAETransformer(**SETTINGS, n_members=2).fit(X) for _ in range(2))
    assert np.array_equal(ours.transform(X), again.transform(X))
    other = VAETransformer(**{**SETTINGS, "random_state": 1}).fit(X)
    assert not np.array_equal(ours.transform(X), other.transform(X))


def test_a_member_of_a_streamed_stack_is_the_model_alone(numbers, small_samples):
    X = pa.Table.from_pandas(numbers)
    settings = {**SETTINGS, "early_stopping": False, "calibrate": False}
    stack = VAETransformer(**settings, n_members=2).fit(X)
    alone = VAETransformer(**settings).fit(X)
    ours, theirs = stack.vae_.state_dict(), alone.vae_.state_dict()
    assert all(np.array_equal(ours[name][:1], theirs[name][:1]) for name in theirs)


def test_weights_of_a_stream_count(small_samples):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-3, 1, (1500, 3)), rng.normal(3, 1, (1500, 3))])
    weight = np.repeat([1.0, 0.0], 1500)
    source = pa.table({f"x{j}": X[:, j] for j in range(3)})
    vae = VAETransformer(**SETTINGS).fit(source, sample_weight=weight)
    assert vae.sample(200).mean().max() < -2
    assert abs(VAETransformer(**SETTINGS).fit(source).sample(500).mean().max()) < 1


def test_partial_fit_takes_an_epoch_of_a_stream(numbers, small_samples):
    X = pa.Table.from_pandas(numbers)
    vae = VAETransformer(**SETTINGS).partial_fit(X)
    codes = vae.transform(X)
    for _ in range(4):
        vae.partial_fit(X)
    assert vae.n_iter_ == len(vae.history_["bound"]) == 5
    assert not np.allclose(vae.transform(X), codes, atol=0.01)


def test_the_number_of_latents_is_chosen_on_the_sample(numbers, small_samples, monkeypatch):
    seen, run = [], ComponentSearch.run
    monkeypatch.setattr(
        ComponentSearch, "run", lambda self: (seen.append(len(self.X)), run(self))[1]
    )
    vae = VAETransformer(**{**SETTINGS, "n_components": "auto"}).fit(pa.Table.from_pandas(numbers))
    assert vae.transform(numbers).shape == (N_ROWS, vae.n_components_)
    assert seen == [600]


def test_a_stacked_search_trains_on_all_rows(numbers, small_samples, monkeypatch):
    seen, chunks = [], Stream.chunks
    monkeypatch.setattr(Stream, "chunks", lambda *how: seen.append(how[0].n_rows) or chunks(*how))
    X = pa.Table.from_pandas(numbers)
    settings = {"max_iter": 1, "hidden_layer_sizes": (4,), "random_state": 0}
    scores = []
    for kind in (GridSearchCV, StackedGridSearchCV):
        seen.clear()
        search = kind(VAETransformer(**settings), {"n_components": [1, 2]}, cv=2).fit(X)
        scores.append(search.cv_results_["mean_test_score"])
        # Two parts of training of each of four fits, and of the last on the whole.
        assert len(seen) == 10 and min(seen) > 1_000
    assert np.array_equal(*scores)


METHODS = {
    VAETransformer: ["transform", "infer", "score_samples", "reconstruct", "impute"],
    VAEOutlierDetector: ["score_samples", "decision_function", "predict", "explain"],
    VAEImputer: ["transform", "predict_interval"],
}


@pytest.mark.parametrize(
    "kind, method", [(kind, method) for kind, methods in METHODS.items() for method in methods]
)
def test_a_method_gives_the_same_by_parts(kind, method, monkeypatch):
    table = frame(600)
    fitted = kind(n_components=2, max_iter=2, random_state=0).fit(table)
    whole = getattr(fitted, method)(table)
    monkeypatch.setattr("skvae._sources.ROWS_AT_ONCE", 100)
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 100)
    parts = getattr(fitted, method)(pa.Table.from_pandas(table))
    # Imputers add what their trees say, and these in another order by parts.
    exact = {} if kind is VAEImputer else {"rtol": 0.0, "atol": 0.0}
    for ours, theirs in zip(*([x] if not isinstance(x, tuple) else x for x in (parts, whole))):
        ours, theirs = pd.DataFrame(ours), pd.DataFrame(theirs)
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, **exact)


def test_draws_of_parts_are_not_those_of_the_first(monkeypatch):
    table = frame(600)
    table["b"] = np.where(np.arange(600) % 100 == 0, np.nan, 1.0 + table["a"])
    repeated = pd.concat([table.iloc[:100]] * 2, ignore_index=True)
    vae = VAETransformer(n_components=2, max_iter=2, random_state=0).fit(table)
    monkeypatch.setattr("skvae._sources.ROWS_AT_ONCE", 100)
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 100)
    drawn = vae.impute(pa.Table.from_pandas(repeated), n_imputations=1)[0]["b"]
    assert drawn[0] != drawn[100]


def test_detectors_and_imputers_take_sources(small_samples):
    table = frame()
    X = pa.Table.from_pandas(table)
    detector = VAEOutlierDetector(**SETTINGS, contamination=0.05).fit(X)
    assert 0.02 < (detector.predict(X) == -1).mean() < 0.1
    imputer = VAEImputer(n_components=2, max_iter=2, random_state=0).fit(X)
    assert not imputer.transform(X).isna().any().any()
    drawn = VAESynthesizer(max_iter=2, random_state=0).fit(X).sample(5)
    assert list(drawn.columns) == list(table.columns)


def test_output_of_a_source_may_be_a_frame(numbers):
    vae = VAETransformer(**SETTINGS).set_output(transform="pandas").fit(numbers)
    codes = vae.transform(pa.Table.from_pandas(numbers))
    assert isinstance(codes, pd.DataFrame) and len(codes) == N_ROWS


def test_only_known_columns_are_read(numbers):
    vae = VAETransformer(**SETTINGS).fit(numbers)
    more = pa.Table.from_pandas(numbers.assign(id=np.arange(N_ROWS)))
    assert np.array_equal(vae.transform(more), vae.transform(numbers))


@pytest.mark.parametrize(
    "kind, settings, y, words",
    [
        (VAETransformer, {"supervision": "classes"}, None, "supervision='classes'"),
        (VAETransformer, {"penalty": "neighbors"}, None, "penalty"),
        (VAETransformer, {}, np.zeros(N_ROWS), "takes no y"),
        (VAEOutlierDetector, {"trim": 0.1}, None, "trim=0.1"),
        (VAEOutlierDetector, {"conformal": 0.2}, None, "conformal=0.2"),
    ],
)
def test_what_must_see_all_rows_is_refused(kind, settings, y, words, numbers, small_samples):
    with pytest.raises(ValueError, match=words):
        kind(**SETTINGS, **settings).fit(pa.Table.from_pandas(numbers), y)


@pytest.mark.parametrize("bad", [np.inf, np.nan, -1.0, None])
def test_bad_weights_are_refused(bad, numbers, small_samples):
    weight = np.ones(3) if bad is None else np.where(np.arange(N_ROWS) == 7, bad, 1.0)
    words = "got shape .3,." if bad is None else "1 of them not so"
    with pytest.raises(ValueError, match=f"one per row.*{words}"):
        VAETransformer(**SETTINGS).fit(pa.Table.from_pandas(numbers), sample_weight=weight)


def test_an_infinite_cell_beyond_the_sample_is_refused(numbers, small_samples):
    table = numbers.copy()
    table.loc[1234, "a"] = np.inf
    with pytest.raises(ValueError, match="infinit"):
        VAETransformer(**SETTINGS).fit(pa.Table.from_pandas(table))


class Shrinking(ArraySource):
    """A source whose last piece lost its last row since it was opened."""

    def read(self, piece):
        for block in super().read(piece):
            yield block[:-1] if piece.first + piece.n_rows == self.n_rows else block


def by_tables(source):
    return list(source.tables(100))


def by_ranges(source):
    return [rows for _, rows in ranges_of(source, 100, {0, 1, 2})]


def by_epochs(source):
    stream = Stream(source, lambda table, weights: table, np.zeros(0, dtype=int))
    return [rows for rows, _ in stream.chunks(0, [100] * 3)]


@pytest.mark.parametrize("read", [by_tables, by_ranges, by_epochs])
def test_a_source_that_lost_rows_is_refused_wherever_it_is_read(read, monkeypatch):
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 64)
    X = np.arange(300.0)[:, None]
    assert sum(map(len, read(ArraySource(X)))) == 300
    with pytest.raises(RuntimeError, match="changed since it was opened"):
        read(Shrinking(X))


@pytest.mark.parametrize("make", [as_path, as_dataset, as_feather])
def test_a_file_that_was_written_to_is_refused(make, numbers, tmp_path):
    source = source_of(make(numbers, tmp_path))
    file = next(file for file in tmp_path.rglob("*") if file.is_file())
    assert len(source.whole()) == N_ROWS
    os.utime(file, ns=(1, 1))
    with pytest.raises(RuntimeError, match="written to since the source was opened"):
        source.whole()
    # Opened anew it is read, and by a process that gets the source, which may have other files.
    again = source_of(source.dataset)
    other = pickle.loads(pickle.dumps(source))
    assert len(again.whole()) == len(other.whole()) == N_ROWS
    os.utime(file, ns=(2, 2))
    with pytest.raises(RuntimeError, match="written to since the source was opened"):
        other.whole()


def test_a_fingerprint_of_a_table_is_of_all_rows(numbers, monkeypatch):
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 64)
    changed = numbers.copy()
    changed.loc[N_ROWS - 2, "d"] += 1.0
    for as_source in (as_arrow, lambda table, _: ds.dataset(as_arrow(table, None))):
        first, again, other = (
            source_of(as_source(table, None)).fingerprint()
            for table in (numbers, numbers.copy(), changed)
        )
        assert first == again != other


@pytest.mark.parametrize("make", [as_path, as_dataset, as_feather, as_memmap])
def test_a_fingerprint_of_files_is_of_their_times(make, numbers, tmp_path):
    X = make(numbers, tmp_path)
    first, again = (source_of(X).fingerprint() for _ in range(2))
    os.utime(next(file for file in tmp_path.rglob("*") if file.is_file()), ns=(1, 1))
    assert first == again != source_of(X).fingerprint()


# -- reading ahead ------------------------------------------------------------------------


def test_what_a_reader_raises_is_raised_here():
    def items():
        yield 1
        raise OSError("gone")

    got = ahead(items())
    assert next(got) == 1
    with pytest.raises(OSError, match="gone"):
        next(got)


def threads():
    return [t for t in threading.enumerate() if t.name == "skvae-reader"]


def test_a_step_that_fails_leaves_no_reader(numbers, small_samples, monkeypatch):
    from skvae.training import loop

    step, seen = loop._Run._step, []

    def failing(run, batch, progress):
        seen.append(threads())
        if len(seen) == 3:
            raise ValueError("bad step")
        return step(run, batch, progress)

    monkeypatch.setattr(loop._Run, "_step", failing)
    monkeypatch.setattr("skvae.streaming.stream.CHUNK_ROWS", 256)
    # Who looks at the error holds all that was there when it came.
    with pytest.raises(ValueError, match="bad step") as caught:
        VAETransformer(**SETTINGS).fit(pa.Table.from_pandas(numbers))
    assert seen[-1] and not threads(), caught


def test_a_reader_ends_with_who_reads():
    got = ahead(iter(range(10**9)))
    assert next(got) == 0 and threads()
    got.close()
    for _ in range(100):
        if not threads():
            break
        time.sleep(0.01)
    assert not threads()
