"""Reads samples of a WebDataset tar shard at random, by the offsets in the index beside the shard."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.data.shard.tar_index import build_index
from blear.errors import DataError


def index_path(shard: Path) -> Path:
    """Path of a shard's index: `<shard>.idx`."""
    return shard.with_name(f"{shard.name}.idx")


def load_index(shard: Path) -> ShardIndex:
    """Reads the index beside a shard. A missing index is built from the tar headers, and saved where that is possible.

    Raises:
        DataError: the shard is missing, truncated or not a plain tar, or the index belongs to another shard.
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
        """Opens a shard and its index; errors as of `load_index`."""
        return Shard(path, load_index(path), os.open(path, os.O_RDONLY))

    def __len__(self) -> int:
        return len(self.index.keys)

    def read(self, number: int) -> dict[str, bytes]:
        """Reads the members of one sample: suffix -> content.

        Raises:
            DataError: the file ends inside a member; names key and offset.
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
