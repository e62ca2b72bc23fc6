"""Clips of different lengths: storage, frame sampling in training, sliding windows in evaluation."""

import numpy as np
import pytest
import torch
from data_toy import prepare_toy, toy_samples
from hypothesis import given
from hypothesis import strategies as st

from blear.data.decoded.device_resident import DeviceResidentStore
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler, SlidingWindows
from blear.data.loader import batches, sequential_batches
from blear.data.sampling.sampler import Sampler
from blear.errors import DataError

LONGEST = 5


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_toy(tmp_path_factory.mktemp("varied"), kind="varied", samples=6)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return [
        sample.frames for sample in toy_samples(tmp_path_factory.mktemp("truth"), "train", kind="varied", samples=6)
    ]


def chosen(clip_THWC, frames):
    return clip_THWC[list(frames)].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("cache_gb", [None, 0])
def test_a_short_clip_repeats_its_last_frame(prepared, truth, cache_gb):
    store = Store.open(prepared, "train", cache_gb=cache_gb)
    assert {len(clip) for clip in truth} == {2, 3, 4, 5}
    assert store.lengths(np.arange(12)).tolist() == [len(clip) for clip in truth]
    taken = store.take(np.arange(12)).frames.numpy()
    for clip, stored in zip(truth, taken, strict=True):
        assert np.array_equal(stored, chosen(clip, [min(t, len(clip) - 1) for t in range(LONGEST)]))


@pytest.mark.parametrize("cache_gb", [None, 0])
@pytest.mark.parametrize("mode", ["random", "even", "first"])
def test_batches_hold_only_the_selected_frames(prepared, truth, cache_gb, mode):
    frame_sampler = FrameSampler(3, mode, seed=7, max_length=LONGEST)
    sampler = Sampler([6, 6], 4, 7)
    store = Store.open(prepared, "train", cache_gb=cache_gb)
    resident = DeviceResidentStore(store, torch.device("cpu"), store.take(np.array([0])))
    for source in (store, resident):
        for batch in batches(source, sampler, 1, 9, frame_sampler=frame_sampler):
            assert batch.frames_BTCHW.shape[1] == 3
            rows = zip(batch.epochs_B, batch.samples_B, batch.frames_BTCHW.numpy(), strict=True)
            for epoch, sample, frames in rows:
                clip = truth[sample]
                (expected,) = frame_sampler(np.array([epoch]), np.array([sample]), np.array([len(clip)]))
                assert np.array_equal(frames, chosen(clip, expected))


def test_two_workers_select_the_same_frames_as_one(prepared):
    store = Store.open(prepared, "train")
    sampler, frame_sampler = Sampler([6, 6], 4, 7), FrameSampler(3, "random", 7, LONGEST)
    (whole,) = batches(store, sampler, 5, 6, frame_sampler=frame_sampler)
    parts = [next(batches(store, sampler, 5, 6, rank, 2, frame_sampler=frame_sampler)) for rank in range(2)]
    found = {int(s): f for part in parts for s, f in zip(part.samples_B, part.frames_BTCHW.numpy(), strict=True)}
    for sample, frames in zip(whole.samples_B, whole.frames_BTCHW.numpy(), strict=True):
        assert np.array_equal(found[int(sample)], frames)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 16), st.integers(0, 3))
def test_random_frames_are_distinct_sorted_and_inside(lengths, take, epoch):
    frame_sampler = FrameSampler(take, "random", 0, 40)
    lengths_B, samples_B = np.array(lengths), np.arange(len(lengths))
    frames_BT = frame_sampler(np.full(len(lengths), epoch), samples_B, lengths_B)
    for length, frames in zip(lengths, frames_BT.tolist(), strict=True):
        if length >= take:
            assert frames == sorted(set(frames))
            assert frames[0] >= 0
            assert frames[-1] < length
        else:
            assert frames == [*range(length), *[length - 1] * (take - length)]


def test_all_frames_are_drawn_with_equal_probability():
    frame_sampler = FrameSampler(4, "random", 3, 10)
    count = 6000
    frames = frame_sampler(np.arange(count), np.zeros(count, np.int64), np.full(count, 10))
    share = np.bincount(frames.ravel(), minlength=10) / count
    assert np.abs(share - 0.4).max() < 4 * np.sqrt(0.4 * 0.6 / count)


def test_even_and_first_frames_of_known_clips():
    zeros = np.zeros(3, np.int64)
    lengths = np.array([9, 4, 2])
    assert FrameSampler(4, "even", 0, 9)(zeros, zeros, lengths).tolist() == [[0, 3, 5, 8], [0, 1, 2, 3], [0, 1, 1, 1]]
    assert FrameSampler(4, "first", 0, 9)(zeros, zeros, lengths).tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 1, 1]]
    assert FrameSampler(1, "even", 0, 9)(zeros, zeros, lengths).tolist() == [[0], [0], [0]]


def test_sliding_windows_of_known_clips():
    clips, begins = SlidingWindows(16, 8).starts(np.array([5, 16, 23, 24, 40]))
    # FER-VGG-GRU, section 5: windows that fit entirely; the tail is ignored; a shorter clip is one window
    assert clips.tolist() == [0, 1, 2, 3, 3, 4, 4, 4, 4]
    assert begins.tolist() == [0, 0, 0, 0, 8, 0, 8, 16, 24]
    assert SlidingWindows(4, 2).selector(np.array([0, 2]))(np.array([3, 9])).tolist() == [[0, 1, 2, 2], [2, 3, 4, 5]]


@pytest.mark.parametrize("world", [1, 2, 5])
def test_windows_of_a_split(prepared, truth, world):
    store = Store.open(prepared, "train")
    windows = SlidingWindows(3, 1)
    found = [raw for rank in range(world) for raw in sequential_batches(store, 4, rank, world, frame_sampler=windows)]
    samples = np.concatenate([raw.samples_B for raw in found])
    frames = np.concatenate([raw.frames_BTCHW.numpy() for raw in found])
    expected = [(n, start) for n, clip in enumerate(truth) for start in range(max(1, len(clip) - 2))]
    assert samples.tolist() == [n for n, _ in expected]
    for (n, start), window in zip(expected, frames, strict=True):
        assert np.array_equal(window, chosen(truth[n], [min(t, len(truth[n]) - 1) for t in range(start, start + 3)]))


def test_clips_that_are_too_short_or_have_clean_clips_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"\(1, 6, 5, 3\), the dataset's clip says \(5, 6, 5, 3\) .* with 2 frames or more"
    ):
        prepare_toy(tmp_path, kind="varied", fault="short")
    with pytest.raises(DataError, match="clips that differ in length cannot carry a clean clip"):
        prepare_toy(tmp_path, kind="varied", fault="clean")
