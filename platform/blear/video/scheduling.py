"""Scheduling of threads, which an encoder changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextlib.contextmanager
def keep_scheduling() -> Iterator[None]:
    """Context in which to open the encoder SVT-AV1: at its end, no thread has become a real-time one.

    Run as root, as in many containers, SVT-AV1 gives the calling thread and its own ones the policy SCHED_FIFO with
    priority 99. A thread with it that waits in a loop, as libvpx does, leaves other processes 5 % of its core. Threads
    that started in the block, and the calling one, get the scheduling of the calling thread at its beginning. On
    systems other than Linux nothing is done.
    """
    if not _THREADS.is_dir():
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _threads()
    try:
        yield
    finally:
        for thread in {0} | (_threads() - before):  # 0: the calling thread
            with contextlib.suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) == os.SCHED_FIFO != policy:
                    os.sched_setscheduler(thread, policy, parameter)


def _threads() -> set[int]:
    return {int(thread.name) for thread in _THREADS.iterdir()}
