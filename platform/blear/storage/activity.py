"""Counts the progress of slow reads: the loader stops a run only if this counter does not grow."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_count = 0


def record_activity() -> None:
    """Records that a read received bytes, or that it waits for a process which is alive."""
    global _count
    with _lock:
        _count += 1


def activity() -> int:
    """The number of records of this process so far."""
    return _count
