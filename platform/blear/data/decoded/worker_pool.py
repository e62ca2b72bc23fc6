"""The threads of this process that decode, and a helper process for each of them where there is much to decode.

Decoders keep Python's lock or fight for it, so that threads alone do not fill the cores. A thread starts its helper
when it first has a large split before it, decodes by itself until the helper is there, and again when it has died.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np

from blear.data.decoded.decode_task import Arrays, Task
from blear.data.shard.encoded_shard import EncodedSamples

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8
# pictures of some 100 kB would be given back to the system, and fetched again, one by one
_QUICK = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 27)}
_helpers: weakref.WeakSet[_Helper] = weakref.WeakSet()
_thread = threading.local()


def crew() -> Crew:
    """The crew for the cores that this process may use; all stores share it."""
    return _crew(frozenset(os.sched_getaffinity(0)))


class Crew:
    """Threads for the cores, at most eight; on one core there is none, and the caller does everything.

    Attributes:
        helped: whether a helper has come; small splits use it, too.
    """

    def __init__(self, cores: int) -> None:
        self.threads, self.helped = min(_THREADS, cores), False
        self._pool = ThreadPoolExecutor(self.threads, "blear-decode", self._join) if self.threads > 1 else None
        self._copiers = ThreadPoolExecutor(self.threads, "blear-copy")

    def _join(self) -> None:
        _thread.team, _thread.helper = self, None

    def each(self, call: Callable[[T], R], jobs: Sequence[T], begun: Callable[[], None] = lambda: None) -> list[R]:
        """The results, in order; when one raises, or this is interrupted, no other job runs any more.

        Args:
            begun: called when the jobs are queued.
        """
        if self._pool is None or len(jobs) < 2:
            begun()
            return [call(job) for job in jobs]
        futures = [self._pool.submit(call, job) for job in jobs]
        try:
            begun()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def copy(self, call: Callable[[T], None], jobs: Sequence[T]) -> None:
        """Does the jobs side by side by threads of their own: they do not wait for shards that are decoded."""
        for _ in self._copiers.map(call, jobs) if self.threads > 1 else map(call, jobs):
            pass


def do(task: Task, source: int, target: int, *, much: bool) -> dict[int, str]:
    """Runs a task, as `Task.run`, by this thread's helper if it has one; starts one if there is `much` to do."""
    helper = _of_this_thread(much)
    answer = None if helper is None else helper.run(task, source, target)
    return task.run(source, target) if answer is None else answer


def fetch(
    samples: EncodedSamples, rows: np.ndarray, arrays: Arrays, source: int, *, much: bool
) -> tuple[list[np.ndarray], dict[int, str]] | None:
    """Decoded samples in memory that this thread's helper shares, until it is given another task, and the broken ones.

    Those are counted among `rows`. None: they have to be decoded here.
    """
    helper = _of_this_thread(much)
    if helper is None:
        return None
    task, size = Task.packed(samples.part(rows), arrays)
    descriptor, memory = helper.memory(size)
    broken = helper.run(task, source, descriptor)
    if broken is None:
        return None
    clips = [
        np.frombuffer(memory, kind, len(rows) * math.prod(shape), offset).reshape(len(rows), *shape)
        for (shape, kind), offset in zip(arrays, task.offsets, strict=True)
    ]
    return clips, broken


def start(timeout: float = 60.0) -> None:
    """Starts the helpers and waits until they are there: for measurements."""
    team = crew()
    together = threading.Barrier(team.threads)  # one job for each thread

    def one(_: int) -> None:
        together.wait(timeout)
        _of_this_thread(True, timeout)

    if team.threads > 1:
        team.each(one, range(team.threads))


class _Helper:
    """A helper process, as its only thread sees it."""

    def __init__(self) -> None:
        self._files, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "blear.data.decoded.worker_process"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=os.environ | _QUICK | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,  # Ctrl-C is ours
            )
        self._tasks = Connection(os.dup(self._files.fileno()))
        self._shared = os.memfd_create("blear-decoded")
        self._memory: mmap.mmap | None = None
        self._ready = self._lost = False
        self._end = weakref.finalize(self, _dismiss, self._process, self._shared, self._files, self._tasks)
        _helpers.add(self)

    @property
    def asleep(self) -> bool:
        """It had nothing to do for long and has ended."""
        return self._process.poll() == 0

    def ready(self, timeout: float = 0.0) -> bool:
        """Whether it takes tasks."""
        if not self._ready and not self._lost:
            try:
                if self._tasks.poll(timeout):
                    self._tasks.recv()
                    self._ready = True
            except (OSError, EOFError):
                self._lost = True
        return self._ready and not self._lost

    def run(self, task: Task, source: int, target: int) -> dict[int, str] | None:
        """What `task.run` returns; None: it has to be done here, from the start."""
        try:
            socket.send_fds(self._files, [b"t"], [source, target])
            self._tasks.send(task)
            answer: dict[int, str] | None = self._tasks.recv()
            return answer
        except (OSError, EOFError):  # it has died
            self._lost = True
            return None

    def memory(self, size: int) -> tuple[int, mmap.mmap]:
        """At least `size` bytes that both processes see: the descriptor for the helper, and the bytes."""
        if self._memory is None or len(self._memory) < size:
            os.ftruncate(self._shared, size)
            self._memory = mmap.mmap(self._shared, size)
        return self._shared, self._memory

    def forget(self) -> None:
        """In a forked child: the helper is the parent's."""
        self._end.detach()
        _close(self._shared, self._files, self._tasks)


def _of_this_thread(much: bool, timeout: float = 0.0) -> _Helper | None:
    """The helper that takes tasks for it; None if it is of no crew, or has none, or none yet."""
    team: Crew | None = getattr(_thread, "team", None)
    if team is None:
        return None
    helper: _Helper | None = _thread.helper
    if much and (helper is None or helper.asleep):
        try:
            helper = _thread.helper = _Helper()
        except OSError:  # no process can be started
            _thread.team = None
            return None
    if helper is None or not helper.ready(timeout):
        return None
    team.helped = True
    return helper


def _close(shared: int, files: socket.socket, tasks: Connection) -> None:
    os.close(shared)
    files.close()
    tasks.close()


def _dismiss(process: subprocess.Popen[bytes], shared: int, files: socket.socket, tasks: Connection) -> None:
    _close(shared, files, tasks)
    process.kill()
    process.wait()


@functools.cache
def _crew(cores: frozenset[int]) -> Crew:
    return Crew(len(cores))


def _after_fork() -> None:
    """The threads and their helpers stay with the parent."""
    _crew.cache_clear()
    for helper in list(_helpers):
        helper.forget()


os.register_at_fork(after_in_child=_after_fork)
