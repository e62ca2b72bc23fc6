"""A few threads that read ahead, and never keep a process from ending."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Readers(Generic[T]):
    """Threads that call `read(number)` for submitted numbers, first come, first served.

    Daemons, unlike those of `ThreadPoolExecutor`: a read that hangs on a dead disk or server must not hang the process.
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
        """The result to come, or the error of its reading."""
        future: Future[T] = Future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        self._tasks.put((number, future))
        return future

    def close(self, wait_s: float) -> None:
        """Cancels what has not begun, and waits up to `wait_s` seconds for the reads that have."""
        for future in list(self._pending):
            future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(wait_s)


def _work(tasks: queue.SimpleQueue[tuple[int, Future[T]] | None], read: Callable[[int], T]) -> None:
    while (task := tasks.get()) is not None:
        number, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(read(number))
            except BaseException as error:  # noqa: BLE001  whatever it is, the consumer raises it
                future.set_exception(error)
        del task, future  # a thread that waits holds no batch


def within(call: Callable[[], T], seconds: float) -> T | None:
    """The result of a call if it comes within some seconds, else None; the call is left to itself then.

    Errors of the call are raised.
    """
    readers = Readers(lambda _: call(), 1, "blear-within")
    try:
        with contextlib.suppress(TimeoutError):
            return readers.submit(0).result(seconds)
        return None
    finally:
        readers.close(0)
