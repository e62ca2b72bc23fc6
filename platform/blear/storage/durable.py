"""Files that survive a power failure: their content is on the disk before they get their final names.

A file system may store a new name before the content: after a power failure, a file that was only renamed has its full
size and holds zeros.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


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
