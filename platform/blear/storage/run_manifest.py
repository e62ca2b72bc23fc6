"""The manifest of a run in object storage: the current version of each file, and who writes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from blear.errors import RunError
from blear.storage.durable import named_errors
from blear.storage.object_store import ObjectStore

Result = TypeVar("Result")

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StoredFile:
    """One version of a file in the storage.

    Attributes:
        size: in bytes.
        sha256: digest of the content.
    """

    size: int
    sha256: str

    def key(self, name: str) -> str:
        """The key of the object: a changed file has another one."""
        return f"files/{name}@{self.sha256[:12]}"


@dataclass
class Manifest:
    """The content of manifest.json.

    Attributes:
        holder: host, process and token of the run that writes; None after its end.
        renewed: changes with every write, so that a living holder can be told from a dead one without comparing clocks.
        files: path in the run folder -> its stored version.
    """

    holder: dict[str, Any] | None = None
    renewed: float = 0.0
    files: dict[str, StoredFile] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The JSON text."""
        return json.dumps({"format": 1, **asdict(self)}, indent=1).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Manifest:
        """Reads the JSON text."""
        values = json.loads(content)
        files = {name: StoredFile(**stored) for name, stored in values["files"].items()}
        return Manifest(values["holder"], values["renewed"], files)


def read_manifest(store: ObjectStore) -> Manifest:
    """Reads the manifest of a run.

    Raises:
        RunError: the storage has no such run.
        OSError: the storage does not reply.
    """
    found = store.read(MANIFEST)
    if found is None:
        raise RunError("there is no such run", store.url, "`blear runs` lists the runs of the storage")
    return Manifest.from_bytes(found[0])


def read_current(store: ObjectStore, read: Callable[[dict[str, StoredFile]], Result]) -> Result:
    """Calls a function with the files of a run; again with the newer ones, where its writer has replaced some of them.

    Raises:
        RunError: the storage has no such run.
        OSError: the storage does not reply, or does not have a file that the manifest lists.
    """
    files = read_manifest(store).files
    while True:
        try:
            return read(files)
        except FileNotFoundError:
            before, files = files, read_manifest(store).files
            if files == before:
                raise


def download_files(store: ObjectStore, root: Path, files: Mapping[str, StoredFile], below: str = "") -> int:
    """Downloads the files of a manifest that a folder does not have; returns their number.

    Args:
        below: prefix of the names in the store.

    Raises:
        RunError: a file has another digest than the manifest states.
        OSError: the storage does not reply.
    """
    count = 0
    for name, stored in files.items():
        path = root / name
        if path.is_file() and path.stat().st_size == stored.size and file_version(path) == stored:
            continue
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        key = stored.key(f"{below}{name}")
        try:
            with named_errors(path):
                store.download(key, partial)
            if file_version(partial) != stored:
                do = "give the command again; if it fails again, delete the run in the storage"
                raise RunError("a stored file is damaged", f"{store.url}/{key}", do)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        count += 1
    return count


def file_version(path: Path) -> StoredFile:
    """Size and digest of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return StoredFile(size, digest.hexdigest())


def describe_writer(holder: dict[str, Any] | None) -> str:
    """Host and process of a manifest's holder."""
    return "unknown" if holder is None else f"host {holder['host']}, process {holder['pid']}"
