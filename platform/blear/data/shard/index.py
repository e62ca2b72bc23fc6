"""The binary index of one shard: offset and size of every member, and the content of the json members.

Layout of the file, little-endian: the magic `BLEARIDX`; a uint64 length and a JSON header of that length (version,
samples, suffixes, targets, problems, size and SHA-256 of the shard, bytes of the key block, SHA-256 of the rest of the
file); int64
[samples, suffixes, 2] of offset and size, offset -1 where a sample has no such member; float64 [samples, targets];
int64 [samples, 2], frames of the clip and of the clean clip, 0 where the json member holds no valid number; uint8
[samples, targets], whether the target is given; the keys as UTF-8, separated by line feeds; the columns `subject`,
`video`, `time` and `meta` as one JSON object of lists. Training therefore parses no JSON but the header: keys and
columns are parsed on their first use.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blear.data.shard.sample_metadata import SampleMetadata, to_python_number
from blear.errors import DataError
from blear.storage.durable import durable_file

PREPARE_AGAIN = "delete the shard and its .idx, and run `blear prepare` again"
Block = bytes  # inside `ShardIndex`, the name `bytes` is a field
_MAGIC = b"BLEARIDX"
_VERSION = 3
_COLUMNS = ("subject", "video", "time", "meta")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The index of N samples.

    Attributes:
        suffixes: S suffixes of members, sorted.
        places_NS2: int64 offset and size of each member; offset -1 where a sample has no such member.
        bytes: size of the shard.
        targets: K names of label columns that any sample has, sorted (`SampleMetadata.label_columns`).
        values_NK: float64 labels; 0 where a sample lacks the target.
        given_NK: bool, whether a sample has the target.
        frames_N2: int64 frames of the clip and of the clean clip; 0 where the json member holds no valid number.
        problems: sample number -> why the sample cannot be used.
        key_block: the keys as UTF-8; parsed by `keys`.
        column_block: JSON; parsed by `columns`.
        shard_sha256: SHA-256 of the shard, hexadecimal; empty if it is not known.
    """

    suffixes: tuple[str, ...]
    places_NS2: np.ndarray
    bytes: int
    targets: tuple[str, ...]
    values_NK: np.ndarray
    given_NK: np.ndarray
    frames_N2: np.ndarray
    problems: Mapping[int, str]
    key_block: Block
    column_block: Block
    shard_sha256: str = ""

    @staticmethod
    def build(
        places: Mapping[str, Mapping[str, tuple[int, int]]],
        metadata: Sequence[SampleMetadata],
        size: int,
        shard_sha256: str = "",
    ) -> ShardIndex:
        """Builds the index of a shard of `size` bytes.

        Args:
            places: key -> suffix -> (offset, size) of each member, in the order of the shard.
            metadata: content of the json members, in the same order.
            size: of the shard in bytes.
            shard_sha256: of the shard; empty if it is not known.
        """
        suffixes = tuple(sorted({suffix for members in places.values() for suffix in members}))
        table = np.full((len(places), len(suffixes), 2), -1, dtype="<i8")
        column = {suffix: number for number, suffix in enumerate(suffixes)}
        for row, members in enumerate(places.values()):
            for suffix, place in members.items():
                table[row, column[suffix]] = place
        labels = [one.label_columns() for one in metadata]
        targets = tuple(sorted({name for one in labels for name in one}))
        values = [[one.get(name, 0.0) for name in targets] for one in labels]
        given = [[name in one for name in targets] for one in labels]
        shape = (len(metadata), len(targets))
        return ShardIndex(
            suffixes,
            table,
            size,
            targets,
            np.array(values, dtype="<f8").reshape(shape),
            np.array(given, dtype=np.bool_).reshape(shape),
            np.array([[one.frames, one.clean_frames] for one in metadata], dtype="<i8").reshape(-1, 2),
            {row: one.problem for row, one in enumerate(metadata) if one.problem},
            "\n".join(places).encode(),
            json.dumps(
                {name: [getattr(one, name) for one in metadata] for name in _COLUMNS},
                default=to_python_number,
                ensure_ascii=False,
            ).encode(),
            shard_sha256,
        )

    def __len__(self) -> int:
        return len(self.places_NS2)

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of the samples, in the order of the shard."""
        return tuple(self.key_block.decode().split("\n")) if len(self) else ()

    def columns(self) -> dict[str, list[Any]]:
        """Parses the columns `subject`, `video`, `time` and `meta`, each a list with one entry for each sample.

        Raises:
            DataError: the block is not such an object.
        """
        try:
            found: dict[str, list[Any]] = json.loads(self.column_block)
            if [len(found[name]) for name in _COLUMNS] == [len(self)] * len(_COLUMNS):
                return found
        except (ValueError, RecursionError, KeyError, TypeError):
            pass  # raises below, as lists of a wrong length do
        raise DataError("the columns in a shard's index are damaged", do="delete the .idx: it is built again")

    def members(self, number: int) -> dict[str, tuple[int, int]]:
        """Returns the members of one sample: suffix -> (offset, size)."""
        places = self.places_NS2[number].tolist()
        return {
            suffix: (offset, size) for suffix, (offset, size) in zip(self.suffixes, places, strict=True) if offset >= 0
        }

    def first_beyond(self, size: int) -> str:
        """Names, for a message, the first sample in file order that ends beyond byte `size`."""
        beyond = self.places_NS2.sum(axis=2) > size
        if not beyond.any():
            return "every sample is inside"
        starts = np.where(beyond, self.places_NS2[..., 0], np.iinfo(np.int64).max)
        row, column = np.unravel_index(int(starts.argmin()), starts.shape)
        return f"it ends inside sample {self.keys[row]}, whose {self.suffixes[column]} lies at byte {starts.min()}"

    def save(self, path: Path) -> str:
        """Writes the index to a temporary file, then renames it; returns the SHA-256 of the file."""
        body = b"".join(
            [
                self.places_NS2.astype("<i8").tobytes(),
                self.values_NK.astype("<f8").tobytes(),
                self.frames_N2.astype("<i8").tobytes(),
                self.given_NK.astype(np.uint8).tobytes(),
                self.key_block,
                self.column_block,
            ]
        )
        header = json.dumps(
            {
                "version": _VERSION,
                "samples": len(self),
                "suffixes": self.suffixes,
                "targets": self.targets,
                "problems": self.problems,
                "bytes": self.bytes,
                "shard_sha256": self.shard_sha256,
                "key_bytes": len(self.key_block),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()
        header += b" " * (-len(header) % 8)  # aligns the arrays
        content = _MAGIC + struct.pack("<Q", len(header)) + header + body
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")  # threads may write the same index
        with durable_file(path, partial):
            partial.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    @staticmethod
    def load(path: Path) -> ShardIndex:
        """Reads an index.

        Raises:
            DataError: the file is not an index, of another version, or damaged.
        """
        return ShardIndex.parse(path.read_bytes(), str(path))

    @staticmethod
    def parse(data: Block, where: str) -> ShardIndex:
        """Reads an index from the content of its file; `where` names the file in messages.

        Raises:
            DataError: the content is not an index, of another version, or damaged.
        """
        rebuild = "delete the .idx: it is built again from the shard"
        start = len(_MAGIC) + 8
        if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
            raise DataError("not a shard index", where, rebuild)
        end = start + struct.unpack("<Q", data[start - 8 : start])[0]
        try:
            header = json.loads(data[start:end])
        except (ValueError, RecursionError):
            raise DataError("the header of the index is damaged", where, rebuild) from None
        version = header.get("version") if isinstance(header, dict) else None
        if version != _VERSION:
            raise DataError(f"index version {version}, this blear has {_VERSION}", where, rebuild)
        body = data[end:]
        if hashlib.sha256(body).hexdigest() != header.get("sha256"):
            raise DataError("the index is damaged", where, rebuild)
        try:
            return _from_body(header, body)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):  # the digest covers the body alone
            raise DataError("the header of the index is damaged", where, rebuild) from None


def _from_body(header: Mapping[str, Any], body: bytes) -> ShardIndex:
    count, suffixes, targets = int(header["samples"]), tuple(header["suffixes"]), tuple(header["targets"])
    if count < 0:
        raise ValueError("a negative number of samples")
    shapes: tuple[tuple[Any, tuple[int, ...]], ...] = (
        ("<i8", (count, len(suffixes), 2)),
        ("<f8", (count, len(targets))),
        ("<i8", (count, 2)),
        (np.bool_, (count, len(targets))),
    )
    offset, arrays = 0, []
    for kind, shape in shapes:
        size = math.prod(shape)
        arrays.append(np.frombuffer(body, kind, size, offset).reshape(shape) if size else np.empty(shape, kind))
        offset += arrays[-1].nbytes
    keys = body[offset : offset + int(header["key_bytes"])]
    if (keys.count(b"\n") + 1 if keys else 0) != count:
        raise ValueError("keys and samples differ in number")
    keys.decode()
    places, values, frames, given = arrays
    size = int(header["bytes"])
    offsets, sizes = places[..., 0], places[..., 1]
    # offset + size is not computed: it may overflow
    if not ((offsets == -1) | ((offsets >= 0) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes))).all():
        raise ValueError("a member lies outside the shard")
    problems = {int(row): str(cause) for row, cause in header["problems"].items()}
    if not all(isinstance(name, str) for name in (*suffixes, *targets)) or not problems.keys() <= set(range(count)):
        raise ValueError("names or problems of another shard")
    columns, shard_sha256 = body[offset + len(keys) :], str(header["shard_sha256"])
    return ShardIndex(suffixes, places, size, targets, values, given, frames, problems, keys, columns, shard_sha256)
