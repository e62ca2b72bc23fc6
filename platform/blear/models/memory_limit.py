"""A limit on the memory that a model file can claim while it is opened and tried."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blear.contracts import thread_count
from blear.models.time_limit import computation_left

_LOCK = threading.RLock()  # one model at a time, so that each restores the limit that it found
_LEAST, _PER_THREAD, _COPIES = 4 << 30, 256 << 20, 8


@contextmanager
def limited_memory(*files: Path) -> Iterator[None]:
    """Allocations fail inside the context beyond the process's present memory plus a budget.

    The budget is 4 GiB, eight times the size of the files, and 256 MiB for each thread, which reserves address space.
    It is a limit of the address space of the whole process (RLIMIT_AS); without effect where the system has none. It
    stays where a computation exceeded its time limit and cannot be ended (`blear.models.time_limit`).

    Args:
        files: the files of the model.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):  # Windows; macOS
        yield
        return
    threads = thread_count() + (os.cpu_count() or 1)
    budget = _LEAST + _COPIES * sum(file.stat().st_size for file in files) + _PER_THREAD * threads
    with _LOCK:
        before = resource.getrlimit(resource.RLIMIT_AS)
        wanted = pages * resource.getpagesize() + budget
        if before[0] == resource.RLIM_INFINITY or wanted < before[0]:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, before[1]))
        try:
            yield
        finally:
            if not computation_left():
                resource.setrlimit(resource.RLIMIT_AS, before)
