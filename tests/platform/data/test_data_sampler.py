import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blear.data.sampling.permutation import stable_argsort
from blear.data.sampling.sampler import Sampler

shards = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
seeds = st.integers(-(2**63), 2**63 - 1)
samplers = st.builds(Sampler, shards, st.integers(1, 25), seeds, st.integers(1, 300))


def stream(sampler, start, stop):
    """(epoch, sample) of every position in some global batches."""
    return [place for step in range(start, stop) for place in np.stack(sampler.batch(step), axis=1).tolist()]


@settings(deadline=None)
@given(samplers, st.integers(0, 5))
def test_every_epoch_has_every_sample_once(sampler, epoch):
    first, last = epoch * sampler.count // sampler.batch_size, (epoch + 1) * sampler.count // sampler.batch_size
    batches = [sampler.batch(step) for step in range(first, last + 1)]
    epochs, samples = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    assert sorted(samples[epochs == epoch]) == list(range(sampler.count))
    assert all(len(samples_B) == sampler.batch_size for _, samples_B in batches)


@settings(deadline=None)
@given(samplers, st.integers(0, 40), st.integers(1, 40))
def test_shares_of_all_workers_are_the_global_batch_and_balanced(sampler, step, world):
    epochs_B, samples_B = sampler.batch(step)
    shares = [sampler.worker_batch(step, rank, world) for rank in range(world)]
    back = np.full_like(samples_B, -1), np.full_like(samples_B, -1)
    for rank, share in enumerate(shares):
        for whole, piece in zip(back, share, strict=True):
            whole[rank::world] = piece
    assert np.array_equal(back[0], epochs_B)
    assert np.array_equal(back[1], samples_B)
    sizes = [len(samples) for _, samples in shares]
    assert sum(sizes) == sampler.batch_size
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(samplers, st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=5))
def test_restarts_with_other_numbers_of_workers_keep_the_sequence(sampler, attempts):
    # each attempt makes some steps with its own world, the last few of which are lost with it
    seen, step = [], 0
    for steps, lost, world in attempts:
        fresh = Sampler(sampler.counts, sampler.batch_size, sampler.seed, sampler.window)
        done = step + max(0, steps - lost)
        for k in range(step, step + steps):
            shares = [np.stack(fresh.worker_batch(k, rank, world), axis=1) for rank in range(world)]
            if k < done:
                batch = np.empty((sampler.batch_size, 2), dtype=np.int64)
                for rank, share in enumerate(shares):
                    batch[rank::world] = share
                seen += batch.tolist()
        step = done
    assert seen == stream(sampler, 0, step)


@settings(deadline=None)
@given(samplers, st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_any_step_alone_equals_the_sequence(sampler, steps):
    sequence = [sampler.batch(step) for step in range(31)]
    for step in steps:
        fresh = Sampler(sampler.counts, sampler.batch_size, sampler.seed, sampler.window)
        for alone, within in zip(fresh.batch(step), sequence[step], strict=True):
            assert alone.dtype == np.int64
            assert np.array_equal(alone, within)


@settings(deadline=None)
@given(samplers, st.integers(1, 25))
def test_positions_do_not_depend_on_the_batch_size(sampler, other):
    steps = 3 * sampler.count // sampler.batch_size + 1
    first = stream(sampler, 0, steps)
    second = stream(Sampler(sampler.counts, other, sampler.seed, sampler.window), 0, len(first) // other)
    assert second == first[: len(second)]


@settings(deadline=None)
@given(shards, st.integers(1, 25), seeds)
def test_a_permutation_within_the_window_does_not_depend_on_the_shards(counts, batch_size, seed):
    count = sum(counts)
    one, cut = Sampler([count], batch_size, seed, count), Sampler(counts, batch_size, seed, count)
    assert stream(one, 0, 5) == stream(cut, 0, 5)


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12), seeds, st.integers(1, 200), st.integers(0, 3))
def test_a_window_is_limited_in_blocks_and_samples(counts, seed, window, epoch):
    if sum(counts) <= window:
        return
    sampler = Sampler(counts, sum(counts), seed, window)
    _, samples = sampler.batch(epoch)
    block = max(1, window // 16)
    firsts = np.cumsum(counts) - counts
    owner = np.searchsorted(np.cumsum(counts), samples, side="right")
    names, blocks = np.unique(
        np.stack([owner, (samples - firsts[owner]) // block], axis=1), axis=0, return_inverse=True
    )
    places = np.arange(len(samples))
    first, last = np.full(len(names), len(samples)), np.zeros(len(names), dtype=np.int64)
    np.minimum.at(first, blocks, places)
    np.maximum.at(last, blocks, places)
    open_at = (first[:, None] <= places) & (places <= last[:, None])
    assert open_at.sum(axis=0).max() <= window // block
    assert (last - first).max() < window


def test_seeds_and_epochs_shuffle_differently():
    def epoch(seed, number, window):
        return tuple(Sampler([60, 40], 100, seed, window).batch(number)[1].tolist())

    assert len({epoch(seed, number, window) for seed in (0, 1, -1) for number in (0, 1) for window in (100, 50)}) == 12


def test_the_sequence_does_not_change_between_versions():
    # a change here would change what every resumed run sees
    epochs_B, samples_B = Sampler([8], 12, seed=1).batch(0)
    assert epochs_B.tolist() == [0] * 8 + [1] * 4
    assert samples_B.tolist() == [3, 5, 2, 7, 0, 6, 1, 4, 0, 6, 5, 3]
    epochs_B, samples_B = Sampler([5, 0, 9, 4], 20, seed=1, window=8).batch(0)
    assert epochs_B.tolist() == [0] * 18 + [1] * 2
    assert samples_B.tolist() == [14, 0, 5, 16, 13, 4, 11, 17, 9, 7, 3, 15, 8, 12, 2, 6, 1, 10, 0, 14]


_DIGEST = """
import hashlib, sys
import numpy as np
from blear.data.sampling.sampler import Sampler
from blear.data.sampling.permutation import stable_argsort
sampler = Sampler([3000 + 7 * n for n in range(40)], 999, seed=5, window=50_000)
found = [sampler.worker_batch(step, 1, 3) for step in (300, 0, 123456789)]
sys.stdout.write(hashlib.sha256(np.concatenate([np.stack(part) for part in found], axis=1).tobytes()).hexdigest())
"""


def test_a_new_process_computes_the_same_sequence():
    sampler = Sampler([3000 + 7 * n for n in range(40)], 999, seed=5, window=50_000)
    found = [sampler.worker_batch(step, 1, 3) for step in (300, 0, 123456789)]
    here = hashlib.sha256(np.concatenate([np.stack(part) for part in found], axis=1).tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True).stdout
    assert there == here
    assert here == "ca981e8d0546d96dfe98636e680bd0f74b88da07999d1cff80b3862d07e31fb2"


@pytest.mark.parametrize("window", [7, 4])
def test_a_step_of_a_trillion(window):
    epochs_B, samples_B = Sampler([7], 4, 0, window).batch(10**12)
    assert epochs_B.tolist() == [571428571428, 571428571428, 571428571428, 571428571429]
    assert samples_B.tolist() == {7: [6, 5, 3, 4], 4: [5, 4, 0, 3]}[window]


@pytest.mark.parametrize(("counts", "batch_size", "window"), [([0, 0], 1, 1), ([], 1, 1), ([1], 0, 1), ([1], 1, 0)])
def test_an_empty_sampler_is_refused(counts, batch_size, window):
    with pytest.raises(ValueError, match="at least 1"):
        Sampler(counts, batch_size, 0, window)


def test_counts_ranks_and_steps_out_of_range_are_refused():
    with pytest.raises(ValueError, match="none negative"):
        Sampler([4, -1], 2, 0)
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        Sampler([4], 2, 0).worker_batch(0, 2, 2)
    with pytest.raises(ValueError, match="negative"):
        Sampler([4], 2, 0).batch(-1)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 2**64 - 1))
def test_argsort_is_stable_for_equal_words(words, modulus):
    for values in (np.array(words, dtype=np.uint64), np.array([word % modulus % 5 for word in words], dtype=np.uint64)):
        expected = sorted(range(len(values)), key=values.tolist().__getitem__)
        assert stable_argsort(values).tolist() == expected
