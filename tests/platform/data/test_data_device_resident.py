import threading

import numpy as np
import pytest
import torch
from data_toy import prepare_toy

from blear.data.decoded.device_resident import DeviceResidentStore, keep_on_device
from blear.data.decoded.store import Store
from blear.data.loader import batches, sequential_batches
from blear.data.sampling.sampler import Sampler
from blear.data.shard.archive import Shard
from blear.job.schema import Cluster

CPU = torch.device("cpu")
COUNTS = [7, 7]
STILL, FLOATS = 6 * 5 + 8 + 4, 2 * 6 * 5 * 4 + 2 * 4 * 3 * 4 + 8 + 4
"""Bytes of a sample of the toy's stills and floats: frames, clean, emotion, valence."""


@pytest.fixture(scope="module", params=["stills", "floats", "damaged"])
def case(request, tmp_path_factory):
    """(a split of fourteen samples, its bytes for each); of "damaged", the first and the ninth are broken."""
    kind = "floats" if request.param == "floats" else "stills"
    prepared = prepare_toy(tmp_path_factory.mktemp("toy"), kind=kind, samples=7)
    if request.param == "damaged":
        for path, row in zip(prepared.shards("train"), (0, 1), strict=True):
            with Shard.open(path) as shard:
                offset, size = shard.index.members(row)["png"]
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(bytes(size))
    return Store.open(prepared, "train", max_broken=2), FLOATS if kind == "floats" else STILL


def assert_same(one, other):
    assert np.array_equal(one.epochs_B, other.epochs_B)
    assert np.array_equal(one.samples_B, other.samples_B)
    assert one.frames_BTCHW.dtype == other.frames_BTCHW.dtype
    assert torch.equal(one.frames_BTCHW, other.frames_BTCHW)
    assert (one.clean_BTCHW is None) == (other.clean_BTCHW is None)
    assert one.clean_BTCHW is None or torch.equal(one.clean_BTCHW, other.clean_BTCHW)
    assert one.targets.keys() == other.targets.keys() == {"emotion", "valence"}
    for name, values in one.targets.items():
        assert values.dtype == other.targets[name].dtype
        assert torch.equal(values, other.targets[name])


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_bitwise_equal_to_those_of_the_store(case, threads):
    store, size = case
    resident = keep_on_device(store, CPU, budget=14 * size)
    assert isinstance(resident, DeviceResidentStore)
    sampler = Sampler(COUNTS, 5, seed=3)
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        here = batches(resident, sampler, 1, 12, rank, world, threads=threads, device=CPU)
        for one, other in zip(here, batches(store, sampler, 1, 12, rank, world), strict=True):
            assert_same(one, other)
    for one, other in zip(sequential_batches(resident, 4), sequential_batches(store, 4), strict=True):
        assert_same(one, other)


def test_a_split_that_does_not_fit_stays_in_its_store(case):
    store, size = case
    assert keep_on_device(store, CPU, budget=14 * size - 1) is store
    assert keep_on_device(store, CPU, budget=0) is store
    assert keep_on_device(store, CPU) is store  # a store maps memory by itself


class Counted:
    """A store that records the samples read from it."""

    progress = 0

    def __init__(self, store):
        self.store, self.shards, self.keys, self.read = store, store.shards, store.keys, []

    def __len__(self):
        return len(self.store)

    def take(self, samples_B, select_frames=None):
        self.read += samples_B.tolist()
        return self.store.take(samples_B, select_frames)


def test_every_sample_is_read_once(case):
    store, size = case
    counted = Counted(store)
    resident = keep_on_device(counted, CPU, budget=14 * size)
    counted.read.clear()
    for _ in batches(resident, Sampler(COUNTS, 5, seed=1), 0, 40):
        pass
    assert sorted(counted.read) == list(range(14))
    assert len(resident) == 14
    assert resident.shards == store.shards
    assert resident.keys(np.array([8, 2])) == store.keys(np.array([8, 2]))


def test_changing_a_batch_does_not_change_the_kept_samples(case):
    store, size = case
    resident = keep_on_device(store, CPU, budget=14 * size)
    samples_B = np.array([3, 3, 11])
    taken = resident.take(samples_B)
    taken.frames.zero_()
    taken.targets["valence"].fill_(7)
    assert torch.equal(resident.take(samples_B).frames, store.take(samples_B).frames)
    assert torch.equal(resident.take(samples_B).targets["valence"], store.take(samples_B).targets["valence"])


def test_threads_may_read_the_same_samples_at_once(case):
    store, size = case
    truth = store.take(np.arange(14))
    for _ in range(20):
        resident = keep_on_device(store, CPU, budget=14 * size)
        found, start = [], threading.Barrier(4)

        def read(resident=resident, found=found, start=start):
            start.wait()
            found.append(resident.take(np.arange(14)))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for taken in found:
            assert np.array_equal(taken.good_B, truth.good_B)
            assert torch.equal(taken.frames, truth.frames)


def test_a_split_without_a_good_sample_stays_in_its_store(tmp_path):
    prepared = prepare_toy(tmp_path, samples=1)
    for path in prepared.shards("train"):
        path.write_bytes(bytes(path.stat().st_size))
    store = Store.open(prepared, "train", max_broken=2)
    assert keep_on_device(store, CPU, budget=2**30) is store


def test_the_job_limits_the_device_memory_and_a_trial_takes_its_fraction(case, monkeypatch):
    """Of a GPU with room for the split three times, half is enough, and a quarter of this half is not."""
    store, size = case
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 14 * size, 4 * 14 * size))
    cuda = torch.device("cuda")
    assert keep_on_device(store, cuda, gpu_share=0.25) is store
    assert keep_on_device(store, cuda, Cluster(device_gb=0).device_bytes) is store
    assert (Cluster().device_bytes, Cluster(device_gb=2.5).device_bytes) == (None, 2_500_000_000)
