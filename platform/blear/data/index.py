"""The binary index of one shard: where each member of each sample lies.

Layout of the file, little-endian: the magic `BLEARIDX`; a uint64 length and a JSON header of that length (version,
samples, suffixes, size of the shard, bytes of the key block, SHA-256 of the rest of the file); int64
[samples, suffixes, 2] of offset and size, offset -1 where a sample has no such member; the keys as UTF-8, separated by
line feeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.errors import DataError

PREPARE_AGAIN = "delete the shard and its .idx, and run `blear prepare` again"
_MAGIC = b"BLEARIDX"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Keys, suffixes and places [samples, suffixes, 2] (offset, size) of a shard of `bytes` bytes."""

    keys: tuple[str, ...]
    suffixes: tuple[str, ...]
    places_NS2: np.ndarray
    bytes: int

    @staticmethod
    def of(places: Mapping[str, Mapping[str, tuple[int, int]]], size: int) -> ShardIndex:
        """The index of key -> suffix -> (offset, size)."""
        suffixes = tuple(sorted({suffix for members in places.values() for suffix in members}))
        table = np.full((len(places), len(suffixes), 2), -1, dtype="<i8")
        column = {suffix: number for number, suffix in enumerate(suffixes)}
        for row, members in enumerate(places.values()):
            for suffix, place in members.items():
                table[row, column[suffix]] = place
        return ShardIndex(tuple(places), suffixes, table, size)

    def members(self, number: int) -> dict[str, tuple[int, int]]:
        """Suffix -> (offset, size) of one sample."""
        places = self.places_NS2[number].tolist()
        return {
            suffix: (offset, size) for suffix, (offset, size) in zip(self.suffixes, places, strict=True) if offset >= 0
        }

    def first_beyond(self, size: int) -> str:
        """Names the first sample, in file order, that a file of `size` bytes does not hold whole."""
        beyond = self.places_NS2.sum(axis=2) > size
        if not beyond.any():
            return "every sample is inside"
        starts = np.where(beyond, self.places_NS2[..., 0], np.iinfo(np.int64).max)
        row, column = np.unravel_index(int(starts.argmin()), starts.shape)
        return f"it ends inside sample {self.keys[row]}, whose {self.suffixes[column]} lies at byte {starts.min()}"

    def save(self, path: Path) -> None:
        """Writes the file under a temporary name, then renames it."""
        keys = "\n".join(self.keys).encode()
        body = self.places_NS2.astype("<i8").tobytes() + keys
        header = json.dumps(
            {
                "version": _VERSION,
                "samples": len(self.keys),
                "suffixes": self.suffixes,
                "bytes": self.bytes,
                "key_bytes": len(keys),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(_MAGIC + struct.pack("<Q", len(header)) + header + body)
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> ShardIndex:
        """Reads the file.

        Raises:
            DataError: it is not whole or not an index.
        """
        data = path.read_bytes()
        rebuild = "delete the .idx: it is built again from the shard"
        start = len(_MAGIC) + 8
        if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
            raise DataError("not a shard index", str(path), rebuild)
        end = start + struct.unpack("<Q", data[start - 8 : start])[0]
        try:
            header = json.loads(data[start:end])
        except ValueError:
            raise DataError("the header of the index is damaged", str(path), rebuild) from None
        if header.get("version") != _VERSION:
            raise DataError(f"index version {header.get('version')}, this blear has {_VERSION}", str(path), rebuild)
        body = data[end:]
        if hashlib.sha256(body).hexdigest() != header["sha256"]:
            raise DataError("the index is damaged", str(path), rebuild)
        table = body[: len(body) - header["key_bytes"]]
        suffixes = tuple(header["suffixes"])
        places = np.frombuffer(table, dtype="<i8").reshape(header["samples"], len(suffixes), 2)
        keys = tuple(body[len(table) :].decode().split("\n")) if header["samples"] else ()
        return ShardIndex(keys, suffixes, places, header["bytes"])


def build_index(shard: Path) -> ShardIndex:
    """The index of a plain tar written by anyone, from its headers. A name splits into key and suffix at the first dot.

    Raises:
        DataError: not a plain tar, cut off, or a sample has two members of one suffix.
    """
    places: dict[str, dict[str, tuple[int, int]]] = {}
    end = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                folder, _, file = member.name.rpartition("/")
                stem, dot, suffix = file.partition(".")
                if not member.isfile() or not dot or file.startswith("__"):
                    continue  # as webdataset does: folders, names without suffix, its own metadata
                key = f"{folder}/{stem}" if folder else stem
                members = places.setdefault(key, {})
                if suffix.lower() in members:
                    raise DataError(f"sample {key} has two {suffix.lower()} members", str(shard), "write keys once")
                members[suffix.lower()] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise _damaged(shard, places, end, str(error)) from error
    with shard.open("rb") as stream:
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            # tarfile takes a file that ends between two members for a whole one
            raise _damaged(shard, places, end, "the end of the archive is not there")
    return ShardIndex.of(places, shard.stat().st_size)


def _damaged(shard: Path, places: Mapping[str, object], end: int, reason: str) -> DataError:
    last = f", in or after sample {next(reversed(list(places)))}" if places else ""
    return DataError(f"not a whole plain tar: {reason} (after byte {end}{last})", str(shard), PREPARE_AGAIN)
