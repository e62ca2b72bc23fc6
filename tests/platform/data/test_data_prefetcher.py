"""The shard prefetcher decodes two shards at once, in order, and none after it was closed."""

import threading
import time

from blear.data.decoded.prefetcher import ShardPrefetcher


class Decoding:
    """A decoder that waits for permission; records which shards began and how many ran at once."""

    def __init__(self):
        self.began, self.most, self._at_work = [], 0, 0
        self._lock, self._let = threading.Lock(), threading.Semaphore(0)

    def decode(self, shard, on_submitted):
        with self._lock:
            self.began.append(shard)
            self._at_work += 1
            self.most = max(self.most, self._at_work)
        on_submitted()
        self._let.acquire(timeout=60)
        with self._lock:
            self._at_work -= 1

    def let(self, count=1):
        for _ in range(count):
            self._let.release()

    def waits_for(self, began):
        for _ in range(12_000):  # a minute: a busy machine may be slow
            if self.began == began:
                return True
            time.sleep(0.005)
        return False


def at_work(shards):
    """A prefetcher that is decoding the first two shards."""
    decoding = Decoding()
    prefetcher = ShardPrefetcher(decoding.decode)
    prefetcher.schedule(shards)
    assert decoding.waits_for(shards[:2])
    return decoding, prefetcher


def test_two_shards_at_once_and_the_next_begins_when_the_tasks_are_submitted():
    decoding, prefetcher = at_work([4, 5, 6, 7])
    time.sleep(0.05)
    assert decoding.began == [4, 5]
    decoding.let()
    assert decoding.waits_for([4, 5, 6])
    decoding.let(3)
    assert decoding.waits_for([4, 5, 6, 7])
    prefetcher.close()
    assert decoding.most == 2


def test_a_new_schedule_replaces_shards_that_have_not_begun():
    decoding, prefetcher = at_work([0, 1, 2])
    prefetcher.schedule([1, 8])  # 1 runs already
    decoding.let(3)
    assert decoding.waits_for([0, 1, 8])
    prefetcher.close()
    assert decoding.began == [0, 1, 8]


def test_no_shard_begins_after_close():
    decoding, prefetcher = at_work([0, 1, 2, 3])
    closing = threading.Thread(target=prefetcher.close)
    closing.start()
    while prefetcher._scheduled:
        time.sleep(0.005)
    assert closing.is_alive()  # close waits for the running shards
    decoding.let(2)
    closing.join()
    assert decoding.began == [0, 1]
