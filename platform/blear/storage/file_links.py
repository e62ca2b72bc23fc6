"""Hard links to files that are read, so that their folder can be deleted meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path


class FileLinks:
    """Context with hard links to files that are read, so that a checkpoint can be deleted during its upload.

    Without them, no checkpoint is ever stored where an upload takes longer than the time between two checkpoints.

    Args:
        folder: for the links, on the file system of the files; deleted at both ends of the block.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: dict[Path, Path] = {}

    def __enter__(self) -> FileLinks:
        shutil.rmtree(self._folder, ignore_errors=True)  # of a process that was killed
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, path: Path) -> None:
        """Links a file. Where the file system has no hard links, the file itself is read."""
        link = self._folder / str(len(self._links))
        self._links[path] = link
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)
        except FileNotFoundError:
            pass  # deleted: `missing`
        except OSError:
            self._links[path] = path

    def get(self, path: Path) -> Path:
        """The link to a file, or the file itself if it was not added."""
        return self._links.get(path, path)

    def missing(self, root: Path) -> list[str]:
        """Paths below `root` of the files that were added and cannot be read."""
        return [str(path.relative_to(root)) for path, link in self._links.items() if not link.is_file()]
