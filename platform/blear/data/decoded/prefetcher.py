"""Decodes the next shards in background threads, in their order, while batches are read from the current shard."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

_MAX_RUNNING = 2  # the second shard's tasks are queued before the first shard's tasks end


class ShardPrefetcher:
    """Decodes scheduled shards in threads, at most two shards at once. Thread-safe.

    Args:
        decode: a method that decodes a shard, (shard number, on_submitted) -> None. It calls `on_submitted` when all
            tasks of the shard are in the queue; the next shard then begins. It raises nothing. Its object is referenced
            weakly.
    """

    def __init__(self, decode: Callable[[int, Callable[[], None]], None]) -> None:
        self._decode, self._lock = weakref.WeakMethod(decode), threading.Lock()
        self._scheduled: deque[int] = deque()
        self._running: dict[int, threading.Thread] = {}

    def schedule(self, shards: Iterable[int]) -> None:
        """Replaces the scheduled shards, in the order of decoding; shards being decoded are not interrupted."""
        with self._lock:
            self._scheduled = deque(shard for shard in shards if shard not in self._running)
        self._start_next()

    def close(self) -> None:
        """Unschedules all shards and waits for those being decoded; `schedule` starts the prefetcher again."""
        with self._lock:
            self._scheduled.clear()
            running = [*self._running.values()]
        for thread in running:
            thread.join()

    def _start_next(self) -> None:
        with self._lock:
            if self._scheduled and len(self._running) < _MAX_RUNNING:
                shard = self._scheduled.popleft()
                thread = threading.Thread(target=self._run, args=(shard,), name="blear-prefetch")
                try:
                    thread.start()
                except RuntimeError:  # too many threads, or the interpreter exits: the reader decodes the shard
                    self._scheduled.clear()
                else:
                    self._running[shard] = thread

    def _run(self, shard: int) -> None:
        try:
            decode = self._decode()
            if decode is not None:
                decode(shard, self._start_next)
        finally:
            with self._lock:
                self._running.pop(shard, None)
            self._start_next()
