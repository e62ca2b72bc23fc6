"""Shards that are decoded ahead: the next ones, in their order, while batches of one are taken."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

_AT_ONCE = 2  # the second one's work is there when the first one's ends


class Ahead:
    """Starts threads that decode shards, two at once at most; thread-safe.

    Args:
        decode: decodes a shard, and calls what it is given when the work of that shard is handed out: the next one's
            is queued behind it. Raises nothing. Its object is not kept alive.
    """

    def __init__(self, decode: Callable[[int, Callable[[], None]], None]) -> None:
        self._decode, self._lock = weakref.WeakMethod(decode), threading.Lock()
        self._wanted: deque[int] = deque()
        self._running: dict[int, threading.Thread] = {}

    def want(self, shards: Iterable[int]) -> None:
        """Replaces what is decoded next, in this order; what runs goes on."""
        with self._lock:
            self._wanted = deque(shard for shard in shards if shard not in self._running)
        self._start()

    def close(self) -> None:
        """Starts none any more, until some are wanted again, and waits for what runs."""
        with self._lock:
            self._wanted.clear()
            running = [*self._running.values()]
        for thread in running:
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._wanted and len(self._running) < _AT_ONCE:
                shard = self._wanted.popleft()
                thread = threading.Thread(target=self._run, args=(shard,), name="blear-ahead")
                try:
                    thread.start()
                except RuntimeError:  # too many, or the process ends: who asks for the shard decodes it
                    self._wanted.clear()
                else:
                    self._running[shard] = thread

    def _run(self, shard: int) -> None:
        try:
            decode = self._decode()
            if decode is not None:
                decode(shard, self._start)
        finally:
            with self._lock:
                self._running.pop(shard, None)
            self._start()
