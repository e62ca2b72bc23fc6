import threading

import numpy as np
import pytest
import torch
from data_toy import prepare_toy

from blear.data.loader import batches, sequential
from blear.data.order import Order
from blear.data.store import Store
from blear.errors import DataError, JobError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.open(prepare_toy(tmp_path_factory.mktemp("toy"), kind="floats", samples=7), "train")


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("blear-batches")]


@pytest.mark.parametrize("prefetch", [0, 2, 9])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
def test_batches_are_the_order_read_from_the_store(store, rank, world, prefetch):
    order = Order(len(store), 5, seed=3)
    found = list(batches(store, order, 2, 9, rank, world, prefetch))
    assert len(found) == 7
    for step, batch in enumerate(found, 2):
        epochs_B, samples_B = order.part(step, rank, world)
        assert np.array_equal(batch.epochs_B, epochs_B)
        assert np.array_equal(batch.samples_B, samples_B)
        assert np.array_equal(batch.frames_BTCHW.numpy(), store.frames[samples_B])
        assert np.array_equal(batch.clean_BTCHW.numpy(), store.clean[samples_B])
        assert batch.targets.keys() == {"emotion", "valence"}
        assert torch.equal(batch.targets["emotion"], torch.from_numpy(store.targets["emotion"][samples_B]))
    assert readers() == []


def test_a_resumed_run_sees_what_it_would_have_seen(store):
    order = Order(len(store), 4, seed=0)
    whole = [batch.samples_B.tolist() for batch in batches(store, order, 0, 10)]
    assert [batch.samples_B.tolist() for batch in batches(store, order, 6, 10)] == whole[6:]
    assert list(batches(store, order, 10, 10)) == []


def test_sequential_gives_every_sample_once(store):
    found = list(sequential(store, 4))
    assert [len(batch.samples_B) for batch in found] == [4, 4, 4, 2]
    assert np.concatenate([batch.samples_B for batch in found]).tolist() == list(range(14))
    assert not np.concatenate([batch.epochs_B for batch in found]).any()
    assert np.array_equal(torch.cat([batch.frames_BTCHW for batch in found]).numpy(), store.frames)


class Watched:
    """A store that counts what is read ahead, and fails at one batch."""

    def __init__(self, store, fail_at=None):
        self.store, self.fail_at, self.taken = store, fail_at, 0

    def __len__(self):
        return len(self.store)

    def take(self, samples_B):
        self.taken += 1
        if self.taken == self.fail_at:
            raise DataError("the disk is gone", "frames.npy")
        return self.store.take(samples_B)


def test_the_thread_ends_when_the_consumer_stops_early(store):
    watched = Watched(store)
    stream = batches(watched, Order(len(store), 2, 0), 0, 10**9, prefetch=3)
    next(stream)
    assert len(readers()) == 1
    stream.close()
    assert readers() == []
    assert 1 <= watched.taken <= 4  # one given, three ahead


def test_errors_of_the_thread_are_raised_in_the_consumer(store):
    stream = batches(Watched(store, fail_at=3), Order(len(store), 2, 0), 0, 8, prefetch=5)
    next(stream)
    next(stream)
    with pytest.raises(DataError, match="the disk is gone"):
        next(stream)
    assert readers() == []


def test_more_workers_than_samples_of_a_batch(store):
    with pytest.raises(JobError, match=r"a batch of 2 samples cannot be shared by 3 workers\n.*batch_size to 3"):
        batches(store, Order(len(store), 2, 0), 0, 1, 0, 3)
    with pytest.raises(ValueError, match="at least 1"):
        sequential(store, 0)
