"""Packs the small files of a run into text, and unpacks them: `blear fetch` brings a run from a cluster by its job log.

The job server of a cluster transfers text only. There, `blear fetch RUN --pack` prints the archive.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from blear.errors import RunError
from blear.storage.run_folder import RunFolder, write_bytes
from blear.storage.run_lock import LOCK_FILE

_BEGIN, _END = "=== blear run archive", "=== end of the archive, sha256"
_SUFFIXES = (".html", ".json", ".yaml", ".npz", ".parquet", ".log", ".jsonl", ".csv", ".svg")
_WEIGHTS = "model.safetensors"
_LEFT_OUT = ("checkpoints", "tune", "ray", "tensorboard", "samples", "cache")
_LINE = 1 << 16  # bytes of the archive in one line of text; a multiple of 3


def run_files(root: Path, *, weights: bool) -> Iterator[Path]:
    """The files of a run that its report and its tables consist of; with `weights` also the final weights."""
    for path in sorted(root.rglob("*")):
        if is_fetched(path.relative_to(root), weights=weights) and path.is_file():
            yield path


def is_fetched(inner: Path, *, weights: bool) -> bool:
    """Whether a file of a run, given by its path in the run folder, is fetched."""
    hidden = any(part.startswith(".") or part in _LEFT_OUT for part in inner.parts)
    return not hidden and (inner.suffix in _SUFFIXES or (weights and inner.name == _WEIGHTS))


def require_no_run(target: Path) -> None:
    """Raises a RunError where a folder contains a run of this machine; a fetched one would be mixed with it."""
    if (target / LOCK_FILE).exists():  # `blear run` creates it, and it is not fetched
        raise RunError("a run of this machine is in the folder to write to", str(target), "give a folder: --to FOLDER")


def pack_run(root: Path, *, weights: bool = False) -> Iterator[str]:
    """Yields the lines of a run's archive: a header, a compressed tar in base64, and a footer with its digest.

    Raises:
        RunError: `root` is not a run folder.
    """
    RunFolder.open(root)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for path in run_files(root, weights=weights):
            archive.add(path, str(path.relative_to(root)))
    content = buffer.getvalue()
    yield f"{_BEGIN} {root.name}"
    step = _LINE - _LINE % 3
    for start in range(0, len(content), step):
        yield base64.b64encode(content[start : start + step]).decode()
    yield f"{_END} {hashlib.sha256(content).hexdigest()}"


def unpack_run(text: str, target: Path) -> list[Path]:
    """Writes the files of an archive below a folder; returns their paths. Other lines of the text are ignored.

    Raises:
        RunError: the text has no archive, a part of it is missing, or a file of it would lie outside of the folder.
    """
    lines = [line.strip() for line in text.splitlines()]
    first = next((n for n, line in enumerate(lines) if line.startswith(_BEGIN)), None)
    last = next((n for n, line in enumerate(lines) if line.startswith(_END)), None)
    if first is None or last is None:
        raise RunError("the cluster sent no archive of this run", str(target), "give the command again")
    try:
        content = b"".join(base64.b64decode(line, validate=True) for line in lines[first + 1 : last])
    except ValueError as error:
        raise RunError("the archive of this run has foreign lines", str(target), "give the command again") from error
    if hashlib.sha256(content).hexdigest() != lines[last].split()[-1]:
        raise RunError("a part of the run's archive is missing", str(target), "give the command again")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        for name in (PurePosixPath(member.name) for member in members):
            if name.is_absolute() or ".." in name.parts:
                raise RunError(f"the archive of this run has the name {str(name)!r}", str(target), "look at the run")
        for member in members:  # TarFile.extractall(filter=...) is missing before Python 3.11.4
            write_bytes(target / member.name, cast("IO[bytes]", archive.extractfile(member)).read())
    return [target / member.name for member in members]
