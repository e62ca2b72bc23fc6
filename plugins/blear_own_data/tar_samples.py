"""Reads the samples of a shard one after another, as WebDataset groups them."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from blear.contracts import ShardMembers
from blear.errors import DataError


def read_samples(place: str) -> Iterator[ShardMembers]:
    """Iterates over the samples of a shard at a path or URL; one at a URL, or a gzip file, is read as a stream.

    Raises:
        DataError: the shard is missing or damaged.
    """
    try:
        with _open(place) as (file, mode), tarfile.open(fileobj=file, mode=mode) as archive:
            key, suffixes = "", dict[str, tarfile.TarInfo]()
            contents = dict[str, bytes]()
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, dot, suffix = name.partition(".")
                if not member.isfile() or not dot or not stem or name.startswith("__"):  # `._NAME` of macOS has no stem
                    continue
                found = f"{folder}/{stem}" if folder else stem
                if found != key and suffixes:
                    yield _sample(archive, key, place, suffixes, contents)
                    suffixes, contents = {}, {}
                key = found
                suffixes[suffix.lower()] = member
                if mode != "r:":
                    contents[suffix.lower()] = _content(archive, member)
            if suffixes:
                yield _sample(archive, key, place, suffixes, contents)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"the shard cannot be read: {error}", place, "check `source`, and that it is a tar") from error


@contextmanager
def _open(place: str) -> Iterator[tuple[BinaryIO, Any]]:
    if "://" in place:
        with fsspec.open(place, "rb") as file:
            yield file, "r|*"
        return
    with Path(place).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield file, "r|gz" if packed else "r:"


def _sample(
    archive: tarfile.TarFile,
    key: str,
    place: str,
    members: dict[str, tarfile.TarInfo],
    contents: dict[str, bytes],
) -> ShardMembers:
    read = contents.__getitem__ if contents else partial(_read, archive, members)
    return ShardMembers(key, f"{place}, sample {key}", tuple(members), read)


def _read(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], suffix: str) -> bytes:
    return _content(archive, members[suffix])


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file.read()
