"""Plain WebDataset tar shards with a binary index beside each, so that reading a sample parses no tar header."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from blear.data.dataset_info import ShardInfo
from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.data.shard.sample_json import Facts, read_facts
from blear.data.shard.tar_index import build_index
from blear.errors import DataError


class ShardWriter:
    """Writes one shard: deterministic bytes (no times, no owners), under a temporary name until `close`.

    As a context manager it closes on success and leaves nothing behind on an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = self.bytes = 0
        self._partial = path.with_name(f"{path.name}.partial")
        self._index: dict[str, dict[str, tuple[int, int]]] = {}
        self._facts: list[Facts] = []
        self._digest = hashlib.sha256()
        self._out = self._partial.open("wb")

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Appends a sample; `members` maps suffix to bytes. Keys are unique: the caller checks."""
        places = {}
        for suffix, data in members.items():
            header = tarfile.TarInfo(f"{key}.{suffix}")  # mode 0644, mtime 0, no owner
            header.size = len(data)
            self._write(header.tobuf(tarfile.PAX_FORMAT))
            places[suffix] = (self.bytes, len(data))
            self._write(data)
            self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        self._index[key] = places
        self._facts.append(read_facts(members.get("json")))
        self.samples += 1

    def close(self, name: str) -> ShardInfo:
        """Ends the archive, writes the index, then gives the shard its name; `name` is the one in `dataset.json`."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.bytes % tarfile.RECORDSIZE))
        self._out.close()
        ShardIndex.of(self._index, self._facts, self.bytes).save(index_path(self.path))
        self._partial.replace(self.path)
        return ShardInfo(name=name, samples=self.samples, bytes=self.bytes, sha256=self._digest.hexdigest())

    def discard(self) -> None:
        """Removes what is written so far; nothing after `close`."""
        self._out.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._digest.update(data)
        self.bytes += len(data)


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies: `<shard>.idx`."""
    return shard.with_name(f"{shard.name}.idx")


def index_of(shard: Path) -> ShardIndex:
    """The index beside a shard; built from the tar headers, and kept if the folder is writable, where there is none.

    Raises:
        DataError: the shard is missing, cut off or not a plain tar, or the index does not belong to it.
    """
    if not shard.is_file():
        raise DataError("the shard is missing", str(shard), "run `blear prepare` again: it writes what is missing")
    beside = index_path(shard)
    if beside.is_file():
        index = ShardIndex.load(beside)
    else:
        index = build_index(shard)
        if os.access(shard.parent, os.W_OK):
            index.save(beside)
    size = shard.stat().st_size
    if size != index.bytes:
        raise DataError(
            f"the shard has {size} bytes, {index.bytes} were written; {index.first_beyond(size)}",
            str(shard),
            PREPARE_AGAIN,
        )
    return index


@dataclass(frozen=True)
class Shard:
    """An open shard; reads are thread-safe."""

    path: Path
    index: ShardIndex
    descriptor: int

    @staticmethod
    def open(path: Path) -> Shard:
        """Opens a shard by its index; errors as of `index_of`."""
        return Shard(path, index_of(path), os.open(path, os.O_RDONLY))

    def __len__(self) -> int:
        return len(self.index.keys)

    def read(self, number: int) -> dict[str, bytes]:
        """Suffix -> bytes of the members of one sample.

        Raises:
            DataError: the file ends before the member does; names key and offset.
        """
        members = {}
        for suffix, (offset, size) in self.index.members(number).items():
            data = os.pread(self.descriptor, size, offset)
            if len(data) != size:
                where = f"{self.path}, sample {self.index.keys[number]}, byte {offset}"
                raise DataError(f"the shard ends inside the {suffix} member", where, PREPARE_AGAIN)
            members[suffix] = data
        return members

    def close(self) -> None:
        """Closes the file."""
        os.close(self.descriptor)

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
