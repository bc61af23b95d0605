"""Results of tables beyond memory: whole or not at all, and never done twice."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.io import open_source, transform_parquet

N_ROWS = 1_000


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 4)), columns=list("abcd"))
    X["a"] += X["b"]
    return X


@pytest.fixture(scope="module")
def vae(table):
    return VAETransformer(n_components=2, max_iter=2, random_state=0).fit(table)


@pytest.fixture
def path(table, tmp_path):
    rows = pa.Table.from_pandas(table.assign(id=np.arange(N_ROWS)[::-1]))
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=170)
    return tmp_path / "rows.parquet"


def read(path):
    return pq.read_table(path).to_pandas()


@pytest.mark.parametrize("name", ["codes.parquet", "codes"])
def test_what_is_written_is_what_the_method_gives(name, vae, table, path, tmp_path):
    rows_per_part = np.int64(300)
    target = transform_parquet(
        vae, path, tmp_path / name, keep=["id"], rows_per_part=rows_per_part
    )
    written = read(target)
    assert list(written.columns) == ["id", *vae.get_feature_names_out()]
    assert np.array_equal(written["id"], np.arange(N_ROWS)[::-1])
    assert np.array_equal(written.iloc[:, 1:], vae.transform(table))
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize(
    "method, columns", [("score_samples", ["score_samples"]), ("reconstruct", list("abcd"))]
)
def test_columns_are_named(method, columns, vae, table, path, tmp_path):
    target = transform_parquet(vae, path, tmp_path / "y.parquet", method=method)
    written = read(target)
    assert list(written.columns) == columns
    assert np.array_equal(np.squeeze(written), getattr(vae, method)(table))


def test_a_pipeline_is_applied(table, path, tmp_path):
    y = table["a"] > 0
    model = make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        VAETransformer(n_components=2, max_iter=2, random_state=0),
        LogisticRegression(),
    ).fit(table, y)
    target = transform_parquet(model, path, tmp_path / "y.parquet", method="predict_proba")
    assert np.allclose(read(target), model.predict_proba(table), atol=1e-12)


class Failing:
    """An estimator that fails at some call."""

    feature_names_in_ = np.array(list("abcd"), dtype=object)

    def __init__(self, calls, fails_at):
        self.calls, self.fails_at = calls, fails_at

    def __getstate__(self):
        return {}

    def transform(self, X):
        self.calls.append(len(X))
        if len(self.calls) == self.fails_at:
            raise RuntimeError("power cut")
        return np.asarray(X)


class Drawing(Failing):
    """An estimator that draws."""

    random_state = 0

    def impute(self, X, *, random_state=None):
        self.transform(X)
        return random_state.random_sample(len(X))


def test_it_goes_on_where_it_ended(table, path, tmp_path):
    target, calls = tmp_path / "y.parquet", []
    with pytest.raises(RuntimeError, match="power cut"):
        transform_parquet(Failing(calls, 3), path, target, rows_per_part=300)
    assert not target.exists()
    transform_parquet(Failing(calls, 0), path, target, rows_per_part=300)
    # The part that failed is done again, and no other.
    assert calls == [300, 300, 300, 300, 100]
    assert np.array_equal(read(target), table)


def test_draws_are_the_same_after_a_crash(table, path, tmp_path):
    once = transform_parquet(
        Drawing([], 0), path, tmp_path / "once.parquet", method="impute", rows_per_part=300
    )
    target = tmp_path / "twice.parquet"
    calls = []
    with pytest.raises(RuntimeError, match="power cut"):
        transform_parquet(Drawing(calls, 2), path, target, method="impute", rows_per_part=300)
    transform_parquet(Drawing(calls, 0), path, target, method="impute", rows_per_part=300)
    assert np.array_equal(read(once), read(target))
    drawn = read(once)["impute"].to_numpy()
    assert not np.array_equal(drawn[:300], drawn[300:600])


def test_draws_of_a_generator_are_the_same_after_a_crash(table, path, tmp_path):
    def write(name, fails_at):
        generator = np.random.RandomState(3)
        return transform_parquet(
            Drawing([], fails_at), path, tmp_path / name, method="impute", rows_per_part=300,
            random_state=generator,
        )  # fmt: skip

    once = write("once.parquet", 0)
    with pytest.raises(RuntimeError, match="power cut"):
        write("twice.parquet", 3)
    assert np.array_equal(read(once), read(write("twice.parquet", 0)))


@pytest.mark.parametrize("name", ["codes.parquet", "codes"])
def test_columns_that_are_kept_stay_as_they_are(name, vae, table, tmp_path):
    number = pd.array(np.arange(N_ROWS) + 2**60, dtype="Int64")
    number[700] = pd.NA
    kind = pd.Categorical(np.where(np.arange(N_ROWS) < 500, "early", "late"))
    rows = pa.Table.from_pandas(table.assign(id=number, kind=kind), preserve_index=False)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=170)
    target = transform_parquet(
        vae, tmp_path / "rows.parquet", tmp_path / name, keep=["id", "kind"], rows_per_part=300
    )
    written = pq.read_table(target)
    assert written["id"].type == pa.int64()
    assert written["id"].to_pylist() == rows["id"].to_pylist()
    assert written["kind"].to_pylist() == rows["kind"].to_pylist()


class Widening(Failing):
    """An estimator whose columns are of another type where something is missing."""

    def transform(self, X):
        whole = pd.DataFrame({"n": np.arange(len(X))})
        return whole if len(X) == 300 else whole.where(whole["n"] > 0)


def test_parts_of_wider_types_are_joined(path, tmp_path):
    target = transform_parquet(Widening([], 0), path, tmp_path / "y.parquet", rows_per_part=300)
    written = read(target)["n"]
    assert len(written) == N_ROWS and written.isna().sum() == 1 and written[299] == 299


def test_parts_of_another_call_are_not_mixed_in(vae, path, tmp_path):
    target = tmp_path / "y.parquet"
    with pytest.raises(RuntimeError):
        transform_parquet(Failing([], 3), path, target, rows_per_part=300)
    with pytest.raises(FileExistsError, match="estimator.*Remove the folder"):
        transform_parquet(vae, path, target, rows_per_part=300)
    with pytest.raises(FileExistsError, match="rows_per_part"):
        transform_parquet(Failing([], 0), path, target, rows_per_part=200)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(1), path)
    with pytest.raises(FileExistsError, match="source"):
        transform_parquet(Failing([], 0), path, target, rows_per_part=300)


def test_a_target_that_is_there_stays(vae, path, tmp_path):
    target = transform_parquet(vae, path, tmp_path / "y.parquet")
    before = read(target)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        transform_parquet(vae, path, target, method="score_samples")
    assert read(target).equals(before)
    transform_parquet(vae, path, target, method="score_samples", overwrite=True)
    assert list(read(target).columns) == ["score_samples"]


def test_a_target_of_another_kind_is_refused_before_anything_is_done(path, tmp_path):
    (tmp_path / "y.parquet").mkdir()
    (tmp_path / "y").write_text("mine")
    for name, words in {"y.parquet": "is a folder, and a file", "y": "is a file"}.items():
        calls = []
        with pytest.raises(FileExistsError, match=words):
            transform_parquet(Failing(calls, 0), path, tmp_path / name, overwrite=True)
        assert not calls
    assert (tmp_path / "y").read_text() == "mine"


def test_parts_are_never_without_a_name_of_their_call(path, tmp_path, monkeypatch):
    target, rename = tmp_path / "y", os.rename

    def cut(*names):
        raise OSError("power cut")

    monkeypatch.setattr(os, "rename", cut)
    with pytest.raises(OSError, match="power cut"):
        transform_parquet(Failing([], 0), path, target, rows_per_part=300)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(FileExistsError, match="arguments|method|rows_per_part"):
        transform_parquet(Failing([], 0), path, target, rows_per_part=500)
    calls = []
    transform_parquet(Failing(calls, 0), path, target, rows_per_part=300)
    assert not calls and len(read(target)) == N_ROWS
    assert sorted(file.name for file in target.iterdir())[0].startswith("part-")


class Rewriting(Failing):
    """An estimator of arrays during whose third call somebody writes to the source."""

    feature_names_in_ = None

    def transform(self, X):
        if len(self.calls) == 2 and self.fails_at:
            np.lib.format.open_memmap(self.fails_at, "r+")[999] = 1.0
            os.utime(self.fails_at, ns=(1, 1))
        return super().transform(X)


def test_a_source_that_changes_meanwhile_is_no_result(tmp_path):
    file, target = tmp_path / "rows.npy", tmp_path / "y.parquet"
    np.save(file, np.zeros((N_ROWS, 4)))

    def write(estimator):
        rows = np.load(file, mmap_mode="r")
        return transform_parquet(estimator, rows, target, rows_per_part=100)

    with pytest.raises(RuntimeError, match="changed while it was read"):
        write(Rewriting([], file))
    assert not target.exists()
    with pytest.raises(FileExistsError, match="another source"):
        write(Rewriting([], None))


def test_a_full_disk_leaves_what_was_done(vae, path, tmp_path, monkeypatch):
    target, synced = tmp_path / "y.parquet", []
    fsync = os.fsync

    def full(number):
        synced.append(number)
        if len(synced) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        transform_parquet(vae, path, target, rows_per_part=200)
    monkeypatch.undo()
    left = sorted(file.name for file in (tmp_path / "y.parquet.parts").iterdir())
    assert not target.exists() and "part-000000.parquet" in left
    assert not [name for name in left if name.endswith(".tmp")]
    transform_parquet(vae, path, target, rows_per_part=200)
    assert len(read(target)) == N_ROWS


def test_two_processes_do_not_write_the_same(vae, path, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / "y.parquet.parts"
    folder.mkdir()
    number = os.open(folder, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)
    try:
        with pytest.raises(RuntimeError, match="another process"):
            transform_parquet(vae, path, tmp_path / "y.parquet")
    finally:
        os.close(number)
    transform_parquet(vae, path, tmp_path / "y.parquet")


CHILD = """
import sys, time
from skvae import io
class Slow:
    def transform(self, X):
        time.sleep(0.02)
        return X.to_numpy()
io.transform_parquet(Slow(), sys.argv[1], sys.argv[2], rows_per_part=50)
"""


def test_a_killed_process_loses_no_row(table, path, tmp_path):
    target = tmp_path / "y.parquet"
    arguments = [sys.executable, "-c", CHILD, str(path), str(target)]
    folder = tmp_path / "y.parquet.parts"
    child = subprocess.Popen(arguments)
    for _ in range(1_000):
        if len(list(folder.glob("part-*.parquet"))) >= 3:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = {file.name for file in folder.glob("part-*.parquet")}
    assert 3 <= len(done) < 20 and not target.exists()
    assert json.loads((folder / "_manifest.json").read_text())["method"] == "transform"
    subprocess.run(arguments, check=True)
    assert np.array_equal(read(target).iloc[:, :4], table)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"method": "fly"}, "no method 'fly'"),
        ({"keep": ["nowhere"]}, "no column"),
        ({"rows_per_part": 0}, "rows_per_part to be an integer of at least 1, got 0"),
        ({"method": "infer"}, "one row per row"),
        ({"method": "reconstruct", "keep": ["a"]}, "Leave them out of keep"),
    ],
)
def test_bad_calls_are_refused(arguments, words, vae, path, tmp_path):
    with pytest.raises(ValueError, match=words):
        transform_parquet(vae, path, tmp_path / "y.parquet", **arguments)


def test_a_call_that_failed_at_once_is_in_nobodys_way(vae, path, tmp_path):
    target = tmp_path / "y.parquet"
    with pytest.raises(ValueError, match="Leave them out of keep"):
        transform_parquet(vae, path, target, method="reconstruct", keep=["a"])
    transform_parquet(vae, path, target, method="reconstruct")
    assert list(read(target).columns) == list("abcd")


def test_a_frame_of_fewer_rows_is_no_result(path, tmp_path):
    class Shorter(Failing):
        def __reduce__(self):
            return dict, ()

        def transform(self, X):
            return X.iloc[1:]

    with pytest.raises(ValueError, match="one row per row"):
        transform_parquet(Shorter([], 0), path, tmp_path / "y.parquet")


def test_a_missing_column_is_named(vae, table, tmp_path):
    pq.write_table(pa.Table.from_pandas(table.drop(columns="c")), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="no column \\['c'\\]"):
        transform_parquet(vae, tmp_path / "rows.parquet", tmp_path / "y.parquet")


def test_sources_of_some_columns(table, path):
    source = open_source(path, columns=["b", "a"])
    assert source.names == ["b", "a"] and source.n_rows == N_ROWS
    vae = VAETransformer(n_components=1, max_iter=1, random_state=0).fit(source)
    assert list(vae.feature_names_in_) == ["b", "a"]
    assert vae.transform(path).shape == (N_ROWS, 1)
    with pytest.raises(ValueError, match="no column"):
        open_source(path, columns=["zz"])
    with pytest.raises(TypeError, match="open_source expected"):
        open_source(table)


def test_a_bar_shows_how_far_it_is(vae, path, tmp_path, capsys):
    transform_parquet(vae, path, tmp_path / "y.parquet", verbose=1)
    assert "transform of rows" in capsys.readouterr().out
