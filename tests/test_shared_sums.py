"""Processes of one machine add up in memory that they share, or notice that they cannot."""

import multiprocessing
import os
import pickle
import signal
import time

import pytest
import torch

from skvae.distributed import launcher, shared_sums
from skvae.distributed.group import joined_group
from skvae.exceptions import WorkerLostError

dist = torch.distributed
pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods()
    or not dist.is_gloo_available()
    or not shared_sums.is_supported(),
    reason="needs forks, gloo and memory to share",
)
SHAPES = [(1, 7), (2, 300), (1, 5), (1, 40_000), (2, 300)]


def _one(rank, n, work, folder, timeout):
    os.environ.update(launcher.within_machine())
    try:
        store = dist.FileStore(str(folder / "store"), n)
        with joined_group(store, rank, n, None, "gloo", timeout) as group:
            found = work(group)
    except Exception as error:
        found = error
    (folder / f"found-{rank}").write_bytes(pickle.dumps(found))


def together(work, folder, n=3, timeout=60.0):
    """What each process finds, None for one that did not end by itself."""
    context = multiprocessing.get_context("fork")
    arguments = n, work, folder, timeout
    processes = [context.Process(target=_one, args=(rank, *arguments)) for rank in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout + 60)
        process.kill()
    paths = [folder / f"found-{rank}" for rank in range(n)]
    return [pickle.loads(path.read_bytes()) if path.exists() else None for path in paths]


def numbers_of(rank, turn, dtype=torch.float32):
    generator = torch.Generator().manual_seed(100 * turn + rank)
    return torch.randn(SHAPES[turn % len(SHAPES)], generator=generator, dtype=dtype)


def sums(group, n_turns=300):
    found = []
    for turn in range(n_turns):
        numbers = numbers_of(group.rank, turn, (torch.float32, torch.float64)[turn % 2])
        if turn % 50 == group.rank:
            time.sleep(0.01)  # The others wait for who is late.
        group.add_up(numbers)
        found.append(numbers)
    return group.shares_memory, found


def check(found, n, shared):
    for turn in range(len(found[0][1])):
        dtype = found[0][1][turn].dtype
        expected = sum(numbers_of(rank, turn, dtype).double() for rank in range(n))
        for shares, numbers in found:
            assert shares == shared
            torch.testing.assert_close(numbers[turn].double(), expected, atol=1e-5, rtol=0)
            assert torch.equal(numbers[turn], found[0][1][turn])


@pytest.mark.parametrize("n", [2, 3])
def test_all_get_the_same_sums(n, tmp_path):
    check(together(sums, tmp_path, n), n, shared=True)


def test_two_sets_of_places_are_needed(tmp_path, monkeypatch):
    class One(shared_sums.SharedSums):
        """Who is fast writes over what the others have not read yet."""

        @property
        def _places(self):
            return self._both[:1].expand(2, -1, -1)

        @_places.setter
        def _places(self, both):
            self._both = both

        @_places.deleter
        def _places(self):
            del self._both

        def _await(self, other):
            super()._await(other)
            time.sleep(0.002 * self.rank)

    monkeypatch.setattr(shared_sums, "SharedSums", One)
    with pytest.raises(AssertionError):
        check(together(sums, tmp_path, 2), 2, shared=True)


def refused(monkeypatch):
    def full(descriptor, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)


def elsewhere(monkeypatch):
    monkeypatch.setattr(shared_sums, "_opened", lambda path: None)


def other_machine(monkeypatch):
    monkeypatch.setattr(shared_sums.platform, "machine", lambda: "arm64")


@pytest.mark.parametrize("trouble", [refused, elsewhere, other_machine])
def test_without_such_memory_sums_are_sent(trouble, tmp_path, monkeypatch):
    trouble(monkeypatch)
    check(together(sums, tmp_path, 2), 2, shared=False)


def test_nothing_is_left_in_the_folder_of_the_memory(tmp_path, monkeypatch):
    seen = []
    created = shared_sums._created

    def watched(size):
        path, descriptor = created(size)
        seen.append(path)
        return path, descriptor

    monkeypatch.setattr(shared_sums, "_created", watched)
    work = lambda group: (sums(group, 5), list(seen))  # noqa: E731
    first, _ = together(work, tmp_path, 2)
    # Larger numbers get larger memory.
    assert len(first[1]) == 3 and not any(map(os.path.exists, first[1]))


def leaving(group):
    sums(group, 5)
    if group.rank:
        return "left"
    return sums(group, 1)


def killed(group):
    sums(group, 5)
    if group.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return sums(group, 1)


@pytest.mark.parametrize("work", [leaving, killed])
def test_who_has_ended_is_missed_at_once(work, tmp_path):
    started = time.monotonic()
    first, second = together(work, tmp_path, 2, timeout=60.0)
    assert isinstance(first, WorkerLostError) and "Process 1 has ended" in str(first)
    assert second == ("left" if work is leaving else None)
    assert time.monotonic() - started < 45


def silent(group):
    sums(group, 5)
    if group.rank:
        time.sleep(3)
        return "slept"
    return sums(group, 1)


def test_who_is_silent_is_missed_after_the_timeout(tmp_path):
    first, second = together(silent, tmp_path, 2, timeout=1.0)
    assert isinstance(first, WorkerLostError) and "silent for 1 s" in str(first)
    assert second == "slept"


def late(group):
    if group.rank:
        time.sleep(3 * shared_sums.DOUBT)
    return sums(group, 1)


def test_who_is_late_is_waited_for(tmp_path):
    check(together(late, tmp_path, 2), 2, shared=True)
