"""The pool of decoding threads of this process; each thread may have a worker process that decodes for it.

Threads alone do not use all cores, because decoders hold the GIL or contend for it. A thread starts its worker process
when it first decodes a large split. The thread decodes by itself until the worker is ready, and again after it died.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from blear.data.decoded.decode_task import DecodeTask
from blear.data.decoded.decoded_layout import ArraySpecs
from blear.data.decoded.worker_handle import WorkerHandle, handles
from blear.data.shard.encoded_shard import EncodedSamples

T = TypeVar("T")
R = TypeVar("R")

_MAX_THREADS = 8
_thread = threading.local()


def decode_pool() -> DecodePool:
    """The pool for the cores that this process may use; all stores share it."""
    return _pool_of_cores(frozenset(os.sched_getaffinity(0)))


class DecodePool:
    """A thread for each core, at most eight; with one core there are no threads, and the caller decodes.

    Attributes:
        threads: number of threads that work at once.
        has_worker: whether a worker process has become ready; small splits use it as well.
    """

    def __init__(self, cores: int) -> None:
        self.threads, self.has_worker = min(_MAX_THREADS, cores), False
        self._decoders = ThreadPoolExecutor(self.threads, "blear-decode", self._init) if self.threads > 1 else None
        self._copiers = ThreadPoolExecutor(self.threads, "blear-copy")

    def _init(self) -> None:
        _thread.pool, _thread.worker = self, None

    def map(
        self, call: Callable[[T], R], jobs: Sequence[T], on_submitted: Callable[[], None] = lambda: None
    ) -> list[R]:
        """Calls `call` for each job in the decoding threads; returns the results in order.

        After an error or an interrupt, no further job starts; jobs that run are waited for.

        Args:
            on_submitted: called when all jobs are in the queue.
        """
        if self._decoders is None or len(jobs) < 2:
            on_submitted()
            return [call(job) for job in jobs]
        futures = [self._decoders.submit(call, job) for job in jobs]
        try:
            on_submitted()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def map_copies(self, call: Callable[[T], None], jobs: Sequence[T]) -> None:
        """Calls `call` for each job in the copying threads, so that copies do not wait for shards being decoded."""
        for _ in self._copiers.map(call, jobs) if self.threads > 1 else map(call, jobs):
            pass


def run_task(task: DecodeTask, source: int, target: int, *, start_worker: bool) -> dict[int, str]:
    """Runs a task as `DecodeTask.run`, in the worker of this thread if it is ready.

    Args:
        start_worker: whether a thread without a worker starts one.
    """
    worker = _worker_of_thread(start_worker)
    result = None if worker is None else worker.run(task, source, target)
    return task.run(source, target) if result is None else result


def decode_in_worker(
    samples: EncodedSamples, rows: np.ndarray, arrays: ArraySpecs, source: int, *, start_worker: bool
) -> tuple[list[np.ndarray], dict[int, str]] | None:
    """Decodes samples in the worker of this thread; returns None if the caller has to decode them.

    Args:
        rows: numbers of the samples in `samples`, int64 [R].
        arrays: shape and type of each array of a sample.
        source: descriptor of the open shard file.
        start_worker: whether a thread without a worker starts one.

    Returns:
        The arrays [R, T, H, W, C], in memory shared with the worker and valid until its next task; and the broken
        samples, position in `rows` -> cause.
    """
    worker = _worker_of_thread(start_worker)
    if worker is None:
        return None
    task, size = DecodeTask.contiguous(samples.subset(rows), arrays)
    descriptor, memory = worker.shared_memory(size)
    broken = worker.run(task, source, descriptor)
    if broken is None:
        return None
    clips = [
        np.frombuffer(memory, dtype, len(rows) * math.prod(shape), offset).reshape(len(rows), *shape)
        for (shape, dtype), offset in zip(arrays, task.offsets, strict=True)
    ]
    return clips, broken


def start_workers(timeout: float = 60.0) -> None:
    """Starts the workers of all threads and waits until they are ready; for benchmarks and tests."""
    pool = decode_pool()
    barrier = threading.Barrier(pool.threads)  # each thread gets one job

    def start(_: int) -> None:
        barrier.wait(timeout)
        _worker_of_thread(True, timeout)

    if pool.threads > 1:
        pool.map(start, range(pool.threads))


def _worker_of_thread(start: bool, timeout: float = 0.0) -> WorkerHandle | None:
    """The worker of this thread; None if the thread is not in a pool, or has no worker that is ready."""
    pool: DecodePool | None = getattr(_thread, "pool", None)
    if pool is None:
        return None
    worker: WorkerHandle | None = _thread.worker
    if start and (worker is None or worker.exited_idle):
        try:
            worker = _thread.worker = WorkerHandle()
        except OSError:  # no process can be started
            _thread.pool = None
            return None
    if worker is None or not worker.is_ready(timeout):
        return None
    pool.has_worker = True
    return worker


@functools.cache
def _pool_of_cores(cores: frozenset[int]) -> DecodePool:
    return DecodePool(len(cores))


def _after_fork() -> None:
    """In a forked child: threads do not survive a fork, and the workers belong to the parent."""
    _pool_of_cores.cache_clear()
    for worker in list(handles):
        worker.detach()


os.register_at_fork(after_in_child=_after_fork)
