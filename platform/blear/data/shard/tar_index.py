"""Builds the index of a WebDataset tar of any origin from its headers and json members, in one pass."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.data.shard.sample_metadata import MAX_BYTES, SampleMetadata, parse_metadata
from blear.errors import DataError

_MAX_HEADER_BYTES = 1 << 20


def build_index(shard: Path, shard_sha256: str = "") -> ShardIndex:
    """Builds the index of a plain tar. As in WebDataset, a name splits into key and suffix at the first dot.

    A sample with unusable headers (two members of one suffix, a name that leads out of the folder, a sparse file) is
    indexed with that problem. No file is created under a member's name.

    Args:
        shard: the tar.
        shard_sha256: digest of the tar for the index; empty if it is not known.

    Raises:
        DataError: the file is not a plain tar, or truncated.
    """
    scanned = scan_tar(shard)
    with shard.open("rb") as stream:
        metadata = [
            SampleMetadata(problem=scanned.problems[key])
            if key in scanned.problems
            else _read_metadata(stream, members.get("json"))
            for key, members in scanned.places.items()
        ]
    return ShardIndex.build(scanned.places, metadata, shard.stat().st_size, shard_sha256)


@dataclass(frozen=True)
class ScannedTar:
    """The members of a tar.

    Attributes:
        places: key -> suffix -> (offset, size) of each member, in the order of the tar.
        problems: key -> why the sample cannot be used.
    """

    places: Mapping[str, Mapping[str, tuple[int, int]]]
    problems: Mapping[str, str]


def scan_tar(shard: Path) -> ScannedTar:
    """Reads the headers of a plain tar.

    Raises:
        DataError: the file is not a plain tar, or truncated.
    """
    places: dict[str, dict[str, tuple[int, int]]] = {}
    problems: dict[str, str] = {}
    end, last_offset = 0, -1
    try:
        with (
            shard.open("rb") as stream,
            tarfile.open(fileobj=cast(BinaryIO, _BoundedFile(stream, shard.stat().st_size)), mode="r:") as archive,
        ):
            for member in archive:
                if member.size < 0 or member.offset_data <= last_offset:  # tarfile would go back and loop forever
                    raise tarfile.ReadError("a header with a size below zero")
                last_offset = member.offset_data
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                folder, _, file = _printable(member.name).rpartition("/")
                stem, dot, suffix = file.partition(".")
                if not member.isfile() or not dot or file.startswith(("__", ".")):
                    continue  # WebDataset skips them too: folders, names without suffix, its own metadata
                key = f"{folder}/{stem}" if folder else stem
                members = places.setdefault(key, {})
                if problem := _header_problem(key, suffix.lower(), member, members):
                    problems[key] = problem
                members[suffix.lower()] = (member.offset_data, member.size)
    except (tarfile.TarError, ValueError, RecursionError) as error:  # tarfile raises the last two on forged headers
        raise _damaged(shard, places, end, str(error)) from error
    with shard.open("rb") as stream:
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            # tarfile accepts a file that was truncated between two members
            raise _damaged(shard, places, end, "the end of the archive is not there")
    return ScannedTar(places, problems)


class _BoundedFile:
    """A file for tarfile that refuses reads of more than 1 MiB and offsets outside the file: a header may be forged.

    tarfile reads only headers, long names and pax records from it, never the members.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size

    def read(self, count: int) -> bytes:
        """Reads the bytes of a header."""
        if not 0 <= count <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self.stream.read(count)

    def seek(self, offset: int) -> None:
        """Moves to an offset within the file."""
        if not 0 <= offset <= self.size:
            raise tarfile.ReadError(f"a member that goes to byte {offset} of {self.size}")
        self.stream.seek(offset)

    def tell(self) -> int:
        """Returns the current offset."""
        return self.stream.tell()


def _printable(name: str) -> str:
    """Escapes bytes that are not UTF-8 and control characters in a member's name."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return name if name.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


def _header_problem(key: str, suffix: str, member: tarfile.TarInfo, members: Mapping[str, object]) -> str:
    """Returns why a member makes its sample unusable; empty if it does not."""
    if key.startswith("/") or ".." in key.split("/"):
        return "the member's name leads out of its folder"
    if suffix in members:
        return f"there are two {suffix} members"
    if member.issparse():
        return f"the {suffix} member is a sparse file"
    return ""


def _read_metadata(stream: BinaryIO, place: tuple[int, int] | None) -> SampleMetadata:
    """Reads the json member at (offset, size)."""
    if place is None:
        return parse_metadata(None)
    stream.seek(place[0])
    return parse_metadata(stream.read(min(place[1], MAX_BYTES + 1)))


def _damaged(shard: Path, places: Mapping[str, object], end: int, reason: str) -> DataError:
    last = f", in or after sample {next(reversed(list(places)))}" if places else ""
    return DataError(f"not a whole plain tar: {reason} (after byte {end}{last})", str(shard), PREPARE_AGAIN)
