"""File locks of the decoded-shard cache: one process of a machine writes a file; files of dead writers are removed.

A writer holds an exclusive `flock` on its temporary file, and a store holds one on its marker file. The kernel releases
the lock when the process ends, so a file without a lock belongs to a dead process and is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path


class LockFailure(Enum):
    """Why a cache file cannot be locked for writing."""

    LOCKED = auto()  # another process or thread is writing the file
    NO_SPACE = auto()  # files in use fill the byte budget, or the disk is full
    EXISTS = auto()  # another process has written the file


@dataclass(frozen=True, eq=False)
class CacheFileLock:
    """Exclusive lock for writing one cache file; released by `commit` or `discard`.

    Attributes:
        path: final path of the file.
        temporary: path of the file while it is written.
        descriptor: the open temporary file, which holds the lock.
    """

    path: Path
    temporary: Path
    descriptor: int

    def commit(self) -> None:
        """Renames the temporary file to its final path once its content is on the disk; removes it if that fails."""
        try:
            os.fsync(self.descriptor)
            self.temporary.replace(self.path)
        except BaseException:  # an interrupt too: the disk may take long
            self.discard()
            raise
        os.close(self.descriptor)

    def discard(self) -> None:
        """Removes the temporary file."""
        self.temporary.unlink(missing_ok=True)
        os.close(self.descriptor)


def reserve_space(descriptor: int, size: int) -> None:
    """Allocates `size` bytes on disk for an open file.

    The allocation makes a full disk an error before the work begins, lets other processes count the bytes, and makes
    writing faster.

    Raises:
        OSError: the disk is full.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if is_disk_full(error):
            raise
        os.ftruncate(descriptor, size)  # the file system does not support allocation


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed because the disk, the quota or the file size limit is exhausted."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def remove_if_unlocked(path: Path) -> bool:
    """Removes a file that no process has locked; returns whether it was removed.

    The file is removed under its lock. A writer that opened the file before the removal gets the lock afterwards, and
    `is_same_file` then returns False.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_same_file(descriptor, path):  # the writer has renamed it
            return False
        path.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
