"""Files that survive a power failure: their content is on the disk before they get their final names.

A file system may store a new name before the content: after a power failure, a file that was only renamed has its full
size and holds zeros.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Context that adds a path to errors without one: that of a failed write, for instance to a full disk, has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def durable_file(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yields the path of a temporary file, which becomes `path` at the end; an error or an interrupt deletes it.

    Args:
        path: the final name; its folder exists.
        partial: the temporary file, on the same file system; by default beside `path`, with the number of the process.
    """
    partial = partial or path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with named_errors(path):
            yield partial
            replace_durably(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def replace_durably(partial: Path, path: Path) -> None:
    """Renames a closed temporary file to its final name once its content is on the disk."""
    _sync(partial)
    partial.replace(path)
    with contextlib.suppress(OSError):  # some network file systems refuse it for folders
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
