"""The sampler at the size of a large cluster: 1,024 workers, 100,000 shards of uneven sizes, 10**9 samples."""

import tracemalloc

import numpy as np
import pytest

from blear.data.sampling.sampler import Sampler

WORLD, BATCH = 1024, 1024 * 32


@pytest.fixture(scope="module")
def counts():
    counts = np.random.default_rng(0).integers(1, 20_000, 100_000)
    counts[:2] = 0
    counts[2] += 10**9 - counts.sum()
    assert counts[2] > 0
    assert counts.sum() == 10**9
    return counts


@pytest.fixture
def memory():
    """memory() -> most bytes held at once since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_memory_of_a_worker_that_jumps_through_epochs(counts, memory):
    sampler = Sampler(counts.tolist(), BATCH, seed=1)
    steps = [0, 1, 10**9 // BATCH, 10**9 // BATCH + 1, 7 * 10**4, 10**6, 3 * 10**8]
    for step in steps:
        epochs_B, samples_B = sampler.worker_batch(step, 1023, WORLD)
        assert len(samples_B) == 32
        assert samples_B.min() >= 0
        assert samples_B.max() < 10**9
        assert np.array_equal(epochs_B, (step * BATCH + 1023 + np.arange(32) * WORLD) // 10**9)
    assert memory() < 200 * 10**6


def test_memory_of_the_largest_split_that_is_permuted_as_a_whole(memory):
    sampler = Sampler([2**20] * 4, 512, seed=1)
    for step in (0, 8192, 2 * 8192):
        sampler.worker_batch(step, 0, 2)
    assert memory() < 200 * 10**6


def test_batches_hold_whole_blocks_and_each_sample_once(counts):
    sampler = Sampler(counts, BATCH, seed=1)
    _, samples = (np.concatenate(arrays) for arrays in zip(*(sampler.batch(step) for step in range(40)), strict=True))
    assert len(np.unique(samples)) == len(samples)
    ends = np.cumsum(counts)
    owner = np.searchsorted(ends, samples, side="right")
    begin = (ends - counts)[owner]
    first = begin + (samples - begin) // 1000 * 1000
    sizes = np.minimum(1000, ends[owner] - first)
    blocks, place, found = np.unique(first, return_inverse=True, return_counts=True)
    whole = np.zeros(len(blocks), dtype=np.int64)
    whole[place] = sizes
    # all but the blocks of the window that the last step ends in are there with every sample
    assert (found < whole).sum() <= 128
    assert (found <= whole).all()
    assert len(blocks) > 128 * 9


def test_workers_of_a_sampled_step_share_it_evenly(counts):
    sampler = Sampler(counts, BATCH + 5, seed=1)
    step = 12345
    _, samples_B = sampler.batch(step)
    shares = {rank: sampler.worker_batch(step, rank, WORLD)[1] for rank in (0, 1, 4, 5, 511, 1023)}
    for rank, share in shares.items():
        assert np.array_equal(share, samples_B[rank::WORLD])
        assert len(share) == 33 if rank < 5 else 32
    resized = np.concatenate([sampler.worker_batch(step, rank, 7)[1] for rank in range(7)])
    assert np.array_equal(np.sort(resized), np.sort(samples_B))


def test_a_whole_epoch_of_a_split_beyond_the_window():
    counts = np.random.default_rng(1).integers(1, 4_000, 2_500)
    sampler = Sampler(counts, 300_000, seed=2)
    assert sampler.count > sampler.window
    seen = np.zeros(sampler.count, dtype=np.int64)
    for step in range(sampler.count // sampler.batch_size + 1):
        epochs_B, samples_B = sampler.batch(step)
        np.add.at(seen, samples_B[epochs_B == 0], 1)
    assert (seen == 1).all()


def test_few_shards_are_read_at_a_time(counts):
    sampler = Sampler(counts, 1024, seed=3)
    ends = np.cumsum(counts)
    owners = [np.searchsorted(ends, sampler.batch(step)[1], side="right") for step in range(500_000, 500_100)]
    assert len(np.unique(np.concatenate(owners))) <= 2 * 128
    # and a batch mixes many: its samples are no neighbours
    assert min(len(np.unique(owner)) for owner in owners) > 64
