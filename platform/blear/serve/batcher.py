"""Gathers the work of several requests into batches: while one batch is computed, the next one gathers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from blear.models.time_limit import TimeLimitError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Computes items in batches, in one thread. The requests of a batch that fails are computed one by one.

    Args:
        compute: gives one result for each item of a batch.
        most: items of a batch; a request with more items is a batch of its own.
    """

    def __init__(self, compute: Callable[[Sequence[T]], Sequence[R]], most: int) -> None:
        self._compute, self._most = compute, most
        self._waiting: deque[tuple[Sequence[T], asyncio.Future[Sequence[R]]]] = deque()
        self._alone: deque[tuple[Sequence[T], asyncio.Future[Sequence[R]]]] = deque()  # of batches that failed
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, items: Sequence[T]) -> Sequence[R]:
        """The results of the items of one request."""
        future: asyncio.Future[Sequence[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    def close(self) -> None:
        """Ends the thread after its batch."""
        self._thread.shutdown(cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting or self._alone:
            alone = bool(self._alone)
            batch = [(self._alone or self._waiting).popleft()]
            count = len(batch[0][0])
            while not alone and self._waiting and count + len(self._waiting[0][0]) <= self._most:
                batch.append(self._waiting.popleft())
                count += len(batch[-1][0])
            items = [item for part, _ in batch for item in part]
            try:
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, items)
            except Exception as error:  # noqa: BLE001 - the request that caused it fails with it
                if len(batch) > 1 and not isinstance(error, TimeLimitError):
                    self._alone.extend(batch)
                    continue
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            first = 0
            for part, future in batch:
                if not future.done():  # a client may have gone
                    future.set_result(results[first : first + len(part)])
                first += len(part)
