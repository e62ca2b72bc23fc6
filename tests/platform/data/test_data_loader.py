import fcntl
import gc
import threading
import time
import weakref
from concurrent.futures import wait

import numpy as np
import pytest
import torch
from data_server import Faults, serve
from data_toy import prepare_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from blear.data import loader
from blear.data.decoded.cache import VERSION
from blear.data.decoded.store import Store
from blear.data.loader import batches, sequential_batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.data.shard.archive import Shard
from blear.errors import DataError, JobError
from blear.storage.remote import RetryPolicy

COUNTS = [7, 7]
SAMPLE = 2 * 6 * 5 * 4 + 2 * 4 * 3 * 4 + 8 + 4
"""Bytes of a sample of the toy's floats: frames, clean, emotion, valence."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.open(prepare_toy(tmp_path_factory.mktemp("toy"), kind="floats", samples=7), "train")


def break_samples(prepared, numbers, split="train"):
    """Overwrites the pictures of some samples of the split."""
    shards = prepared.shards(split)
    for number in numbers:
        with Shard.open(shards[number // 7]) as shard:
            offset, size = shard.index.members(number % 7)["png"]
        with shards[number // 7].open("r+b") as file:
            file.seek(offset)
            file.write(bytes(size))


@pytest.fixture
def damaged(tmp_path):
    """Fourteen stills, of which 3, 4 and 8 are broken."""
    prepared = prepare_toy(tmp_path, samples=7)
    break_samples(prepared, [3, 4, 8])
    return Store.open(prepared, "train", max_broken=3)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("blear-batches")]


def assert_is(batch, store, epochs_B, samples_B):
    taken = store.take(samples_B)
    assert np.array_equal(batch.epochs_B, epochs_B)
    assert np.array_equal(batch.samples_B, samples_B)
    assert torch.equal(batch.frames_BTCHW, taken.frames)
    assert (batch.clean_BTCHW is None) == (taken.clean is None)
    assert taken.clean is None or torch.equal(batch.clean_BTCHW, taken.clean)
    assert batch.targets.keys() == {"emotion", "valence"}
    assert all(torch.equal(batch.targets[name], taken.targets[name]) for name in taken.targets)


@pytest.mark.parametrize(("threads", "budget"), [(1, 0), (1, 2**20), (3, 2**20)])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
def test_batches_equal_the_samples_of_the_sampler(store, rank, world, threads, budget):
    sampler = Sampler(COUNTS, 5, seed=3)
    found = list(batches(store, sampler, 2, 30, rank, world, threads=threads, prefetch_bytes=budget))
    assert len(found) == 28
    for step, batch in enumerate(found, 2):
        assert_is(batch, store, *sampler.worker_batch(step, rank, world))
    assert readers() == []


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 14),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4000)), max_size=4),
)
def test_attempts_with_any_workers_and_threads_see_the_uninterrupted_sequence(store, batch_size, window, attempts):
    sampler = Sampler(COUNTS, batch_size, seed=9, window=window)
    step, seen, truth = 0, [], []
    for steps, world, threads, budget in attempts:
        world = min(world, batch_size)
        streams = [
            batches(store, sampler, step, step + steps, rank, world, threads=threads, prefetch_bytes=budget)
            for rank in range(world)
        ]
        for shares in zip(*streams, strict=True):
            batch = np.empty((batch_size, 2), dtype=np.int64)
            for rank, share in enumerate(shares):
                batch[rank::world] = np.stack([share.epochs_B, share.samples_B], axis=1)
            seen += batch.tolist()
        step += steps
    for k in range(step):
        truth += np.stack(sampler.batch(k), axis=1).tolist()
    assert seen == truth


def test_sequential_gives_every_sample_once(store):
    found = list(sequential_batches(store, 4))
    assert [len(batch.samples_B) for batch in found] == [4, 4, 4, 2]
    assert np.concatenate([batch.samples_B for batch in found]).tolist() == list(range(14))
    assert not np.concatenate([batch.epochs_B for batch in found]).any()
    for batch in found:
        assert_is(batch, store, batch.epochs_B, batch.samples_B)


@pytest.mark.parametrize("world", [1, 2, 3, 14, 16])
def test_sequential_shares_are_consecutive_and_balanced(store, world):
    shares = [
        [number for batch in sequential_batches(store, 3, rank, world) for number in batch.samples_B.tolist()]
        for rank in range(world)
    ]
    assert [number for share in shares for number in share] == list(range(14))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_broken_samples_are_left_out(damaged):
    sampler = Sampler(COUNTS, 14, seed=0)
    (batch,) = batches(damaged, sampler, 0, 1)
    epochs_B, samples_B = sampler.batch(0)
    good_B = ~np.isin(samples_B, [3, 4, 8])
    assert good_B.sum() == 11
    assert_is(batch, damaged, epochs_B[good_B], samples_B[good_B])
    whole = [batch.samples_B.tolist() for batch in sequential_batches(damaged, 2)]
    assert whole == [[0, 1], [2], [5], [6, 7], [9], [10, 11], [12, 13]]
    assert [len(batch.samples_B) for batch in sequential_batches(damaged, 1)] == [1] * 11


def test_a_share_with_broken_samples_only_is_an_error(damaged):
    sampler = Sampler(COUNTS, 1, seed=0)
    samples = [int(sampler.batch(step)[1][0]) for step in range(14)]
    first = next(step for step, sample in enumerate(samples) if sample in {3, 4, 8})
    stream = batches(damaged, sampler, 0, 14)
    assert [next(stream).samples_B.tolist() for _ in range(first)] == [[sample] for sample in samples[:first]]
    key = damaged.keys(np.array(samples[first : first + 1]))[0]
    text = rf"00\.tar: every sample of a worker's share of batch {first} is broken: samples {key}\n"
    with pytest.raises(DataError, match=text):
        next(stream)
    assert readers() == []


class Watched:
    """A store that counts reads, and fails at one of them."""

    progress = 0

    def __init__(self, store, fail_at=None):
        self.store, self.fail_at, self.taken = store, fail_at, 0
        self.shards, self.keys = store.shards, store.keys

    def __len__(self):
        return len(self.store)

    def take(self, samples_B, select_frames=None):
        self.taken += 1
        if self.taken == self.fail_at:
            raise DataError("the disk is gone", "frames.npy")
        return self.store.take(samples_B, select_frames)


def reads_when_idle(watched):
    """Number of reads once the threads are idle."""
    pause, last = threading.Event(), -1
    while watched.taken != last:
        last = watched.taken
        pause.wait(0.1)
    return last


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("budget", "taken"),
    [(0, [2, 3, 4]), (2 * SAMPLE, [2, 3, 4]), (7 * SAMPLE, [4, 4, 6]), (2**30, [17, 17, 17])],
    ids=["1 ahead", "1 of its size", "3", "16"],
)
def test_prefetched_batches_stay_within_the_budget(store, budget, taken, threads):
    """The budget sets the number of batches; the queue is refilled when half of them are consumed."""
    watched = Watched(store)
    stream = batches(watched, Sampler(COUNTS, 2, 0), 0, 10**9, prefetch_bytes=budget, threads=threads)
    for so_far in taken:
        batch = next(stream)
        assert batch.bytes == 2 * SAMPLE
        assert reads_when_idle(watched) == so_far
    assert len(readers()) == threads
    stream.close()
    assert readers() == []
    assert watched.taken == taken[-1]


def test_the_threads_end_when_the_iterator_is_deleted(store):
    stream = batches(store, Sampler(COUNTS, 2, 0), 0, 10**9, threads=2)
    next(stream)
    assert len(readers()) == 2
    del stream
    gc.collect()
    assert readers() == []


def test_an_iterator_that_is_never_advanced_starts_no_thread(store):
    stream = batches(store, Sampler(COUNTS, 2, 0), 0, 8)
    assert readers() == []
    stream.close()
    assert list(batches(store, Sampler(COUNTS, 2, 0), 8, 8)) == []


def test_the_loader_keeps_no_yielded_batch_alive(store):
    stream = batches(store, Sampler(COUNTS, 2, 0), 0, 50, prefetch_bytes=0)
    next(stream)
    before = weakref.ref(next(stream))
    next(stream)
    gc.collect()
    assert before() is None
    stream.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_of_the_threads_are_raised_in_the_consumer(store, threads):
    stream = batches(Watched(store, fail_at=3), Sampler(COUNTS, 2, 0), 0, 8, threads=threads)
    with pytest.raises(DataError, match="the disk is gone"):
        list(stream)
    assert readers() == []


def test_a_hanging_server_is_an_error_with_shard_names(tmp_path, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    toy = prepare_toy(tmp_path, samples=7)
    with serve(toy.folder, Faults(times=99, stall_at=100)) as (url, faults):
        prepared = Prepared.open(url, retry=RetryPolicy(tries=1, initial_wait_s=0.01, max_wait_s=0.01, timeout_s=60))
        store = Store.open(prepared, "train")
        with pytest.raises(DataError, match=r"has not ended for 0\.3 s") as error:
            list(batches(store, Sampler(store.counts, 7, 0), 5, 8, stall_s=0.3))
        assert "batch 5" in error.value.what
        assert error.value.where == "train/00000-000.tar, train/00001-000.tar"
        assert "cluster.stall_s" in error.value.do
        assert len(readers()) == 1  # the daemon thread does not keep the process from ending
        assert readers()[0].daemon
        faults.released.set()
        readers()[0].join(60)


def test_a_hanging_read_names_its_samples(store):
    hang = threading.Event()

    class Hanging(Watched):
        def take(self, samples_B, select_frames=None):
            hang.wait(60)
            return super().take(samples_B, select_frames)

    sampler = Sampler(COUNTS, 6, 0)
    with pytest.raises(DataError) as error:
        next(batches(Hanging(store), sampler, 0, 8, stall_s=0.2))
    hang.set()
    keys = store.keys(sampler.batch(0)[1])
    assert f"samples {', '.join(keys[:4])} and 2 more" in error.value.what


def test_a_slow_read_that_makes_progress_is_not_a_stall(store, monkeypatch):
    """The loader's waits end with each progress instead of after `stall_s`: the test does not depend on speed."""

    class Decoding(Watched):
        def take(self, samples_B, select_frames=None):
            while waits < 3:
                self.progress += 1
                time.sleep(0.001)
            return super().take(samples_B, select_frames)

    def wait_for_progress(futures, stall_s):
        nonlocal waits
        before = reading.progress
        while reading.progress == before and not futures[0].done():
            time.sleep(0.001)
        waits += 1
        return wait(futures, 0 if waits < 3 else None)

    waits, reading, sampler = 0, Decoding(store), Sampler(COUNTS, 6, 0)
    monkeypatch.setattr(loader, "wait", wait_for_progress)
    assert np.array_equal(next(batches(reading, sampler, 0, 1)).samples_B, sampler.batch(0)[1])
    assert waits >= 3


def grows(value, before):
    """Waits until `value()` exceeds `before`."""
    deadline = time.monotonic() + 20
    while value() <= before and time.monotonic() < deadline:
        time.sleep(0.002)
    return value() > before


def test_each_piece_of_a_slow_fetch_is_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    toy, gate = prepare_toy(tmp_path, samples=7), threading.Semaphore(0)
    with serve(toy.folder, Faults(times=99, gate=gate)) as (url, _):
        store = Store.open(Prepared.open(url), "train")
        reading = threading.Thread(target=store.take, args=(np.arange(7),), daemon=True)
        before = store.progress
        reading.start()
        for _ in range(3):
            gate.release()
            assert grows(lambda: store.progress, before)
            before = store.progress
        assert reading.is_alive()
        gate.release(10_000)
        reading.join(60)


def test_waiting_for_a_process_that_decodes_the_shard_is_progress(tmp_path):
    prepared = prepare_toy(tmp_path, samples=7)
    first, second = (Store.open(prepared, "train", tmp_path / "decoded") for _ in range(2))
    name = f"{first.layout.cache_name(first.shards[0])}.d{VERSION}.partial"
    with (tmp_path / "decoded" / name).open("wb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        reading = threading.Thread(target=second.take, args=(np.arange(7),), daemon=True)
        before = second.progress
        reading.start()
        assert grows(lambda: second.progress, before)
        assert reading.is_alive()
        fcntl.flock(writer, fcntl.LOCK_UN)
        reading.join(60)
        assert not reading.is_alive()


def test_invalid_arguments_are_refused(store):
    with pytest.raises(JobError, match=r"a batch of 2 samples cannot be shared by 3 workers\n.*batch_size to 3"):
        batches(store, Sampler(COUNTS, 2, 0), 0, 1, 0, 3)
    with pytest.raises(ValueError, match="at least 1"):
        sequential_batches(store, 0)
    with pytest.raises(ValueError, match="rank 2 in a world of 2"):
        sequential_batches(store, 1, 2, 2)
