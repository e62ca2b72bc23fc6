"""The index of a plain tar that anyone wrote, made of its headers and its json members, read once."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.data.shard.sample_metadata import MAX_BYTES, SampleMetadata, parse_metadata
from blear.errors import DataError

_LARGEST_HEADER = 1 << 20


def build_index(shard: Path) -> ShardIndex:
    """The index of a plain tar. A name splits into key and suffix at the first dot, as webdataset does it.

    A sample that cannot be used for what its headers say (two members of one suffix, a name that leads out of the
    folder, a sparse file) is in the index with that cause as its problem. No file is ever made under a member's name.

    Raises:
        DataError: not a plain tar, or cut off.
    """
    places: dict[str, dict[str, tuple[int, int]]] = {}
    problems: dict[str, str] = {}
    end, last = 0, -1
    try:
        with (
            shard.open("rb") as stream,
            tarfile.open(fileobj=cast(BinaryIO, _Bounded(stream, shard.stat().st_size)), mode="r:") as archive,
        ):
            for member in archive:
                if member.size < 0 or member.offset_data <= last:  # a size below zero leads back, for ever
                    raise tarfile.ReadError("a header with a size below zero")
                last = member.offset_data
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                folder, _, file = _printable(member.name).rpartition("/")
                stem, dot, suffix = file.partition(".")
                if not member.isfile() or not dot or file.startswith("__"):
                    continue  # as webdataset does: folders, names without suffix, its own metadata
                key = f"{folder}/{stem}" if folder else stem
                members = places.setdefault(key, {})
                if problem := _problem(key, suffix.lower(), member, members):
                    problems[key] = problem
                members[suffix.lower()] = (member.offset_data, member.size)
    except (tarfile.TarError, ValueError, RecursionError) as error:  # the others: headers that tarfile trusts too far
        raise _damaged(shard, places, end, str(error)) from error
    with shard.open("rb") as stream:
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            # tarfile takes a file that ends between two members for a whole one
            raise _damaged(shard, places, end, "the end of the archive is not there")
        metadata = [
            SampleMetadata(problem=problems[key]) if key in problems else _metadata(stream, members.get("json"))
            for key, members in places.items()
        ]
    return ShardIndex.build(places, metadata, shard.stat().st_size)


class _Bounded:
    """A file for tarfile that is told no header of more than 1 MiB and no place outside: sizes in a tar may be lies."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size

    def read(self, count: int) -> bytes:
        """Bytes of a header, or of its long names and pax records."""
        if not 0 <= count <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self.stream.read(count)

    def seek(self, offset: int) -> None:
        """Goes to a byte of the file, or to its end."""
        if not 0 <= offset <= self.size:
            raise tarfile.ReadError(f"a member that goes to byte {offset} of {self.size}")
        self.stream.seek(offset)

    def tell(self) -> int:
        """The current byte."""
        return self.stream.tell()


def _printable(name: str) -> str:
    """A member's name without what cannot be stored or printed: bytes that are no UTF-8, and control characters."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return name if name.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


def _problem(key: str, suffix: str, member: tarfile.TarInfo, members: Mapping[str, object]) -> str:
    """Why a member makes its sample unusable; empty if it does not."""
    if key.startswith("/") or ".." in key.split("/"):
        return "the member's name leads out of its folder"
    if suffix in members:
        return f"there are two {suffix} members"
    if member.issparse():
        return f"the {suffix} member is a sparse file"
    return ""


def _metadata(stream: BinaryIO, place: tuple[int, int] | None) -> SampleMetadata:
    if place is None:
        return parse_metadata(None)
    stream.seek(place[0])
    return parse_metadata(stream.read(min(place[1], MAX_BYTES + 1)))


def _damaged(shard: Path, places: Mapping[str, object], end: int, reason: str) -> DataError:
    last = f", in or after sample {next(reversed(list(places)))}" if places else ""
    return DataError(f"not a whole plain tar: {reason} (after byte {end}{last})", str(shard), PREPARE_AGAIN)
