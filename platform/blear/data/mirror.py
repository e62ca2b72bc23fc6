"""Local copies of remote shards: fetched once on a node, whole shards evicted least recently used first."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from blear.data.dataset_info import ShardInfo
from blear.data.shard.index import ShardIndex
from blear.errors import DataError
from blear.storage.remote import Remote

GRACE_S = 60.0
"""A shard that was handed out so short ago may not be open yet: it stays, even over the budget."""
_LEFTOVER_S = 86_400.0


def cache_root() -> Path:
    """The folder of this node's copies: `$BLEAR_CACHE`, else `~/.cache/blear`."""
    given = os.environ.get("BLEAR_CACHE")
    return (Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "blear") / "remote"


@dataclass(frozen=True)
class Mirror:
    """The shards of one remote dataset, below `folder` under their own names as they are asked for.

    The folder is named by the digest of `dataset.json`, which holds the digest of every shard. All datasets below
    `root` share the budget.
    """

    remote: Remote
    root: Path
    folder: Path
    grace_s: float = GRACE_S

    def local(self, shard: ShardInfo) -> Path:
        """Path of the copy of a shard; fetched first, by one process of this node, if it is not there.

        Raises:
            DataError: the server does not give it, or the cache cannot be written.
        """
        path = self.folder / shard.name
        try:
            while not _used_now(path, shard.bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(path.with_name(f".{path.name}.lock")):
                    if not _used_now(path, shard.bytes):
                        self._fetch(path, shard)
        except OSError as error:
            do = "set BLEAR_CACHE to a folder of this machine that can be written"
            raise DataError(f"cannot be written: {error.strerror or error}", str(path), do) from error
        return path

    def fetched(self, shard: ShardInfo, file: Path) -> None:
        """Copies a shard to `file`, checked on the way; the cache stays as it is."""
        self.remote.fetch(shard.name, shard.bytes, shard.sha256, file)

    def _fetch(self, path: Path, shard: ShardInfo) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".evict.lock"):
            make_room(self.root, shard.bytes, self.grace_s)
        partial = path.with_name(f".{path.name}.partial")
        try:
            self.fetched(shard, partial)
            self._fetch_index(path, shard)  # first: a shard that is there has its index
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _fetch_index(self, path: Path, shard: ShardInfo) -> None:
        """The index beside the shard spares reading its headers; dataset.json does not vouch for it, so it must fit."""
        data = self.remote.read(f"{shard.name}.idx", shard.bytes + (1 << 20))
        beside = path.with_name(f"{path.name}.idx")
        beside.unlink(missing_ok=True)
        if data is None:
            return
        partial = path.with_name(f".{beside.name}.partial")
        partial.write_bytes(data)
        try:
            index = ShardIndex.load(partial)
            if index.bytes == shard.bytes and len(index.keys) == shard.samples:
                partial.replace(beside)
        except DataError:
            pass  # built from the shard, whose digest is known to be right
        finally:
            partial.unlink(missing_ok=True)


def make_room(root: Path, wanted: int, grace_s: float = GRACE_S) -> None:
    """Deletes copies, least recently used first, until `wanted` bytes more fit the budget."""
    now = time.time_ns()
    kept: list[tuple[int, int, Path]] = []
    for file in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process may delete it
            state = file.stat()
            if file.name.startswith("."):
                if file.name.endswith(".partial") and now - state.st_mtime_ns > _LEFTOVER_S * 1e9:
                    file.unlink()
            elif file.is_file():
                kept.append((state.st_mtime_ns, state.st_size, file))
    held = sum(size for _, size, _ in kept)
    limit = _budget(root, held)
    for used, size, file in sorted(kept):
        if held + wanted <= limit or now - used < grace_s * 1e9:
            return
        if not file.name.endswith(".idx"):
            beside = file.with_name(f"{file.name}.idx")
            held -= size + (beside.stat().st_size if beside.is_file() else 0)
            file.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)


def _budget(root: Path, held: int) -> int:
    """Bytes for all copies: `$BLEAR_REMOTE_GB`, else half of what the disk has left for them."""
    given = os.environ.get("BLEAR_REMOTE_GB")
    if not given:
        return (shutil.disk_usage(root).free + held) // 2
    try:
        return int(float(given) * 1e9)
    except (ValueError, OverflowError):
        raise DataError(f"{given!r} is no number of gigabytes", "BLEAR_REMOTE_GB", "for instance 50") from None


def _used_now(path: Path, size: int) -> bool:
    """Whether a whole copy is there; if so it is marked as used."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path, ns=(time.time_ns(),) * 2)  # the kernel's own clock for files ticks too coarsely
    except FileNotFoundError:
        return False
    return True
