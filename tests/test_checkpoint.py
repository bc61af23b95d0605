"""Fits that are killed and go on: the same bits, whatever was trained, and whenever."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from components import (
    EVERY,
    SEEDS,
    blocks_of,
    over,
    random_batch,
    small,
    table,
    tiny_vae,
)
from sklearn.base import clone

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer
from skvae._files import FolderLock, replacing
from skvae.exceptions import CheckpointError, CheckpointWarning, DivergedError
from skvae.model_selection import StackedGridSearchCV
from skvae.noise import Noise
from skvae.objectives import ELBO
from skvae.table.fingerprint import fingerprint
from skvae.training import Rows, Settings, checkpoint, train
from skvae.training.checkpoint import Checkpoint, Part

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


class Killed(BaseException):
    """Ends a fit as if its process were gone: nothing may handle it."""


# A fit of these tests takes no more of them where each start goes on from the last kill.
MOST_KILLS = 20


class Killer:
    """Counts the steps of all loops, keeps the state at some of them, and ends the fit there."""

    def __init__(self, monkeypatch):
        self.n_steps, self.stops, self.error = 0, (), Killed
        save = Part.save

        def is_due(part):
            self.n_steps += 1
            return self.n_steps in self.stops

        def save_and_die(part, run, ended=False):
            save(part, run, ended)
            if not ended and self.n_steps in self.stops and self.error is not None:
                raise self.error

        monkeypatch.setattr(Part, "is_due", is_due)
        monkeypatch.setattr(Part, "save", save_and_die)

    def resumed(self, fit, every, first=3):
        """What ``fit`` gives, killed so many steps after each start; how often it was."""
        n_kills = 0
        while True:
            self.n_steps, self.stops = 0, {first if not n_kills else every}
            try:
                return fit(), n_kills
            except Killed:
                n_kills += 1
                assert n_kills < MOST_KILLS, "nothing is kept: each start begins anew"


@pytest.fixture
def killer(monkeypatch):
    return Killer(monkeypatch)


def bits_of(vae):
    """Every number of a model."""
    return {name: t.detach().numpy().tobytes() for name, t in vae.state_dict().items()}


def with_holes(n=80):
    X = pd.DataFrame(table(n), columns=list("abc")).assign(kind=np.arange(n) % 3)
    X["kind"] = X["kind"].map({0: "x", 1: "y", 2: "z"}).astype("category")
    X.loc[::7, "a"] = np.nan
    return X


WEIGHTS = np.linspace(0.5, 2.0, 80)
CASES = {
    "default": (small(), {}),
    "early stopping": (small(max_iter=40, n_iter_no_change=2, learning_rate_init=0.05), {}),
    "no early stopping": (small(early_stopping=False), {}),
    "members leave": (
        small(n_members=3, max_iter=60, n_iter_no_change=2, learning_rate_init=0.05),
        {},
    ),
    "vector_quantized": (small(posterior="vector_quantized", n_members=2), {}),
    "joint": (small(posterior="joint"), {}),
    "vamp": (small(prior="vamp"), {}),
    "iwae": (small(objective="iwae"), {}),
    "critic": (small(penalty="factor_critic"), {}),
    "neighbors": (small(penalty="neighbors"), {}),
    "general step": (small(likelihood="student_t", clip_norm=1.0), {}),
    "weights and holes": (small(), {"X": with_holes(), "sample_weight": WEIGHTS}),
    "missingness": (small(missingness="self_masking"), {"X": with_holes()}),
    "classes": (small(supervision="classes"), {"y": np.arange(80) % 4 - 1}),
    "conditions": (small(condition=[0]), {}),
    "auto": (small(max_iter=1).set_params(n_components="auto"), {}),
}


@pytest.mark.parametrize("estimator, given", over(CASES))
def test_bits_after_kills_are_those_without(killer, tmp_path, estimator, given):
    given = {"X": table(), **given}
    plain = clone(estimator).fit(**given)
    keeps = clone(estimator).set_params(checkpoint=tmp_path / "fit")
    every = 2 if estimator.max_iter < 9 else 13
    found, n_kills = killer.resumed(lambda: clone(keeps).fit(**given), every)
    assert n_kills >= 2
    assert bits_of(found.vae_) == bits_of(plain.vae_)
    assert found.history_ == plain.history_ and found.n_iter_ == plain.n_iter_
    np.testing.assert_array_equal(found.transform(given["X"]), plain.transform(given["X"]))
    np.testing.assert_array_equal(found.score_samples(given["X"]), plain.score_samples(given["X"]))


def test_each_step_is_one_to_be_killed_at(killer, tmp_path):
    X, estimator = table(40), small(n_members=2, max_iter=2)
    plain = bits_of(clone(estimator).fit(X).vae_)
    keeps = estimator.set_params(checkpoint=str(tmp_path))
    found, n_kills = killer.resumed(lambda: clone(keeps).fit(X), every=1, first=1)
    assert bits_of(found.vae_) == plain
    assert n_kills == 3, "two epochs of one batch, and one of the second part"


def trained(axis, component, folder=None):
    """Bits and history of a tiny model, trained with this component."""
    vae = tiny_vae(**({} if axis == "objective" else {axis: component}))
    objective = component if axis == "objective" else ELBO()
    batch = random_batch(blocks_of(vae.likelihood), 24, masked=axis == "missingness")
    parts = batch.inputs, batch.values, batch.mask
    cells = [None if part is None else part[0, 0] for part in parts]
    rows, noise = Rows(*cells, None), Noise(SEEDS)
    vae.train()
    if vae.penalty is not None:
        codes = vae.penalty.prepare(rows, noise)
        rows = rows if codes is None else Rows(*cells, None, codes=codes)
    index, settings = torch.arange(24).expand(2, -1), Settings(3, 8, learning_rate=0.01)
    job = vae, objective, rows, index[:, :16], index[:, 16:], noise, settings
    if folder is None:
        history = train(*job)
    else:
        with Checkpoint(folder, "Tiny", {}, {}, None):
            history = train(*job)
    return bits_of(vae), [{k: str(v) for k, v in record.items()} for record in history.records]


# Takes seconds to prepare, and is not trained any more then.
TRAINED = {name: pair for name, pair in EVERY.items() if name != "penalty:neighbors-cells"}


@pytest.mark.parametrize("axis, component", over(TRAINED))
def test_no_component_has_state_that_is_not_kept(killer, tmp_path, axis, component):
    plain = trained(axis, component)
    found, n_kills = killer.resumed(lambda: trained(axis, component, tmp_path), every=2, first=1)
    assert n_kills == 3 and found == plain


# -------------------------------------------------------------------------- what would not do


@pytest.mark.parametrize(
    "owner, name",
    [
        (Noise, "load_state"),
        (checkpoint.Orders, "permutation"),
        (checkpoint, "load_untrained"),
    ],
    ids=["random numbers", "orders of rows", "what no optimiser sees"],
)
def test_each_part_of_the_state_is_needed(killer, tmp_path, monkeypatch, owner, name):
    estimator = small(posterior="joint", max_iter=4)
    if name == "load_untrained":
        # Shares of the codes follow the rows beside the optimiser.
        estimator = small(posterior="vector_quantized", max_iter=4)
        monkeypatch.setattr("skvae.training.loop.load_untrained", lambda module, state: None)
    elif name == "permutation":
        monkeypatch.setattr(owner, name, lambda orders, n: orders.noise.permutation(n))
    else:
        monkeypatch.setattr(owner, name, lambda noise, state: None)
    plain = clone(estimator).fit(table())
    keeps = estimator.set_params(checkpoint=tmp_path)
    found, _ = killer.resumed(lambda: clone(keeps).fit(table()), every=4)
    assert bits_of(found.vae_) != bits_of(plain.vae_)


def test_members_that_leave_do_leave(killer, tmp_path):
    """Or the test above would not show that their leaving is brought back."""
    estimator = clone(CASES["members leave"][0]).set_params(checkpoint=tmp_path)
    killer.stops = {20}
    with pytest.raises(Killed):
        estimator.fit(table())
    with np.load(tmp_path / "part-0.npz") as file:
        assert len(file["run/members"]) < 3


# ------------------------------------------------------------------------- the other estimators


def all_of(estimator, X):
    if isinstance(estimator, VAEOutlierDetector):
        return estimator.score_samples(X)
    if isinstance(estimator, VAEImputer):
        return estimator.transform(X).drop(columns="kind").to_numpy()
    return estimator.sample(20, random_state=0).drop(columns="kind").to_numpy()


OTHERS = {
    "detector": VAEOutlierDetector(2, max_iter=2, random_state=0),
    "contextual": VAEOutlierDetector(2, condition=["kind"], max_iter=2, random_state=0),
    "trimmed, folds": VAEOutlierDetector(
        2, max_iter=1, trim=0.1, conformal=2, score_function="likelihood", random_state=0
    ),
    "imputer": VAEImputer(max_iter=1, n_members=2, random_state=0),
    "synthesizer": VAESynthesizer(max_iter=1, n_members=1, random_state=0),
}


@pytest.mark.parametrize("estimator", over(OTHERS))
def test_other_estimators_go_on(killer, tmp_path, estimator):
    X = with_holes()
    plain = clone(estimator).fit(X)
    keeps = clone(estimator).set_params(checkpoint=tmp_path)
    found, n_kills = killer.resumed(lambda: clone(keeps).fit(X), every=37)
    assert n_kills >= 1
    np.testing.assert_array_equal(all_of(found, X), all_of(plain, X))
    assert found.history_ == plain.history_


def test_a_stream_goes_on_within_an_epoch(killer, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    from skvae.streaming import sample, stream

    monkeypatch.setattr(sample, "SAMPLE_ROWS", 300)
    monkeypatch.setattr(stream, "CHUNK_ROWS", 200)
    frame = pd.DataFrame(table(1000), columns=list("abc"))
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "X.parquet", row_group_size=150)
    X, estimator = str(tmp_path / "X.parquet"), small(max_iter=2, batch_size=50)
    plain = clone(estimator).fit(X)
    keeps = clone(estimator).set_params(checkpoint=tmp_path / "fit")
    found, n_kills = killer.resumed(lambda: clone(keeps).fit(X), every=7)
    assert n_kills >= 4 and bits_of(found.vae_) == bits_of(plain.vae_)
    frame.iloc[0, 0] += 1.0
    pq.write_table(pa.Table.from_pandas(frame), X, row_group_size=150)
    killer.stops = ()
    assert bits_of(clone(keeps).fit(X).vae_) != bits_of(plain.vae_), "another table, another fit"


# ------------------------------------------------------------------------------- the same call


def test_a_seed_that_nobody_gave_is_kept(killer, tmp_path):
    keeps = small(random_state=None, checkpoint=tmp_path)
    killer.stops = {4}
    with pytest.raises(Killed):
        keeps.fit(table())
    assert keeps.random_state is None
    seed = json.loads((tmp_path / "fit.json").read_text())["seed"]
    found, _ = killer.resumed(lambda: clone(keeps).fit(table()), every=11, first=2)
    assert found.random_state is None
    assert bits_of(found.vae_) == bits_of(small(random_state=seed).fit(table()).vae_)


def test_a_fit_that_is_done_is_not_trained_again(killer, tmp_path):
    keeps = small(checkpoint=tmp_path)
    first = clone(keeps).fit(table())
    trained, killer.n_steps = killer.n_steps, 0
    again = clone(keeps).fit(table())
    assert trained and not killer.n_steps and bits_of(first.vae_) == bits_of(again.vae_)
    # Its model was handed over: another fit may take the folder.
    other = clone(keeps).set_params(max_iter=4).fit(table())
    assert killer.n_steps and bits_of(other.vae_) == bits_of(small(max_iter=4).fit(table()).vae_)


CHANGES = {
    "table": (lambda estimator, X: estimator.fit(X + 1.0), "X was table .* and is table"),
    "parameter": (
        lambda estimator, X: estimator.set_params(max_iter=7).fit(X),
        "max_iter was 3, and is 7 now",
    ),
    "component": (
        lambda estimator, X: estimator.set_params(objective=ELBO(beta=3.0)).fit(X),
        "objective__beta was not there, and is 3.0 now",
    ),
    "weights": (
        lambda estimator, X: estimator.fit(X, sample_weight=np.ones(len(X))),
        "sample_weight was not there, and is table",
    ),
    "seed": (
        lambda estimator, X: estimator.set_params(random_state=1).fit(X),
        "random_state was 0, and is 1 now",
    ),
}


@pytest.mark.parametrize("fit, message", over(CHANGES))
def test_another_fit_does_not_take_the_place_of_one_that_is_not_done(
    killer, tmp_path, fit, message
):
    keeps, killer.stops = small(checkpoint=tmp_path / "here"), {4}
    with pytest.raises(Killed):
        clone(keeps).fit(table())
    with pytest.raises(CheckpointError, match=message) as error:
        fit(clone(keeps), table())
    for part in ("Transformer", "here", "delete the folder", "checkpoint=None"):
        assert part in str(error.value)
    # What was kept is there still.
    killer.n_steps, killer.stops = 0, ()
    clone(keeps).fit(table())
    assert killer.n_steps == 3 * 2 + 2 - 4


def test_a_fit_that_failed_early_is_in_nobodys_way(tmp_path):
    with pytest.raises(ValueError, match="validation_fraction"):
        small(checkpoint=tmp_path, validation_fraction=0.999).fit(table(30))
    small(checkpoint=tmp_path).fit(table())


def test_a_fit_that_diverged_begins_anew(tmp_path):
    wild = small(checkpoint=tmp_path, learning_rate_init=1e25)
    with pytest.raises(DivergedError):
        wild.fit(table())
    wild.set_params(learning_rate_init=1e-3).fit(table())


def test_an_interrupted_fit_gives_a_model_and_goes_on_later(killer, tmp_path):
    X, keeps = table(), small(checkpoint=tmp_path, max_iter=9)
    killer.stops, killer.error = {6}, KeyboardInterrupt
    with pytest.warns(UserWarning, match="interrupted"):
        short = clone(keeps).fit(X)
    assert short.n_iter_ < 9 and len(short.score_samples(X)) == len(X)
    assert not json.loads((tmp_path / "fit.json").read_text())["finished"]
    killer.n_steps, killer.stops = 0, ()
    assert bits_of(clone(keeps).fit(X).vae_) == bits_of(small(max_iter=9).fit(X).vae_)
    assert killer.n_steps < 9 * 2 + 2 * 2


def test_another_machine_is_told_of(tmp_path):
    keeps = small(checkpoint=tmp_path)
    keeps.fit(table())
    manifest = json.loads((tmp_path / "fit.json").read_text())
    manifest["machine"]["torch"] = "1.0"
    (tmp_path / "fit.json").write_text(json.dumps(manifest))
    with pytest.warns(CheckpointWarning, match="torch was 1.0, and is .* last bits may differ"):
        keeps.fit(table())


def test_what_goes_on_with_a_model_is_not_kept(tmp_path):
    going = small(warm_start=True, checkpoint=tmp_path).fit(table())
    with pytest.raises(ValueError, match="warm_start"):
        going.fit(table())
    streamed = small(checkpoint=tmp_path / "none").partial_fit(table())
    assert hasattr(streamed, "vae_") and not (tmp_path / "none").exists()


def test_a_stacked_search_keeps_nothing(tmp_path):
    keeps = small(checkpoint=tmp_path / "none")
    StackedGridSearchCV(keeps, {"random_state": [0, 1]}, cv=2, refit=False).fit(table())
    assert not (tmp_path / "none").exists()


# --------------------------------------------------------------------------- files that are bad


def begun(folder, killer, at=5):
    """A fit that was killed, which begins again without kills."""
    keeps, killer.stops = small(checkpoint=folder, max_iter=5), {at}
    with pytest.raises(Killed):
        clone(keeps).fit(table())
    killer.n_steps, killer.stops = 0, ()
    return keeps, bits_of(small(max_iter=5).fit(table()).vae_)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def one_bit_off(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def not_ours(path):
    path.write_bytes(b"not an archive")


def empty(path):
    path.write_bytes(b"")


class Harm:
    """What a hostile pickle would do."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


def pickled(path):
    with np.load(path) as file:
        state = {name: file[name] for name in file.files}
    np.savez(path, **state | {"run/best": np.array([Harm()], dtype=object)})


@pytest.mark.parametrize("damage", [truncated, one_bit_off, not_ours, empty, pickled])
def test_a_damaged_part_is_told_of_and_trained_anew(killer, tmp_path, damage):
    keeps, bits = begun(tmp_path, killer)
    damage(tmp_path / "part-0.npz")
    with pytest.warns(CheckpointWarning, match=r"damaged part-0.npz .* begins anew"):
        found = keeps.fit(table())
    assert bits_of(found.vae_) == bits


def changed(path, **values):
    with np.load(path) as file:
        state = {name: file[name] for name in file.files}
    state |= values
    np.savez(path, **{name: value for name, value in state.items() if value is not None})


def test_parts_of_other_fits_are_left_alone(killer, tmp_path):
    keeps, bits = begun(tmp_path, killer)
    changed(tmp_path / "part-0.npz", fit=np.array("another"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        assert bits_of(keeps.fit(table()).vae_) == bits


@pytest.mark.parametrize(
    "values",
    [{"run/best": np.zeros((1, 7), np.float32)}, {"noise/pool": None}, {"run/epoch": "x"}],
    ids=["shape", "gone", "kind"],
)
def test_a_part_that_does_not_fit_is_refused(killer, tmp_path, values):
    keeps, _ = begun(tmp_path, killer)
    changed(tmp_path / "part-0.npz", **values)
    with pytest.raises(CheckpointError, match="does not hold the state of this training"):
        keeps.fit(table())


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "facts": 3}'])
def test_a_damaged_manifest_is_refused(killer, tmp_path, text):
    keeps, _ = begun(tmp_path, killer)
    (tmp_path / "fit.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"fit.json that is damaged. Delete the folder"):
        keeps.fit(table())


def test_folders_of_others_are_not_written_to(tmp_path):
    (tmp_path / "part-0.npz").write_text("mine")
    with pytest.raises(CheckpointError, match="holds other files, as 'part-0.npz'"):
        small(checkpoint=tmp_path).fit(table())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_one_fit_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    lock = FolderLock(tmp_path)
    assert lock.acquire() and not FolderLock(tmp_path).acquire()
    with pytest.raises(CheckpointError, match="in use by another fit"):
        small(checkpoint=tmp_path).fit(table())
    lock.release()
    small(checkpoint=tmp_path).fit(table())


# ------------------------------------------------------------------------------ disks that fail


def test_a_full_disk_does_not_stop_training_and_the_last_state_stays(killer, tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no device that is always full")
    keeps, bits = begun(tmp_path, killer)
    part = tmp_path / "part-0.npz"
    good = part.read_bytes()
    for error in (Killed, None):
        # Where the next file is to be written, there is no space.
        part.with_name(part.name + ".tmp").symlink_to(full)
        killer.n_steps, killer.stops, killer.error = 0, {2}, error
        words = "No space left on device. Training goes on"
        with pytest.warns(CheckpointWarning, match=words) as told:
            if error is Killed:
                with pytest.raises(Killed):
                    clone(keeps).fit(table())
                assert part.read_bytes() == good
            else:
                assert bits_of(clone(keeps).fit(table()).vae_) == bits
        assert {warning.filename for warning in told} == {__file__}


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    for content in (b"old", b"new"):
        with replacing(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() == b"old"
    with pytest.raises(Killed), replacing(path) as file:
        file.write(b"half")
        raise Killed
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


# ------------------------------------------------------------------------------------- SIGKILL


KILLS = """
import os, random, signal, sys, time, warnings
import numpy as np
from skvae import VAETransformer
from skvae.exceptions import CheckpointWarning
from skvae.training import checkpoint

# Half a file would be told of, and trained anew with the same bits.
warnings.simplefilter("error", CheckpointWarning)

folder, n_kills = sys.argv[1], int(sys.argv[2])
# At every step, so that most kills meet a file that is being written.
checkpoint.SHARE_OF_TIME, checkpoint.SHORTEST = np.inf, 0.0
X = np.random.default_rng(0).normal(size=(300, 4)) @ np.ones((4, 4))


def fitted(folder):
    return VAETransformer(2, max_iter=20, n_members=2, random_state=0, checkpoint=folder).fit(X)


started = time.monotonic()
plain = fitted(None).score_samples(X)
seconds = time.monotonic() - started
dice, killed = random.Random(int(sys.argv[3])), 0
while True:
    child = os.fork()
    if child == 0:
        np.save(os.path.join(folder, "scores.npy"), fitted(folder + "/fit").score_samples(X))
        os._exit(0)
    if killed < n_kills:
        time.sleep(dice.uniform(0.1, 0.7) * seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
    killed += 1
found = np.load(os.path.join(folder, "scores.npy"))
print(killed, (found == plain).all())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_processes_that_are_killed_go_on(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path), "4", "0"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    killed, same = ran.stdout.split()
    assert int(killed) >= 3 and same == "True"


# ---------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_of_cells_names_and_dtypes():
    X = with_holes()
    same = [X.copy(), X[list(X)], pd.concat([X[[name]] for name in X], axis=1)]
    assert {fingerprint(frame) for frame in same} == {fingerprint(X)}
    other = [X.rename(columns={"a": "z"}), X.astype({"b": "float32"}), X.iloc[::-1], X.iloc[1:]]
    changed = X.copy()
    changed.loc[3, "kind"] = "y"
    digests = [fingerprint(frame) for frame in [X, *other, changed, table(), table()[:, ::-1]]]
    assert len(set(digests)) == len(digests)
    assert fingerprint(table()) == fingerprint(np.asfortranarray(table()))
    assert fingerprint([1, 2]) == fingerprint([1, 2]) != fingerprint([2, 1])
    labels = np.array(["a", "b", None], dtype=object)
    assert fingerprint(labels) == fingerprint(pd.Series(labels, dtype=object))
    assert fingerprint(labels) != fingerprint(labels[::-1])
    days = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")
    assert fingerprint(days) == fingerprint(days.copy()) != fingerprint(days[::-1])
