"""The budget of open shard files, which all stores of this process share.

An open shard, decoded or encoded, needs one file descriptor. When the budget is exceeded, the shards that were used
least recently are closed, whichever store opened them.
"""

from __future__ import annotations

import errno
import itertools
import resource
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from blear.errors import DataError

_MAX_OPEN, _MIN_OPEN = 16_384, 16
_SOFT_LIMIT = 65_536
_TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # mmap reports ENOMEM at its limit of maps

T = TypeVar("T")


class TooManyOpenFiles(DataError):
    """The process cannot open another file; the file itself is not damaged."""


def too_many_open_files(error: OSError) -> bool:
    """Whether a file was not opened because the process or the machine has too many open files or memory maps."""
    return error.errno in _TOO_MANY


def raise_soft_limit() -> int:
    """Raises the soft limit of open files as far as the hard limit permits, to at most 65,536; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _SOFT_LIMIT if hard == resource.RLIM_INFINITY else min(hard, _SOFT_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):  # a sandbox may refuse it
            pass
    return _SOFT_LIMIT if soft == resource.RLIM_INFINITY else soft


class OpenFiles(Generic[T]):
    """Open shards of several owners, the least recently used first. Thread-safe.

    A shard that is removed is closed when its last user drops it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners = itertools.count()
        self._open: OrderedDict[tuple[int, int], T] = OrderedDict()

    @property
    def limit(self) -> int:
        """Largest number of open shards: half of the descriptors that the process may have."""
        return min(_MAX_OPEN, max(_MIN_OPEN, raise_soft_limit() // 2))

    def new_owner(self) -> int:
        """A number for one store."""
        return next(self._owners)

    def find(self, owner: int, shard: int) -> T | None:
        """Returns an open shard and marks it as used; None if it is not open."""
        with self._lock:
            found = self._open.get((owner, shard))
            if found is not None:
                self._open.move_to_end((owner, shard))
            return found

    def holds(self, owner: int, shard: int) -> bool:
        """Whether a shard is open; it is not marked as used."""
        with self._lock:
            return (owner, shard) in self._open

    def add(self, owner: int, shard: int, opened: T) -> None:
        """Adds a shard; removes the least recently used ones beyond the limit."""
        limit = self.limit
        with self._lock:
            self._open[owner, shard] = opened
            removed = [self._open.popitem(last=False) for _ in range(len(self._open) - limit)]
        del removed  # files are closed outside the lock

    def clear(self, owner: int | None = None) -> None:
        """Removes the shards of one owner, or of all owners."""
        with self._lock:
            keys = [key for key in self._open if owner in (None, key[0])]
            removed = [self._open.pop(key) for key in keys]
        del removed

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)
