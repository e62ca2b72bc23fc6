"""Writes shards with WebDataset's own writer, and the index beside each."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from blear.data.dataset_info import ShardInfo
from blear.data.shard.archive import index_path
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_metadata import SampleMetadata, parse_metadata
from blear.storage.durable import replace_durably

_BUFFER_BYTES = 1 << 20


class ShardWriter:
    """Writes one shard with `webdataset.TarWriter`; equal samples give equal bytes (no times, no owners).

    The file has a temporary name until `close`. As a context manager, the writer deletes a file that was not closed.
    """

    def __init__(self, path: Path) -> None:
        from webdataset import TarWriter  # imports torch, which reading a shard does without

        self.path = path
        self.samples = 0
        self._partial = path.with_name(f"{path.name}.partial")
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        self._metadata: list[SampleMetadata] = []
        self._file = _HashedFile(self._partial.open("wb", buffering=_BUFFER_BYTES))
        self._writer = TarWriter(self._file, encoder=False, user="", group="", mode=0o644, mtime=0, format="PAX_FORMAT")

    @property
    def size(self) -> int:
        """Bytes of the archive so far."""
        return int(self._writer.tarstream.offset)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Appends a sample.

        Args:
            key: unique within the shard; the caller checks it.
            members: suffix -> content, written in this order.

        Raises:
            ValueError: a content is not bytes.
        """
        places = {}
        for suffix, data in members.items():
            self._writer.write({"__key__": key, suffix: data})  # one call for each: a call sorts its members by suffix
            padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            places[suffix] = (self.size - padded, len(data))
        self._places[key] = places
        self._metadata.append(parse_metadata(members.get("json")))
        self.samples += 1

    def close(self, name: str) -> ShardInfo:
        """Ends the archive, writes the index, then renames the file to its final name.

        Args:
            name: of the shard in `dataset.json`.
        """
        self._writer.close()
        self._file.close()
        digest, size = self._file.digest.hexdigest(), self._file.size
        index = ShardIndex.build(self._places, self._metadata, size, digest)
        index_digest = index.save(index_path(self.path))
        replace_durably(self._partial, self.path)
        return ShardInfo(name=name, samples=self.samples, bytes=size, sha256=digest, index_sha256=index_digest)

    def discard(self) -> None:
        """Deletes the temporary file; does nothing after `close`."""
        self._file.close()
        self._writer.close()  # the end of the archive is no longer written
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


class _HashedFile:
    """A file that counts and hashes the bytes written to it; after `close`, writes are dropped."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        if self._file.closed:
            return
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Writes the buffer and closes the file."""
        self._file.close()
