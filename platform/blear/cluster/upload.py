"""The files that Ray uploads as a job's working directory, listed and checked before the upload."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

from blear.errors import JobError
from blear.train.on_ray import internals

MAX_UPLOAD_BYTES = 512 << 20
"""Largest package that Ray accepts. Ray stores files in it without compression."""


@dataclass(frozen=True)
class Upload:
    """Files of a working directory that are uploaded to the cluster.

    Attributes:
        folder: the working directory, absolute.
        sizes: path below `folder` -> bytes.
        known: False if this version of Ray does not list the files that it packs; `sizes` is then empty.
    """

    folder: Path
    sizes: dict[Path, int]
    known: bool = True

    @property
    def total(self) -> int:
        """Size of all files in bytes."""
        return sum(self.sizes.values())

    def largest(self, number: int) -> list[tuple[Path, int]]:
        """The largest files, largest first."""
        return heapq.nlargest(number, self.sizes.items(), key=lambda item: item[1])

    def contains(self, path: Path) -> bool:
        """Whether a file, or at least one file of a folder, is uploaded; `path` is absolute."""
        if not path.is_relative_to(self.folder):
            return False
        if not self.known:
            return path.exists()
        inner = path.relative_to(self.folder)
        return inner in self.sizes or any(file.is_relative_to(inner) for file in self.sizes)

    def listing(self) -> list[str]:
        """Lines for the user: number and size of all files, then the largest files."""
        if not self.known:
            return [f"uploads {self.folder}; its files are not listed, because this version of Ray is not known"]
        lines = [f"uploads {self.folder}: {len(self.sizes)} files, {format_size(self.total)}"]
        return [*lines, *(f"    {format_size(size):>10}  {file}" for file, size in self.largest(5))]

    def check(self) -> None:
        """Checks names and size before Ray packs the files.

        Raises:
            JobError: a name is no UTF-8, or the size is over Ray's limit; the message names the files.
        """
        names = ((str(path), str(path).encode("utf-8", "backslashreplace").decode()) for path in self.sizes)
        unusable = [escaped for name, escaped in names if escaped != name]
        if unusable:
            what = f"file names that are no UTF-8, which Ray cannot pack: {', '.join(unusable[:8])}"
            raise JobError(what, str(self.folder), "rename these files, or list them in .rayignore")
        if self.total < MAX_UPLOAD_BYTES:
            return
        named = "\n".join(f"    {format_size(size):>10}  {file}" for file, size in self.largest(8))
        raise JobError(
            f"{format_size(self.total)} in {len(self.sizes)} files to upload; Ray accepts "
            f"{format_size(MAX_UPLOAD_BYTES)}. The largest:\n{named}",
            str(self.folder),
            "list data and runs in .gitignore or .rayignore, and put them on storage that the nodes share",
        )


def plan_upload(folder: Path) -> Upload:
    """Lists the files that Ray packs: those that .gitignore, .rayignore and Ray's own list do not exclude.

    Raises:
        JobError: `folder` is not a folder.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise JobError("not a folder", str(folder), "give --working-dir the folder that holds the job and its plugins")
    files = internals.packaged_files(folder)
    if files is None:
        return Upload(folder, {}, known=False)
    return Upload(folder, {path.relative_to(folder): path.stat().st_size for path in files})


def format_size(size: int) -> str:
    """A number of bytes as text, in KiB or MiB."""
    return f"{size / 2**20:.1f} MiB" if size >= 100 * 1024 else f"{size / 1024:.1f} KiB"
