"""The cache of decoded shards on the local disk: one file for each shard, within a byte budget.

File names are `<digest of the content>.d<VERSION>`. When the budget is exceeded, the least recently used files are
evicted first. A writer creates a file under a temporary name (`.partial`) and locks it, so that one process of a
machine decodes a shard. An open store keeps a locked marker file (`.use`) that lists the names of its shards; these
files are not evicted. Locks: see `cache_lock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blear.data.decoded.cache_lock import CacheFileLock, LockFailure, is_same_file, remove_if_unlocked, reserve_space
from blear.storage.activity import record_activity

VERSION = 4
"""Format version of the decoded files; files of other versions are evicted first."""

_ENTRY = re.compile(r"[0-9a-f]{32}\.d(\d+)")
_TEMPORARY, _MARKER = ".partial", ".use"
_DISK_SHARE = 0.8
_SCAN_INTERVAL_S = 5.0
_POLL_S = 0.02


class ShardCache:
    """The folder of decoded shards, opened by one store.

    Args:
        folder: created if it does not exist.
        names: names of the entries that the store uses; they are not evicted until `close`.
        budget: limit for the bytes of all entries; None: 80 % of the free space and the space of the entries.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str], budget: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.budget = folder, budget
        self._used_bytes, self._limit, self._scanned = 0, 0, float("-inf")
        self._marker = folder / f"{secrets.token_hex(8)}{_MARKER}"
        # locked before it has its final name: other stores remove a marker without a lock
        temporary = self._marker.with_suffix(".new")
        self._descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        temporary.write_text("\n".join(names))
        temporary.replace(self._marker)

    def close(self) -> None:
        """Permits eviction of the store's entries; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1  # first: an interrupt may come at any line
        if descriptor >= 0:
            self._marker.unlink(missing_ok=True)
            os.close(descriptor)

    def path(self, name: str) -> Path:
        """Path of an entry, whether or not it exists."""
        return self.folder / f"{name}.d{VERSION}"

    def find(self, name: str) -> Path | None:
        """Path of an existing entry, which is marked as used now; None if it does not exist."""
        try:
            os.utime(self.path(name), ns=(time.time_ns(),) * 2)
        except FileNotFoundError:
            return None
        return self.path(name)

    def lock(self, name: str, size: int, *, wait: bool = False) -> CacheFileLock | LockFailure:
        """Locks an entry of `size` bytes for writing; evicts other entries until it fits the budget.

        Args:
            wait: waits while another process writes the entry, instead of returning `LockFailure.LOCKED`.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self.path(name)
        temporary = path.with_name(path.name + _TEMPORARY)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o644)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    os.close(descriptor)
                    return LockFailure.LOCKED
            record_activity()  # the writer is alive, else its lock would be free; its own loader notices its stalls
            time.sleep(_POLL_S)
        lock = CacheFileLock(path, temporary, descriptor)
        if not is_same_file(descriptor, temporary):  # its writer renamed or removed it while we waited
            os.close(descriptor)
            return LockFailure.EXISTS if path.exists() else self.lock(name, size, wait=wait)
        locked = False
        try:
            if path.exists():
                return LockFailure.EXISTS
            if not self._evict(size, temporary):
                return LockFailure.NO_SPACE
            reserve_space(descriptor, size)
            locked = True
            return lock
        finally:
            if not locked:
                lock.discard()

    def _evict(self, size: int, temporary: Path) -> bool:
        """Evicts unused entries until `size` more bytes fit the budget; returns whether they fit."""
        with self._exclusive():
            now = time.monotonic()
            if now - self._scanned < _SCAN_INTERVAL_S and self._used_bytes + size <= self._limit:
                self._used_bytes += size
                return True
            entries = sorted(self._entries(temporary))
            self._used_bytes, self._scanned = sum(entry.size for entry in entries), now
            free = shutil.disk_usage(self.folder).free
            self._limit = self.budget if self.budget is not None else int((free + self._used_bytes) * _DISK_SHARE)
            in_use = None
            for entry in entries:
                if self._used_bytes + size <= self._limit:
                    break
                in_use = self._names_in_use() if in_use is None else in_use
                if entry.path.name not in in_use and not entry.path.name.endswith(_TEMPORARY):
                    entry.path.unlink(missing_ok=True)
                    self._used_bytes -= entry.size
            if self._used_bytes + size > self._limit:
                return False
            self._used_bytes += size
            return True

    def _entries(self, temporary: Path) -> Iterator[_Entry]:
        """Entries and temporary files other than `temporary`; removes the temporary files of dead writers."""
        with os.scandir(self.folder) as files:
            for file in files:
                path, name = Path(file.path), file.name.removesuffix(_TEMPORARY)
                match = _ENTRY.fullmatch(name)
                if match is None or path == temporary:
                    continue
                if file.name.endswith(_TEMPORARY) and remove_if_unlocked(path):
                    continue
                with contextlib.suppress(FileNotFoundError):  # renamed, or evicted by another process
                    state = path.stat()
                    yield _Entry(int(match[1]) == VERSION, state.st_mtime_ns, path, state.st_size)

    def _names_in_use(self) -> set[str]:
        """Names of the files that open stores use; removes the markers of dead stores."""
        in_use: set[str] = set()
        for marker in self.folder.glob(f"*{_MARKER}"):
            if marker != self._marker and remove_if_unlocked(marker):
                continue
            with contextlib.suppress(FileNotFoundError):
                in_use.update(f"{name}.d{VERSION}" for name in marker.read_text().split())
        return in_use

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock of the folder: one process of the machine at a time scans and evicts."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True, order=True)
class _Entry:
    """A file of the cache. Sorts in the order of eviction: other versions first, then by last use."""

    is_current: bool
    last_used_ns: int
    path: Path
    size: int
