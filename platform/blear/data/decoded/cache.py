"""Decoded shards on this machine's disk: one file for each, within a byte budget, least recently used evicted first.

A file is named by what it was made of and `.d<version>`. It grows under a temporary name that its writer keeps locked
(flock), so that one process of a machine decodes a shard, and so that what a dead process left behind is known by its
missing lock. An open store holds a locked marker file with the names that it uses; those are never evicted. Both locks
die with their process. After a power failure a file may be damaged: delete the folder then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

VERSION = 3
"""Version of the decoded files; others are evicted first."""

_ENTRY = re.compile(r"[0-9a-f]{32}\.d(\d+)")
_PARTIAL, _MARKER = ".partial", ".use"
_SHARE = 0.8
_SCAN_S = 5.0


class Refusal(Enum):
    """Why a shard cannot be written now."""

    BUSY = auto()  # another process, or thread, writes it
    FULL = auto()  # the budget is spent by files that are in use, or the disk is full
    THERE = auto()  # it was written meanwhile


@dataclass(frozen=True, eq=False)
class Claim:
    """The right to write one entry; ends with `commit` or `abandon`."""

    path: Path
    partial: Path
    descriptor: int

    def commit(self) -> None:
        """Gives the file its name."""
        self.partial.replace(self.path)
        os.close(self.descriptor)

    def abandon(self) -> None:
        """Removes what is written."""
        self.partial.unlink(missing_ok=True)
        os.close(self.descriptor)


class Cache:
    """The folder of decoded shards, as one store sees it.

    Args:
        folder: made if it is not there.
        names: the entries that the store may use: in use until `close`.
        budget: bytes of all entries; None: 80 % of what the disk has for them.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str], budget: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.budget = folder, budget
        self._held, self._limit, self._scanned = 0, 0, float("-inf")
        self._marker = folder / f"{secrets.token_hex(8)}{_MARKER}"
        # locked before it has its name: a marker without a lock belongs to the dead
        partial = self._marker.with_suffix(".new")
        self._descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        partial.write_text("\n".join(names))
        partial.replace(self._marker)

    def close(self) -> None:
        """Ends the use of the entries; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1  # first: an interrupt comes anywhere
        if descriptor >= 0:
            self._marker.unlink(missing_ok=True)
            os.close(descriptor)

    def path(self, name: str) -> Path:
        """Where an entry lies."""
        return self.folder / f"{name}.d{VERSION}"

    def find(self, name: str) -> Path | None:
        """The entry, marked as used now; None if it is not there."""
        try:
            os.utime(self.path(name), ns=(time.time_ns(),) * 2)
        except FileNotFoundError:
            return None
        return self.path(name)

    def claim(self, name: str, size: int, *, wait: bool = False) -> Claim | Refusal:
        """The right to write an entry of `size` bytes, for which room is made.

        Args:
            wait: until another process that writes it is done or dead, instead of answering BUSY.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self.path(name)
        partial = path.with_name(path.name + _PARTIAL)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return Refusal.BUSY
        mine = Claim(path, partial, descriptor)
        if not _same(descriptor, partial):  # its writer renamed or removed it while we waited
            os.close(descriptor)
            return Refusal.THERE if path.exists() else self.claim(name, size, wait=wait)
        kept = False
        try:
            if path.exists():
                return Refusal.THERE
            if not self._make_room(size, partial):
                return Refusal.FULL
            _reserve(descriptor, size)
            kept = True
            return mine
        finally:
            if not kept:
                mine.abandon()

    def _make_room(self, size: int, partial: Path) -> bool:
        """Whether `size` bytes more fit; evicts for that what nobody uses."""
        with self._alone():
            now = time.monotonic()
            if now - self._scanned < _SCAN_S and self._held + size <= self._limit:
                self._held += size
                return True
            entries = sorted(self._entries(partial))
            self._held, self._scanned = sum(one.size for one in entries), now
            free = shutil.disk_usage(self.folder).free
            self._limit = self.budget if self.budget is not None else int((free + self._held) * _SHARE)
            used = None
            for one in entries:
                if self._held + size <= self._limit:
                    break
                used = self._used() if used is None else used
                if one.path.name not in used and not one.path.name.endswith(_PARTIAL):
                    one.path.unlink(missing_ok=True)
                    self._held -= one.size
            if self._held + size > self._limit:
                return False
            self._held += size
            return True

    def _entries(self, mine: Path) -> Iterator[_Entry]:
        """Entries, and those being written; removes what dead writers left."""
        with os.scandir(self.folder) as files:
            for file in files:
                path, name = Path(file.path), file.name.removesuffix(_PARTIAL)
                match = _ENTRY.fullmatch(name)
                if match is None or path == mine:
                    continue
                if file.name.endswith(_PARTIAL) and _removed_if_dead(path):
                    continue
                with contextlib.suppress(FileNotFoundError):  # renamed, or evicted by another process
                    state = path.stat()
                    yield _Entry(int(match[1]) == VERSION, state.st_mtime_ns, path, state.st_size)

    def _used(self) -> set[str]:
        """Names of the files that any open store uses; removes the markers of dead ones."""
        used: set[str] = set()
        for marker in self.folder.glob(f"*{_MARKER}"):
            if marker != self._marker and _removed_if_dead(marker):
                continue
            with contextlib.suppress(FileNotFoundError):
                used.update(f"{name}.d{VERSION}" for name in marker.read_text().split())
        return used

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process of this machine at a time counts and evicts."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True, order=True)
class _Entry:
    """Sorts as evicted: other versions first, then by last use."""

    current: bool
    used_ns: int
    path: Path
    size: int


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _reserve(descriptor: int, size: int) -> None:
    """Takes the room, so that others count it and a full disk is known before the work; writing is faster then, too."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if is_full(error):
            raise
        os.ftruncate(descriptor, size)  # a file system that reserves nothing


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _removed_if_dead(path: Path) -> bool:
    """Removes a file whose lock nobody holds; whether it did.

    Under that lock: who opened the file meanwhile, to write it, gets the lock afterwards and sees that it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _same(descriptor, path):  # it has its final name now
            return False
        path.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
