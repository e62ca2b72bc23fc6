"""Shards that are decoded ahead: two at once, in their order, and none after the end."""

import threading
import time

from blear.data.decoded.prefetcher import ShardPrefetcher


class Decoding:
    """Decodes a shard when it is let; says what began, and what was at work at once."""

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
        for _ in range(1000):
            if self.began == began:
                return True
            time.sleep(0.005)
        return False


def at_work(shards):
    """Two of the shards are being decoded, the others wait."""
    decoding = Decoding()
    prefetcher = ShardPrefetcher(decoding.decode)
    prefetcher.schedule(shards)
    assert decoding.waits_for(shards[:2])
    return decoding, prefetcher


def test_two_at_once_each_begun_when_the_one_before_has_handed_out_its_work():
    decoding, prefetcher = at_work([4, 5, 6, 7])
    time.sleep(0.05)
    assert decoding.began == [4, 5]
    decoding.let()
    assert decoding.waits_for([4, 5, 6])
    decoding.let(3)
    assert decoding.waits_for([4, 5, 6, 7])
    prefetcher.close()
    assert decoding.most == 2


def test_what_is_wanted_later_replaces_what_has_not_begun():
    decoding, prefetcher = at_work([0, 1, 2])
    prefetcher.schedule([1, 8])  # 1 runs already
    decoding.let(3)
    assert decoding.waits_for([0, 1, 8])
    prefetcher.close()
    assert decoding.began == [0, 1, 8]


def test_after_the_end_none_begins():
    decoding, prefetcher = at_work([0, 1, 2, 3])
    closing = threading.Thread(target=prefetcher.close)
    closing.start()
    while prefetcher._scheduled:
        time.sleep(0.005)
    assert closing.is_alive()  # it waits for what runs
    decoding.let(2)
    closing.join()
    assert decoding.began == [0, 1]
