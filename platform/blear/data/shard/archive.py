"""Reads samples of a WebDataset tar shard at random, by the offsets in the index beside the shard."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from blear.data.dataset_info import ShardInfo
from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.data.shard.tar_index import build_index
from blear.errors import DataError
from blear.progress import echo
from blear.storage.file_digest import file_digest


def index_path(shard: Path) -> Path:
    """Path of a shard's index: `<shard>.idx`."""
    return shard.with_name(f"{shard.name}.idx")


def sample_count_error(path: Path, found: int, expected: int) -> DataError:
    """The error of a shard whose number of samples differs from `dataset.json`."""
    return DataError(f"the shard has {found} samples, dataset.json says {expected}", str(path), PREPARE_AGAIN)


def read_verified_index(file: Path, info: ShardInfo) -> ShardIndex | None:
    """Reads the file of an index; returns None if it is missing, damaged, or not the index of this shard.

    The index must carry the digest of the shard that `dataset.json` states, and its own digest must be the one stated
    there. For datasets without that second digest (format 2, other writers) the first one decides.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    if info.index_sha256 and hashlib.sha256(data).hexdigest() != info.index_sha256:
        return None
    try:
        index = ShardIndex.parse(data, str(file))
    except DataError:
        return None
    found = (index.shard_sha256, index.bytes, len(index))
    return index if found == (info.sha256, info.bytes, info.samples) else None


def load_index(shard: Path, info: ShardInfo | None = None) -> ShardIndex:
    """Reads the index beside a shard.

    An index that is missing, or not the verified index of this shard, is built from the tar, whose digest is verified
    first. It is saved where that is possible.

    Args:
        shard: path of the tar.
        info: the shard in `dataset.json`; None: a tar of unknown origin, of which only the size is compared.

    Raises:
        DataError: the shard is missing, truncated, changed or not a plain tar.
    """
    if info is not None and (index := read_verified_index(index_path(shard), info)) is not None:
        return _check_size(shard, index)
    return _load_unverified(shard) if info is None else _rebuild_index(shard, info)


def read_index(folder: Path, info: ShardInfo) -> ShardIndex:
    """Reads the index in a dataset's folder of a shard that lies there or, read in place, elsewhere.

    Raises:
        DataError: as of `load_index`; or the index of a shard that is read in place is not valid.
    """
    if not info.place:
        return load_index(folder / info.name, info)
    index = read_verified_index(index_path(folder / info.name), info)
    if index is None:
        where, do = str(index_path(folder / info.name)), "delete dataset.json beside it and run `blear prepare` again"
        raise DataError("the index of this shard is missing or damaged", where, do)
    return index


def _rebuild_index(shard: Path, info: ShardInfo) -> ShardIndex:
    _check_exists(shard)
    index = build_index(shard, info.sha256)
    if len(index) != info.samples:
        raise sample_count_error(shard, len(index), info.samples)
    digest = file_digest(shard)
    if digest != info.sha256:
        raise content_error(shard, digest, info)
    beside = index_path(shard)
    if info.index_sha256 and beside.is_file() and os.access(shard.parent, os.W_OK):
        echo(f"{beside}: it is not the index of this shard; a new one was built from the shard")
    _save(index, beside)
    return index


def _save(index: ShardIndex, path: Path) -> None:
    """Writes an index where its folder is writable; a full disk is no error, for an index can be built again."""
    if os.access(path.parent, os.W_OK):
        try:
            index.save(path)
        except OSError as error:
            echo(f"{path}: {error.strerror}; the index is built again each time the shard is opened")


def content_error(path: Path, digest: str, info: ShardInfo) -> DataError:
    """The error of a shard whose digest differs from `dataset.json`."""
    what = f"the content has changed: SHA-256 {digest[:12]}, written was {info.sha256[:12]}"
    return DataError(what, str(path), "delete the shard and run `blear prepare` again")


def _check_exists(shard: Path) -> None:
    if not shard.is_file():
        raise DataError("the shard is missing", str(shard), "run `blear prepare` again: it writes what is missing")


def _load_unverified(shard: Path) -> ShardIndex:
    _check_exists(shard)
    beside = index_path(shard)
    if beside.is_file():
        index = ShardIndex.load(beside)
    else:
        index = build_index(shard)
        _save(index, beside)
    return _check_size(shard, index)


def _check_size(shard: Path, index: ShardIndex) -> ShardIndex:
    _check_exists(shard)
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
    def open(path: Path, info: ShardInfo | None = None, index: ShardIndex | None = None) -> Shard:
        """Opens a shard and its index, unless it is given; other arguments and errors as of `load_index`."""
        return Shard(path, load_index(path, info) if index is None else index, os.open(path, os.O_RDONLY))

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
