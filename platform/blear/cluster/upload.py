"""What Ray uploads as a job's working directory: the same files, counted before anything is sent."""

from __future__ import annotations

import heapq
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import _dir_travel, _get_excludes  # Ray's own walk: any other may differ

from blear.errors import JobError

LIMIT = 512 << 20
"""Bytes that Ray takes as one package; it stores files as they are, without compression."""

_quiet = logging.getLogger(f"{__name__}.walk")
_quiet.setLevel(logging.WARNING)


@dataclass(frozen=True)
class Upload:
    """Files of a working directory that go to the cluster.

    Attributes:
        folder: the working directory, absolute.
        sizes: bytes of each file, by its path below `folder`.
    """

    folder: Path
    sizes: dict[Path, int]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def biggest(self, number: int) -> list[tuple[Path, int]]:
        """The biggest files, the biggest first."""
        return heapq.nlargest(number, self.sizes.items(), key=lambda item: item[1])

    def holds(self, path: Path) -> bool:
        """Whether a file, or any file of a folder, is uploaded; `path` is absolute."""
        if not path.is_relative_to(self.folder):
            return False
        inner = path.relative_to(self.folder)
        return inner in self.sizes or any(file.is_relative_to(inner) for file in self.sizes)

    def listing(self) -> list[str]:
        """Lines for a person: number and size of all files, then the biggest ones."""
        lines = [f"uploads {self.folder}: {len(self.sizes)} files, {mib(self.total)}"]
        return [*lines, *(f"    {mib(size):>10}  {file}" for file, size in self.biggest(5))]

    def check(self) -> None:
        """Refuses what Ray would refuse, before it is packed.

        Raises:
            JobError: over the limit; names the biggest files.
        """
        if self.total < LIMIT:
            return
        named = "\n".join(f"    {mib(size):>10}  {file}" for file, size in self.biggest(8))
        raise JobError(
            f"{mib(self.total)} in {len(self.sizes)} files to upload; Ray takes {mib(LIMIT)}. The biggest:\n{named}",
            str(self.folder),
            "name data and runs in .gitignore or .rayignore, and put them on storage that the nodes share",
        )


def plan_upload(folder: Path) -> Upload:
    """Walks a working directory as Ray does: without what .gitignore, .rayignore and Ray's own list leave out.

    Raises:
        JobError: `folder` is not a folder.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise JobError("not a folder", str(folder), "give --working-dir the folder that holds the job and its plugins")
    sizes: dict[Path, int] = {}

    def count(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder)] = path.stat().st_size

    heeds_gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    excludes = [_get_excludes(folder, get_runtime_env_default_excludes())]
    _dir_travel(folder, excludes, count, include_gitignore=heeds_gitignore, logger=_quiet)
    return Upload(folder, sizes)


def mib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 2**20:.1f} MiB" if size >= 100 * 1024 else f"{size / 1024:.1f} KiB"
