"""A run whose nodes share no folder: BLEAR_STORAGE is a URL, and each node has its own copy of the run folder.

The driver's copy is mirrored to the storage (`RunMirror`). A worker downloads it before it reads the run. What workers
write returns in parts: a part has its own manifest, `parts/PATH/manifest.json` below the run, until the driver has
downloaded its files. A stage that is trained is the part of the worker of rank 0; each trial and each baseline of a
search is the part of its task.

Every function and method does nothing where BLEAR_STORAGE is a folder, which all nodes share.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from blear.storage.object_store import ObjectStore
from blear.storage.root import storage_root, storage_url
from blear.storage.run_folder import existing_files
from blear.storage.run_manifest import (
    MANIFEST,
    Manifest,
    StoredFile,
    download_files,
    file_version,
    read_current,
    read_manifest,
)
from blear.storage.run_mirror import RunMirror, sync_current

Result = TypeVar("Result")

_OUTPUTS = "outputs"
_OF_DRIVER = frozenset({"history.log"})  # files in a stage's folder that the driver writes
_OF_TASKS = frozenset({"trials", "baselines"})  # folders of a run that are parts, of one task each
_NOT_NEEDED = _OF_TASKS | {"evaluation", "ray", "tune"}  # folders of a run that no other task reads
_NOT_NEEDED_OF_STAGE = frozenset({"checkpoints", "tensorboard", "samples"})


@dataclass(frozen=True)
class SharedRun:
    """A run, for its driver and its workers. It can be pickled.

    Attributes:
        name: name of the run; empty: all nodes share its folder.
        origin: the storage root of the driver.
    """

    name: str = ""
    origin: Path = Path()

    @staticmethod
    def of(root: Path) -> SharedRun:
        """The run of a folder on the driver, or of a folder below a run's."""
        # Ray on this machine shares its folders
        return SharedRun.stored(root) if os.environ.get("RAY_ADDRESS") else SharedRun()

    @staticmethod
    def stored(root: Path) -> SharedRun:
        """As `of`, also where no cluster is used: an earlier driver may have used one."""
        if storage_url() is None:
            return SharedRun()
        return SharedRun(root.relative_to(storage_root() / "runs").parts[0], storage_root())

    def local(self, path: Path) -> Path:
        """The path on this machine of a path of the driver."""
        return storage_root() / path.relative_to(self.origin) if self.name else path

    @property
    def root(self) -> Path:
        """The run folder on this machine."""
        return storage_root() / "runs" / self.name

    def pull(self) -> None:
        """Makes the copy on this machine equal to the driver's, without checkpoints and logs of training.

        Raises:
            RunError: the storage has no such run, or a file is damaged.
            OSError: the storage does not reply.
        """
        if not self.name:
            return
        store = self._store()

        def download(files: dict[str, StoredFile]) -> None:
            for path in self.root.glob("**/stage.json"):  # of an earlier run of this name
                inner = path.relative_to(self.root)
                if _is_needed(inner) and str(inner) not in files:
                    path.unlink()
            download_files(store, self.root, {name: one for name, one in files.items() if _is_needed(Path(name))})

        with _lock(self.root):
            read_current(store, download)

    def put(self, path: Path) -> None:
        """Uploads a file of this machine's copy, which `exists` and `get` find."""
        if self.name:
            self._store().upload(path, f"loose/{path.relative_to(self.root)}")

    def existing(self, folder: Path) -> set[str] | None:
        """Names of the files of `put` in a folder of the driver's copy; None: all nodes share the folder."""
        if not self.name:
            return None
        return set(self._store().names(f"loose/{self._inner(folder)}"))

    def get(self, path: Path) -> None:
        """Downloads a file of `put` to this machine's copy, unless it is there."""
        if self.name and not path.is_file():
            partial = path.with_name(f".{path.name}.get")
            self._store().download(f"loose/{path.relative_to(self.root)}", partial)
            partial.replace(path)

    def forget(self, folder: Path) -> None:
        """Deletes the files of `put` in a folder of the driver's copy."""
        if self.name:
            self._store().delete_below(f"loose/{self._inner(folder)}")

    def _inner(self, path: Path) -> Path:
        """The path in the run folder of a path of the driver."""
        return path.relative_to(self.origin / "runs" / self.name)

    def _store(self) -> ObjectStore:
        return ObjectStore(f"{storage_url()}/runs/{self.name}")

    def _part(self, inner: Path | str) -> ObjectStore:
        return ObjectStore(f"{storage_url()}/runs/{self.name}/parts/{inner}")

    @contextlib.contextmanager
    def writing(self, folder: Path, *, lead: bool = True) -> Iterator[Callable[[bool], None]]:
        """Context of a worker that trains: its copy of the folder equals that of the last attempt, on any machine.

        What rank 0 writes in the context is uploaded. Yields a function that starts the upload; with the argument True
        it waits for the end of the upload.

        Args:
            folder: the folder of the stage, trial or baseline on this machine.
            lead: whether this worker writes the folder, as that of rank 0 does.
        """
        if not self.name:
            yield no_upload
            return
        self.pull()
        inner = folder.relative_to(self.root)
        with _lock(folder):
            _fetch(folder, *self._newest(inner))
        if not lead:
            yield no_upload
            return
        part = self._part(inner)
        with contextlib.closing(RunMirror(folder, part, take_over=True, ignored=_OF_DRIVER)) as mirror:
            yield mirror.sync_or_wake

    def _newest(self, inner: Path) -> tuple[ObjectStore, dict[str, StoredFile], str]:
        """The newest copy of a folder of the run: of its part, else of the driver.

        Returns:
            The objects, the files by their path in the folder, the prefix of their names in the objects.
        """
        part = self._part(inner)
        found = part.read(MANIFEST)
        if found is not None and (files := Manifest.from_bytes(found[0]).files):  # empty until the first upload
            return part, files, ""
        run, prefix = self._store(), f"{inner}/"
        all_files = read_manifest(run).files.items()
        files = {name.removeprefix(prefix): one for name, one in all_files if name.startswith(prefix)}
        return run, {name: one for name, one in files.items() if Path(name).name not in _OF_DRIVER}, prefix

    def stage_progress(self, folder: Path) -> tuple[int, int] | None:
        """Step of the newest stored checkpoint of a stage, and the last step that is known; None: the folder is shared.

        Args:
            folder: the stage's folder on the driver.
        """
        if not self.name:
            return None
        with contextlib.suppress(OSError):  # the controller may be on another machine than the driver
            store, files, prefix = self._newest(self._inner(folder))
            steps = [int(Path(name).parent.name[5:]) for name in files if Path(name).name == "state.json"]
            reached = store.read(files["reached"].key(f"{prefix}reached")) if "reached" in files else None
            return max(steps, default=0), int(reached[0] or 0) if reached is not None else 0
        return 0, 0

    def collect(self, *, unfinished: bool = False) -> None:
        """Moves parts to the driver's copy: they are deleted after the copy was mirrored.

        Args:
            unfinished: whether parts that no task has finished are moved too; no task may write them now.
        """
        if not self.name:
            return
        base, done = self._part(""), []
        for url in base.find():
            if not url.endswith(f"/{MANIFEST}"):
                continue
            inner = url.removeprefix(f"{base.url.rstrip('/')}/").removesuffix(MANIFEST).rstrip("/")
            store = self._part(inner)
            files = read_manifest(store).files
            if inner == _OUTPUTS:
                download_files(store, self.root, files)
            elif files:  # none before the first upload
                kept = _without_finished_checkpoints(files) if Path(inner).parts[0] in _OF_TASKS else files
                _fetch(self.root / inner, store, kept)
            if inner == _OUTPUTS or "stage.json" in files or unfinished:
                done.append(store)
        if done:
            sync_current()
        for store in done:
            store.delete_below("")

    def delete_parts(self) -> None:
        """Deletes what workers of an earlier run of this name have left in the storage."""
        if self.name:
            for folder in ("parts", "loose"):
                self._store().delete_below(folder)


def call_in_run(run: SharedRun, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function on a worker that reads and writes files of the run; `SharedRun.collect` brings them.

    Args:
        arguments: of the function; paths are those of this machine.
    """
    if not run.name:
        return function(*arguments)
    run.pull()
    before = _marks(run.root)  # this copy may have files of an earlier run of this name
    result = function(*arguments)
    known, store = read_manifest(run._store()).files, run._part(_OUTPUTS)
    changed: dict[str, StoredFile] = {}
    for path, mark in _marks(run.root).items():
        inner = path.relative_to(run.root)
        hidden = any(part.startswith(".") for part in inner.parts)
        if before.get(path) == mark or hidden or not _is_needed(inner) or inner.suffix in (".log", ".lock"):
            continue
        if (version := file_version(path)) != known.get(str(inner)):
            store.upload(path, version.key(str(inner)))
            changed[str(inner)] = version
    store.put(MANIFEST, Manifest(files=changed).to_bytes())
    return result


def _marks(root: Path) -> dict[Path, tuple[int, int, int]]:
    """Each file below a folder -> size, time and inode, one of which a write changes."""
    marks = {}
    for path in existing_files(root):
        with contextlib.suppress(FileNotFoundError):  # the driver may share this folder, and replace files meanwhile
            state = path.stat()
            marks[path] = state.st_size, state.st_mtime_ns, state.st_ino
    return marks


def _is_needed(inner: Path) -> bool:
    """Whether tasks of a run read a file: all files but checkpoints, logs of training, and what single tasks use."""
    parts = inner.parts[2:] if inner.parts[0] == "seeds" else inner.parts
    if parts[0] == "stages":
        return len(parts) < 3 or parts[2] not in _NOT_NEEDED_OF_STAGE
    return parts[0] not in _NOT_NEEDED


def _without_finished_checkpoints(files: dict[str, StoredFile]) -> dict[str, StoredFile]:
    """The files of a part without the checkpoints of stages that are done."""
    done = {str(Path(name).parent / "checkpoints") for name in files if Path(name).name == "stage.json"}
    return {name: one for name, one in files.items() if not any(name.startswith(f"{each}/") for each in done)}


def no_upload(wait: bool) -> None:
    """Uploads nothing."""


def _fetch(folder: Path, store: ObjectStore, files: dict[str, StoredFile], below: str = "") -> None:
    """Makes a folder equal to a stored one: other files are deleted, except those of the driver and hidden ones."""
    for path in sorted(folder.rglob("*"), reverse=True):
        inner = path.relative_to(folder)
        if inner.name in _OF_DRIVER or any(part.startswith(".") for part in inner.parts):
            continue
        if path.is_file() and str(inner) not in files:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
    download_files(store, folder, files, below)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process of a machine at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".pull.lock"):
        yield
