"""Local copies of remote shards: fetched once for each node, evicted least recently used first."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from blear.data.dataset_info import ShardInfo
from blear.data.shard.archive import index_path, read_verified_index
from blear.errors import DataError
from blear.storage.activity import record_activity
from blear.storage.durable import replace_durably
from blear.storage.remote import RemoteFolder

GRACE_S = 60.0
"""A copy used within this time may not be open yet; it is not evicted, even over the budget."""
_LEFTOVER_S = 86_400.0
_POLL_S = 1.0


def cache_root() -> Path:
    """The folder of remote shards on this node: `remote` in `$BLEAR_CACHE`, or in `~/.cache/blear`."""
    given = os.environ.get("BLEAR_CACHE")
    return (Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "blear") / "remote"


@dataclass(frozen=True)
class Mirror:
    """Local copies of the shards of one remote dataset; a shard is fetched when it is first used.

    Attributes:
        remote: the dataset at its URL.
        root: folder of all mirrors of this node; they share one byte budget.
        folder: folder of this dataset's copies, below `root`. Its name holds the digest of `dataset.json`, which holds
            the digest of every shard.
        grace_s: seconds after its last use in which a copy is not evicted.
        has_indexes: whether the server may have indexes beside the shards.
    """

    remote: RemoteFolder
    root: Path
    folder: Path
    grace_s: float = GRACE_S
    has_indexes: bool = True

    def local(self, shard: ShardInfo) -> Path:
        """Path of the local copy of a shard. One process of this node fetches a missing shard; others wait.

        Raises:
            DataError: the shard cannot be fetched, or the cache cannot be written.
        """
        path = self.folder / shard.name
        try:
            while not _touch_copy(path, shard.bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                with _fetch_lock(path):
                    if not _touch_copy(path, shard.bytes):
                        self._fetch(path, shard)
        except OSError as error:
            do = "set BLEAR_CACHE to a writable folder of this machine"
            raise DataError(f"cannot be written: {error.strerror or error}", str(path), do) from error
        return path

    def index_file(self, shard: ShardInfo) -> Path:
        """Path of the local copy of a shard's index, which is fetched if it is missing; the shard is not fetched.

        The file is missing where the server has no verified index of the shard.

        Raises:
            DataError: the index cannot be fetched, or the cache cannot be written.
        """
        path = self.folder / shard.name
        try:
            if read_verified_index(index_path(path), shard) is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _fetch_lock(path):
                    if read_verified_index(index_path(path), shard) is None and not _touch_copy(path, shard.bytes):
                        self._fetch_index(path, shard)
        except OSError as error:
            do = "set BLEAR_CACHE to a writable folder of this machine"
            raise DataError(f"cannot be written: {error.strerror or error}", str(path), do) from error
        return index_path(path)

    def remote_index(self, shard: ShardInfo) -> bytes | None:
        """Content of a shard's index at the URL, unverified; None if there is none."""
        return self.remote.read(f"{shard.name}.idx", shard.bytes + (1 << 20))

    def download(self, shard: ShardInfo, file: Path) -> None:
        """Downloads a shard to `file` and verifies its digest; bypasses the cache."""
        self.remote.fetch(shard.name, shard.bytes, shard.sha256, file)

    def _fetch(self, path: Path, shard: ShardInfo) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".evict.lock"):
            evict_copies(self.root, shard.bytes, self.grace_s)
        partial = _partial(path)
        try:
            self.download(shard, partial)
            if self.has_indexes and read_verified_index(index_path(path), shard) is None:
                self._fetch_index(path, shard)  # before the shard: a copy has its index where the server has it
            replace_durably(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _fetch_index(self, path: Path, shard: ShardInfo) -> None:
        """Fetches the index of a shard if the server has its verified index; else the index is built from the shard."""
        data, beside = self.remote_index(shard), index_path(path)
        beside.unlink(missing_ok=True)
        if data is None:
            return
        partial = path.with_name(f".{beside.name}.partial")
        partial.write_bytes(data)
        try:
            if read_verified_index(partial, shard) is not None:
                replace_durably(partial, beside)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _fetch_lock(path: Path) -> Iterator[None]:
    """Holds the lock for fetching a shard; while another process fetches it, each growth of its file is activity."""
    lock, partial, before = FileLock(path.with_name(f".{path.name}.lock")), _partial(path), -1
    while True:
        try:
            lock.acquire(timeout=_POLL_S)
        except Timeout:
            now = partial.stat().st_size if partial.is_file() else -1
            if now != before:
                record_activity()
            before = now
        else:
            break
    try:
        yield
    finally:
        lock.release()


def _partial(path: Path) -> Path:
    """The file of a shard while it is fetched."""
    return path.with_name(f".{path.name}.partial")


def evict_copies(root: Path, needed: int, grace_s: float = GRACE_S) -> None:
    """Deletes copies, least recently used first, until `needed` more bytes fit the budget."""
    now = time.time_ns()
    copies: list[tuple[int, int, Path]] = []
    for file in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process may delete it
            state = file.stat()
            if file.name.startswith("."):
                if file.name.endswith(".partial") and now - state.st_mtime_ns > _LEFTOVER_S * 1e9:
                    file.unlink()
            elif file.is_file():
                copies.append((state.st_mtime_ns, state.st_size, file))
    held = sum(size for _, size, _ in copies)
    limit = _budget(root, held)
    for used, size, file in sorted(copies):
        if held + needed <= limit or now - used < grace_s * 1e9:
            return
        if file.name.endswith(".idx"):
            if not file.with_suffix("").exists():  # an index without its shard
                held -= size
                file.unlink(missing_ok=True)
        else:
            beside = index_path(file)
            held -= size + (beside.stat().st_size if beside.is_file() else 0)
            file.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)


def _budget(root: Path, held: int) -> int:
    """Byte budget of all copies: `$BLEAR_REMOTE_GB`, else half of the free space and the space of the copies."""
    given = os.environ.get("BLEAR_REMOTE_GB")
    if not given:
        return (shutil.disk_usage(root).free + held) // 2
    try:
        return int(float(given) * 1e9)
    except (ValueError, OverflowError):
        raise DataError(
            f"{given!r} is not a number of gigabytes", "BLEAR_REMOTE_GB", "set a number, for instance 50"
        ) from None


def _touch_copy(path: Path, size: int) -> bool:
    """Marks a complete copy as used now; returns False if there is no complete copy."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path, ns=(time.time_ns(),) * 2)  # the clock of the file system is too coarse
    except FileNotFoundError:
        return False
    return True
