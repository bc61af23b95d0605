"""Several processes train the model that one would have trained, or say what went wrong."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from components import OBJECTIVES, PARTS, blocks_of, over, random_batch, tiny_vae
from sklearn.base import clone

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer, distributed
from skvae._pass import Batch
from skvae.distributed import launcher, worker
from skvae.distributed.group import Group, joined_group
from skvae.exceptions import WorkerLostError
from skvae.model_selection import StackedGridSearchCV
from skvae.noise import Noise
from skvae.objectives import ELBO
from skvae.penalties import MMD
from skvae.posteriors import VectorQuantized
from skvae.streaming import source_of
from skvae.training import Rows, Settings, train
from skvae.training.group import as_group
from skvae.training.lanes import LaneNoise, lane_sizes
from skvae.training.settings import StackSettings
from skvae.training.shared import Lanes, check_rows_apart

pytest.importorskip("torch.distributed")
dist = torch.distributed
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods() or not dist.is_gloo_available(),
    reason="needs forks and gloo",
)
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
# Seconds after which a test takes a process for hung; busy machines are slow.
PATIENCE = 240
ROOT = Path(__file__).resolve().parents[1]


def table(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))


def small(**params):
    defaults = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0, "device": "cpu"}
    return VAETransformer(2, **(defaults | params))


def weights(estimator):
    return np.concatenate([p.detach().numpy().ravel() for p in estimator.vae_.parameters()])


def by_lanes(estimator, *call, n=2):
    """The fit of one process that trains all lanes."""
    with as_group(Lanes(n)):
        return estimator.fit(*call)


# ------------------------------------------------------------------ processes that tests fork


class Watched(Group):
    """Keeps the runs that a process took part in."""

    def start(self, job):
        self.runs = [*getattr(self, "runs", []), super().start(job)]
        return self.runs[-1]


class Apart(Watched):
    """Does not add up gradients."""

    def add_up(self, numbers):
        if numbers.dtype == torch.float64:
            super().add_up(numbers)


class Counted(Lanes):
    """Counts the steps of all trainings."""

    n_steps = 0

    def add_up(self, numbers):
        self.n_steps += numbers.dtype == torch.float32


def dying(signal_number):
    class Dying(Watched):
        """The second process gets a signal in its sixth step."""

        def add_up(self, numbers):
            self.n_sums = getattr(self, "n_sums", 0) + 1
            if self.rank == 1 and self.n_sums == 6:
                os.kill(os.getpid(), signal_number)
            super().add_up(numbers)

    return Dying


def _one_of_them(rank, n, n_shards, kind, timeout, fit, folder):
    os.environ.update(launcher.within_machine())
    store = dist.FileStore(str(folder / "store"), n)
    found = {"estimator": None, "error": None, "flat": None}
    try:
        with joined_group(store, rank, n, n_shards, "gloo", timeout) as group:
            group.__class__ = kind
            if rank:
                group.follow()
            else:
                with group.leading():
                    found["estimator"] = fit()
            found["flat"] = [run.whole.flat.numpy() for run in group.runs]
            found["sizes"] = [run.own_sizes for run in group.runs]
    except Exception as error:
        found["error"] = error
    (folder / f"found-{rank}").write_bytes(pickle.dumps(found))


def in_processes(fit, folder, n=2, n_shards=None, kind=Watched, timeout=120.0):
    """What each of ``n`` processes ends with; ``fit`` is called by the first."""
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    arguments = n, n_shards, kind, timeout, fit, folder
    processes = [context.Process(target=_one_of_them, args=(r, *arguments)) for r in range(n)]
    for process in processes:
        process.start()
    found = []
    for rank, process in enumerate(processes):
        lost = rank and (found[0] is None or found[0]["error"] is not None)
        process.join(5 if lost else PATIENCE)
        if process.is_alive():
            process.kill()
        path = folder / f"found-{rank}"
        found.append(pickle.loads(path.read_bytes()) if path.exists() else None)
    return found


# ------------------------------------------------------------------------------- exact parts


@pytest.mark.parametrize("n_rows, n_steps", [(10, 3), (3, 10), (7, 7), (1000, 1)])
def test_a_lane_has_as_many_steps_as_the_others(n_rows, n_steps):
    sizes = lane_sizes(n_rows, n_steps)
    assert len(sizes) == n_steps and sum(sizes) == n_rows
    assert max(sizes) - min(sizes) <= 1


def test_noise_of_a_row_is_that_of_its_lane():
    both, parts = LaneNoise([3, 7], [0, 1]), [LaneNoise([3, 7], [lane]) for lane in (0, 1)]
    both.sizes, parts[0].sizes, parts[1].sizes = [4, 2], [4], [2]
    for draw, shape in (("normal", (3, 6, 2)), ("uniform", (6, 5)), ("normal", (6, 1))):
        whole = getattr(both, draw)(*shape)
        cut = [getattr(part, draw)(*shape[:-2], *part.sizes, shape[-1]) for part in parts]
        assert torch.equal(whole, torch.cat(cut, -2))
    rate = torch.full((2, 1, 6, 3), 2.5)
    cut = [part.poisson(rate[:, :, : part.sizes[0]]) for part in parts]
    assert torch.equal(both.poisson(rate), torch.cat(cut, -2))
    shared = [noise.normal(9, 3) for noise in (both, *parts)]
    assert torch.equal(shared[0], shared[1]) and torch.equal(shared[0], shared[2])
    drawn = both.normal(2, 6, 1)
    assert not torch.equal(drawn[:, :, :2], drawn[:, :, 4:])
    assert torch.equal(both.select([1]).normal(2, 2), LaneNoise([7], [0]).normal(2, 2))


class Part(Lanes):
    """One of two processes, whose gradients stay apart."""

    world_size = 2

    def __init__(self, rank):
        super().__init__(2)
        self.rank = rank


def gradient(group, axis, component, **kinds):
    """The flat gradient of one step of this component, over the lanes of a group."""
    vae = tiny_vae(**({} if axis == "objective" else {axis: component}))
    objective = component if axis == "objective" else ELBO()
    batch = random_batch(blocks_of(vae.likelihood), n_rows=9, **kinds)
    cells = [None if part is None else part[0, 0] for part in (batch.inputs, batch.values)]
    mask = None if batch.mask is None else batch.mask[0, 0]
    rows = Rows(*cells, mask, None if batch.weights is None else batch.weights[0])
    index = torch.arange(9).expand(2, -1)
    settings = StackSettings([Settings(max_iter=1, batch_size=9)] * 2)
    job = vae, objective, rows, index, None, [3, 7], settings
    run = group.start(job)
    vae.train()
    (step,) = run._batches(0)
    assert isinstance(step, Batch)
    run.noise.sizes = [len(part) for part in torch.arange(9).tensor_split(2)]
    run.noise.sizes = [run.noise.sizes[lane] for lane in group.own]
    run._step(step, 0.5)
    return run.optimizer.gradient.numpy().copy()


APART = {
    name: (axis, part)
    for name, (axis, part) in {
        **PARTS,
        **{f"objective:{name}": ("objective", part) for name, part in OBJECTIVES.items()},
    }.items()
    if "neighbors" not in name
}


@pytest.mark.parametrize("axis, component", over(APART))
def test_gradients_of_lanes_add_up_to_that_of_the_batch(axis, component):
    if not component.rows_apart:
        objective = component if axis == "objective" else ELBO()
        vae = tiny_vae(**({} if axis == "objective" else {axis: component}))
        with pytest.raises(ValueError, match="compares rows"):
            check_rows_apart(vae, objective)
        return
    kinds = {"masked": axis == "missingness", "weighted": axis != "missingness"}
    whole = gradient(Lanes(2), axis, component, **kinds)
    parts = [gradient(Part(rank), axis, component, **kinds) for rank in (0, 1)]
    assert np.isfinite(whole).all() and abs(whole).max() > 0
    scale = abs(whole).max(1, keepdims=True)
    np.testing.assert_allclose((parts[0] + parts[1]) / scale, whole / scale, atol=2e-6)
    # Neither part alone is the gradient of the batch.
    assert abs(2 * parts[0] / scale - whole / scale).max() > 1e-3


@pytest.mark.parametrize(
    "axis, components",
    [
        ("penalty", [MMD(weight=10.0)]),
        ("objective", [ELBO(free_bits=nats) for nats in np.linspace(0.01, 1.0, 20)]),
        ("objective", [ELBO(capacity=nats) for nats in np.geomspace(0.01, 4.0, 20)]),
    ],
)
def test_those_that_compare_rows_would_be_wrong(axis, components):
    def error(component):
        whole = gradient(Lanes(2), axis, component)
        parts = [gradient(Part(rank), axis, component) for rank in (0, 1)]
        return abs(parts[0] + parts[1] - whole).max() / abs(whole).max()

    assert max(map(error, components)) > 1e-3


@pytest.mark.parametrize(
    "params",
    [{"penalty": MMD()}, {"posterior": VectorQuantized(n_codes=4)}, {"objective__free_bits": 0.1}],
)
def test_a_model_that_compares_rows_is_refused(params):
    estimator = small().set_params(objective="elbo").set_params(**params)
    with as_group(Lanes(2)), pytest.raises(ValueError, match="compares rows of a whole one"):
        estimator.fit(table(60))


# --------------------------------------------------------------------------- real processes


CASES = {
    "gaussian": {},
    "weighted-stack": {"n_members": 2, "objective": "iwae", "n_iter_no_change": 1},
    "vamp": {"prior": "vamp", "early_stopping": False},
    "three-lanes": {"batch_size": 50},
}


@needs_fork
@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_with_the_weights_of_one(case, tmp_path):
    X, n = table(), 3 if case == "three-lanes" else 2
    weight = np.random.default_rng(1).random(len(X)) if "weighted" in case else None
    one = by_lanes(small(**CASES[case]), X, None, weight, n=n)
    fit = lambda: small(**CASES[case]).fit(X, None, weight)  # noqa: E731
    first, second = in_processes(fit, tmp_path, n_shards=n)
    assert first["error"] is None and second["error"] is None
    two = first["estimator"]
    assert two.n_iter_ == one.n_iter_
    np.testing.assert_allclose(weights(two), weights(one), atol=1e-5)
    np.testing.assert_allclose(two.score_samples(X), one.score_samples(X), atol=1e-4)
    # Both processes trained both parts and hold the same bits.
    assert len(first["flat"]) == len(second["flat"]) >= 1
    assert all(np.array_equal(a, b) for a, b in zip(first["flat"], second["flat"]))


@needs_fork
def test_without_the_sum_processes_part(tmp_path):
    first, second = in_processes(lambda: small().fit(table()), tmp_path, kind=Apart)
    assert abs(first["flat"][0] - second["flat"][0]).max() > 1e-3


@needs_fork
@pytest.mark.parametrize("kind", [VAEOutlierDetector, VAEImputer])
def test_all_that_trains_is_shared(kind, tmp_path):
    X = table(200)
    X[::7, 1] = np.nan
    more = {"refine": None} if kind is VAEImputer else {}
    make = lambda: kind(max_iter=2, random_state=0, device="cpu", **more)  # noqa: E731
    first, second = in_processes(lambda: make().fit(X), tmp_path)
    assert first["error"] is None and second["error"] is None
    one = by_lanes(make(), X)
    if kind is VAEImputer:
        # Cells are hidden after the pattern of another row, here one of the same lane.
        pairs = [m.transform(X)[np.isnan(X)] for m in (first["estimator"], one)]
        assert np.corrcoef(*pairs)[0, 1] > 0.95
    else:
        scores = [m.score_samples(X) for m in (first["estimator"], one)]
        np.testing.assert_allclose(*scores, atol=1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(first["flat"], second["flat"]))


@needs_fork
@pytest.mark.parametrize("kind", ["classes", "search"])
def test_targets_and_searches_are_shared(kind, tmp_path):
    X = table(200)
    y = (X[:, 0] > 0).astype(int)
    make = {
        "classes": lambda: small(supervision="classes"),
        "search": lambda: StackedGridSearchCV(small(), {"learning_rate_init": [1e-3, 1e-2]}, cv=2),
    }[kind]
    call = (X, y) if kind == "classes" else (X,)
    one = by_lanes(make(), *call)
    first, second = in_processes(lambda: make().fit(*call), tmp_path)
    assert first["error"] is None and second["error"] is None and len(second["flat"]) > 1
    fitted = [getattr(m, "best_estimator_", m) for m in (one, first["estimator"])]
    np.testing.assert_allclose(*map(weights, fitted), atol=1e-5)


@needs_fork
@pytest.mark.parametrize("edge", [400, 10])
def test_unequal_shards_of_a_stream_end_together(edge, tmp_path, monkeypatch):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("skvae.streaming.sample.SAMPLE_ROWS", 200)
    X = table(1600)
    whole = pa.table({f"x{i}": column for i, column in enumerate(X.T)})
    path = str(tmp_path / "rows.parquet")
    with pq.ParquetWriter(path, whole.schema) as writer:
        writer.write_table(whole.slice(0, edge))
        writer.write_table(whole.slice(edge))
    one = by_lanes(small(batch_size=64), path)
    first, second = in_processes(lambda: small(batch_size=64).fit(path), tmp_path / "run")
    assert first["error"] is None and second["error"] is None
    np.testing.assert_allclose(weights(first["estimator"]), weights(one), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(first["flat"], second["flat"]))
    # All have as many steps, those of a shard of 10 rows mostly without a row.
    sizes = [found["sizes"][0] for found in (first, second)]
    assert len(sizes[0]) == len(sizes[1]) > 10
    assert sorted(map(sum, sizes))[0] <= edge < sorted(map(sum, sizes))[1]
    with as_group(Lanes(3)), pytest.raises(ValueError, match="smaller row groups"):
        small().fit(path)


@needs_fork
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_lost_worker_is_an_error_and_a_checkpoint(how, tmp_path):
    X, folder = table(), tmp_path / "checkpoint"
    make = lambda: small(batch_size=60, checkpoint=str(folder))  # noqa: E731
    killed = how == "killed"
    kind = dying(signal.SIGKILL if killed else signal.SIGSTOP)
    fit = lambda: make().fit(X)  # noqa: E731
    # Who is killed is missed at once, who is silent after the timeout.
    limits = {"timeout": 120.0 if killed else 6.0}
    started = time.monotonic()
    first, second = in_processes(fit, tmp_path / "run", kind=kind, **limits)
    assert time.monotonic() - started < PATIENCE and second is None
    assert isinstance(first["error"], WorkerLostError)
    for part in ("Process 0 of 2 lost another", "adding up gradients", "checkpoint="):
        assert part in str(first["error"])
    assert not json.loads((folder / "fit.json").read_text())["finished"]
    with np.load(folder / "part-0.npz") as state:
        assert int(state["optimizer/n_steps"]) == 4
    # It goes on from there with as many processes as there are.
    whole, rest = Counted(2), Counted(2)
    with as_group(whole):
        small(batch_size=60).fit(X)
    with as_group(rest):
        make().fit(X)
    assert rest.n_steps == whole.n_steps - 4


@needs_fork
def test_a_mapped_array_is_mapped_by_each_process(tmp_path, monkeypatch):
    monkeypatch.setattr("skvae.streaming.sample.SAMPLE_ROWS", 200)
    monkeypatch.setattr("skvae.streaming.source.BLOCK_ROWS", 100)
    np.save(tmp_path / "rows.npy", table(600).astype(np.float32))
    X = np.load(tmp_path / "rows.npy", mmap_mode="r")
    copied = pickle.loads(pickle.dumps(source_of(X)))
    assert isinstance(copied.X, np.memmap) and np.array_equal(copied.X, X)
    for some in (X[100:], X[100:200], X.T[:2].T, X[::2], X[:, 1:]):
        part = pickle.loads(pickle.dumps(source_of(some)))
        assert np.array_equal(part.X, some)
        # Rows that lie one behind the other are mapped, too.
        is_mapped = some.flags.c_contiguous
        assert isinstance(part.X, np.memmap) == is_mapped
        assert not is_mapped or part.fingerprint() == source_of(some).fingerprint()
    one = by_lanes(small(), X)
    first, second = in_processes(lambda: small().fit(X), tmp_path / "run")
    assert second["error"] is None
    np.testing.assert_allclose(weights(first["estimator"]), weights(one), atol=1e-5)


def test_processes_started_from_python(tmp_path):
    X = pd.DataFrame(table()).rename(columns="x{}".format).assign(kind=["a", "b", "c"] * 100)
    one = by_lanes(small(), X)
    estimator = small()
    assert distributed.fit(estimator, X, n_processes=2) is estimator
    np.testing.assert_allclose(weights(estimator), weights(one), atol=1e-5)
    assert estimator.get_params().keys() == one.get_params().keys()


def test_arrays_in_memory_stay_there_and_mapped_ones_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_run", lambda folder, *_: kept.append(worker._call(folder)))
    kept = []
    X = table(50)
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for source in (X, mapped):
        with pytest.raises(FileNotFoundError):
            distributed.fit(small(), source, sample_weight=np.ones(50))
    # A source is read block by block, and what is learned before it is of a sample.
    assert source_of(kept[0]["X"]) is None and source_of(kept[1]["X"]) is not None
    assert Path(kept[1]["X"].filename) == tmp_path / "rows.npy"
    assert all(np.array_equal(call["X"], X) for call in kept)


@needs_fork
def test_a_member_that_diverges_alone_does_so_in_all_processes(tmp_path, monkeypatch):
    X = torch.as_tensor(table(200), dtype=torch.float32)
    rows, index = Rows(X, X, None, None), torch.arange(200).expand(2, -1)

    def fit():
        vae = tiny_vae([0, 1], blocks=[("continuous", (1,) * 5)])
        how = [Settings(max_iter=4, batch_size=50, learning_rate=rate) for rate in (1e-3, 1e9)]
        return train(vae, ELBO(), rows, index, None, Noise([0, 1]), StackSettings(how),
                     isolate=True).errors  # fmt: skip

    first, second = in_processes(fit, tmp_path / "run")
    assert list(first["estimator"]) == [1] and second["error"] is None
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first["flat"], second["flat"]))


@needs_fork
def test_moments_of_an_earlier_run_are_those_of_all_processes(tmp_path):
    X = torch.as_tensor(table(200), dtype=torch.float32)
    rows, index = Rows(X, X, None, None), torch.arange(200).expand(1, -1)

    def fit():
        vae, state = tiny_vae([0], blocks=[("continuous", (1,) * 5)]), None
        how = Settings(max_iter=2, batch_size=50, learning_rate=1e-2)
        for seed in range(2):
            history = train(vae, ELBO(), rows, index, None, Noise([seed]), how,
                            optimizer_state=state)  # fmt: skip
            state = history.optimizer_state
        return state

    first, second = in_processes(fit, tmp_path / "run")
    assert second["error"] is None and float(first["estimator"][2]) == 16.0
    assert all(np.array_equal(a, b) for a, b in zip(first["flat"], second["flat"]))


def test_a_run_that_was_lost_after_its_last_epoch_ends(tmp_path):
    class Lost(Lanes):
        def told(self, what):
            self.n_told = getattr(self, "n_told", 0) + 1
            if self.n_told == 4:  # Whether to go on, and each of three epochs.
                raise WorkerLostError("lost another one")
            return what

    keeps = small(early_stopping=False, calibrate=False, checkpoint=str(tmp_path))
    with as_group(Lost(2)), pytest.raises(WorkerLostError):
        clone(keeps).fit(table())
    whole = by_lanes(clone(keeps).set_params(checkpoint=None), table())
    assert np.array_equal(weights(by_lanes(keeps, table())), weights(whole))


def test_a_process_that_is_killed_is_named(tmp_path, monkeypatch):
    X, folder, started = table(), tmp_path / "checkpoint", []
    start = launcher._started
    monkeypatch.setattr(
        launcher, "_started", lambda *how: started.append(start(*how)) or started[-1]
    )

    def kill():
        while not (folder / "part-0.npz").exists():
            time.sleep(0.01)
        started[1].send_signal(signal.SIGKILL)

    thread = Thread(target=kill, daemon=True)
    thread.start()
    estimator = small(max_iter=100_000, early_stopping=False, checkpoint=str(folder))
    with pytest.raises(WorkerLostError, match="lost process 1 of 2 .* was killed by SIGKILL"):
        distributed.fit(estimator, X, n_processes=2)
    assert all(process.poll() is not None for process in started)
    assert (folder / "part-0.npz").exists() and not hasattr(estimator, "vae_")


def test_errors_of_the_fit_are_its_own(tmp_path):
    own, lost = ValueError("bad rows"), WorkerLostError("lost another one")
    for rank, error in enumerate([lost, own]):
        (tmp_path / f"error-{rank}.pickle").write_bytes(pickle.dumps(error))
    for rank, text in enumerate(["", "Killed by somebody"]):
        (tmp_path / f"stderr-{rank}").write_text(text)
    assert str(launcher._failure(tmp_path, [1, 1], [5, 6])) == "bad rows"
    (tmp_path / "error-1.pickle").unlink()
    told = str(launcher._failure(tmp_path, [1, 3], [5, 6]))
    assert "process 1 of 2 (pid 6), which ended with code 3" in told
    assert told.endswith("The process wrote: Killed by somebody")


@pytest.mark.slow
def test_a_fit_that_is_refused_says_why_from_python():
    with pytest.raises(ValueError, match="compares rows"):
        distributed.fit(small(penalty=MMD()), table(60), n_processes=2)


@pytest.mark.parametrize(
    "params, match",
    [
        ({"n_processes": 0}, "n_processes to be an integer of at least 1, got 0"),
        ({"n_shards": 1.5}, "n_shards to be an integer of at least 1, got 1.5"),
        ({"backend": "smoke"}, "backend to be one of .'auto', 'gloo', 'nccl'., got 'smoke'"),
        ({"timeout": -1}, "timeout to be a number of seconds, got -1"),
    ],
)
def test_bad_arguments_are_told_before_anything_starts(params, match):
    with pytest.raises((TypeError, ValueError), match=match):
        distributed.fit(small(), table(20), **params)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["joblib", "skops"])
def test_torchrun(suffix, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    X = table()
    pq.write_table(pa.table({f"x{i}": c for i, c in enumerate(X.T)}), tmp_path / "rows.parquet")
    joblib.dump(small(), tmp_path / "est.joblib")
    output = str(tmp_path / f"fitted.{suffix}")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "skvae.distributed", "--estimator", str(tmp_path / "est.joblib"),
        "--source", str(tmp_path / "rows.parquet"), "--output", output, "--n-shards", "4",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    from skvae.distributed.worker import load

    one = by_lanes(small(), str(tmp_path / "rows.parquet"), n=4)
    np.testing.assert_allclose(weights(load(output)), weights(one), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_torchrun_ends_with_a_worker(tmp_path):
    X, folder = table(), tmp_path / "checkpoint"
    np.save(tmp_path / "rows.npy", X)
    estimator = small(max_iter=1_000_000, early_stopping=False, checkpoint=str(folder))
    joblib.dump(estimator, tmp_path / "est.joblib")
    # Looking so seldom it leaves the first process the time to say what it lost.
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--monitor-interval", "5", "-m", "skvae.distributed",
        "--estimator", str(tmp_path / "est.joblib"),
        "--source", str(tmp_path / "rows.npy"), "--output", str(tmp_path / "fitted.joblib"),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        while not (folder / "part-0.npz").exists():
            assert run.poll() is None
            time.sleep(0.05)
        members = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ranks = {_environment(pid)["RANK"]: int(pid) for pid in members}
        os.kill(ranks["1"], signal.SIGKILL)
        _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode != 0 and "WorkerLostError: Process 0 of 2 lost another" in errors
    assert not (tmp_path / "fitted.joblib").exists()
    with np.load(folder / "part-0.npz") as state:
        assert int(state["optimizer/n_steps"]) > 0


def _environment(pid):
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_started_by_hand_it_says_how_to_start(monkeypatch, tmp_path):
    from skvae.distributed.worker import main

    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=r"torch\.distributed\.run"):
        main(["--estimator", "a.joblib", "--source", "b.npy", "--output", "c.joblib"])


def test_a_call_without_a_table_is_refused(capsys):
    with pytest.raises(SystemExit):
        worker.main(["--estimator", "a.joblib", "--output", "c.joblib"])
    assert "required: --source" in capsys.readouterr().err


def test_files_of_strange_types_are_not_loaded(tmp_path):
    sio = pytest.importorskip("skops.io")
    from skvae.distributed.worker import load

    sio.dump({"a": Path("x")}, tmp_path / "strange.skops")
    with pytest.raises(ValueError, match="types that are not of skvae"):
        load(str(tmp_path / "strange.skops"))


def test_seeds_of_a_source_are_its_own():
    assert Noise([1, 2]).seeds()[1] == Noise([2]).seeds()[0]
    noise = Noise([1])
    assert noise.seeds() != noise.seeds()
