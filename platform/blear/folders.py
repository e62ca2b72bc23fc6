"""Public functions that list the files and folders below a folder. Links to folders are followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from blear.errors import DataError

Unreadable = Literal["error", "skip"]
"""What happens at a folder, or at the target of a link, that cannot be read."""
_OF_ROOT = "lost+found"  # ext4 has it in every mount point, and only root can read it


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden by its name."""
    return name.startswith(".")


def files_below(
    folder: Path, skip: Callable[[str], bool] | None = is_hidden, unreadable: Unreadable = "error"
) -> Iterator[Path]:
    """Yields the files at any depth below a folder, in a fixed order: by name, those of a subfolder at its place.

    A link to a folder is followed, except where it leads to a folder above itself, whose files are found anyway. A link
    without a target is yielded as a file, so that its reader reports it.

    Args:
        folder: an existing folder.
        skip: name of a file or folder -> whether it is left out, with all that is below it; None: nothing is.
        unreadable: `skip` leaves out the folders that cannot be read.

    Raises:
        DataError: a folder or the target of a link cannot be read.
    """
    return (path for path, is_folder in _walk(folder, skip, unreadable, frozenset()) if not is_folder)


def folders_below(
    folder: Path, skip: Callable[[str], bool] | None = is_hidden, unreadable: Unreadable = "error"
) -> Iterator[Path]:
    """Yields the folders at any depth below a folder, each before those in it; see `files_below`."""
    found = (path for path, is_folder in _walk(folder, skip, unreadable, frozenset()) if is_folder)
    return islice(found, 1, None)


def _walk(
    folder: Path, skip: Callable[[str], bool] | None, unreadable: Unreadable, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[Path, bool]]:
    """Yields (path, whether it is a folder) of a folder and of all that is below it.

    Args:
        above: device and inode of each folder on the way to `folder`.
    """
    try:
        state = folder.stat()
        own = (state.st_dev, state.st_ino)
        if own in above:
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if unreadable == "skip" or (folder.name == _OF_ROOT and isinstance(error, PermissionError)):
            return
        raise DataError(f"the folder cannot be read: {error.strerror}", str(folder), "check its permissions") from error
    yield folder, True
    for entry in entries:
        if skip is not None and skip(entry.name):
            continue
        try:
            kind = _kind(entry)
        except OSError as error:
            if unreadable == "skip":
                continue
            what = f"the target of this link cannot be read: {error.strerror}"
            raise DataError(what, entry.path, "check its permissions, or delete the link") from error
        if kind == "folder":
            yield from _walk(Path(entry.path), skip, unreadable, above | {own})
        elif kind == "file":
            yield Path(entry.path), False


def _kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    """Kind of an entry or of its target; `file` for a link without a target, `other` for pipes and devices."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError as error:
        if error.errno != errno.ELOOP:  # of a link to itself
            raise
        return "file"
    return "file" if entry.is_symlink() and not os.path.exists(entry.path) else "other"  # noqa: PTH110
