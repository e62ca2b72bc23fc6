"""Daemon threads for reading ahead; a read that hangs does not keep the process from ending."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class ReaderThreads(Generic[T]):
    """Threads that call `read(number)` for submitted numbers, first come, first served.

    The threads are daemons, unlike those of `ThreadPoolExecutor`: a read that hangs on a failed disk or server does not
    hang the process.
    """

    def __init__(self, read: Callable[[int], T], threads: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[int, Future[T]] | None] = queue.SimpleQueue()
        self._pending: set[Future[T]] = set()
        self._threads = [
            threading.Thread(target=_work, args=(self._tasks, read), name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, number: int) -> Future[T]:
        """Returns the future result of `read(number)`, or its error."""
        future: Future[T] = Future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        self._tasks.put((number, future))
        return future

    def close(self, timeout: float) -> None:
        """Cancels reads that have not begun; waits up to `timeout` seconds for each thread that reads."""
        for future in list(self._pending):
            future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout)


def _work(tasks: queue.SimpleQueue[tuple[int, Future[T]] | None], read: Callable[[int], T]) -> None:
    while (task := tasks.get()) is not None:
        number, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(read(number))
            except BaseException as error:  # noqa: BLE001  every error is raised in the consumer
                future.set_exception(error)
        del task, future  # an idle thread keeps no batch alive


def call_with_timeout(call: Callable[[], T], timeout: float) -> T | None:
    """Returns the result of a call, or None after `timeout` seconds; a late call goes on in its thread.

    Errors of the call are raised.
    """
    readers = ReaderThreads(lambda _: call(), 1, "blear-timeout")
    try:
        with contextlib.suppress(TimeoutError):
            return readers.submit(0).result(timeout)
        return None
    finally:
        readers.close(0)
