"""The run folder: paths of all files of a run, and how a run is resumed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import RunError
from blear.storage.durable import durable_file
from blear.storage.run_lock import LOCK_FILE

JOB_FILE = "job.yaml"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, also at a power failure: the old file or the whole new one. Creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    write_bytes(path, text.encode())


def existing_files(root: Path) -> list[Path]:
    """Lists all files below a folder, sorted. Folders may be renamed or deleted meanwhile, as those of checkpoints are.

    Raises:
        OSError: a folder cannot be read: its files must not pass for deleted ones.
    """

    def require_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found = os.walk(root, onerror=require_gone)  # Path.rglob raises where a folder is renamed
    return sorted(Path(folder, name) for folder, _, names in found for name in names)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    job.yaml            the resolved job, full names
    run.lock            host, process and job of the run that writes to the folder
    run.json            versions, seeds, host, data, times
    run.log             log of all commands of the run, with the tracebacks of errors
    splits.lock.json    digests of the samples of each split that was used
    seeds/SEED/         stages/ of each seed, where the job has `seeds`
    stages/NAME/        log.jsonl, tensorboard/, checkpoints/, model.safetensors, stage.json (written last: done)
    predictions.parquet, summary.json, faces.npz, report.html; validation.parquet where temperatures are fitted
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> RunFolder:
        """Opens an existing run.

        Raises:
            RunError: `root` is not a run folder.
        """
        if not (root / JOB_FILE).is_file():
            raise RunError("not a run folder (no job.yaml in it)", str(root), "give the folder that `blear run` named")
        return cls(root)

    @classmethod
    def start(cls, root: Path, *, fresh: bool) -> RunFolder:
        """Creates a run folder, or opens the folder of an earlier run.

        Args:
            root: the run folder.
            fresh: whether an earlier run is deleted first. Its lock and its job stay: without job.yaml, a folder whose
                deletion was interrupted would be no run folder.

        Raises:
            RunError: `fresh`, and the folder is not a run folder.
        """
        kept = (LOCK_FILE, JOB_FILE)
        entries = [path for path in root.iterdir() if path.name not in kept] if root.is_dir() else []
        if fresh and entries:
            if not (root / JOB_FILE).is_file():
                raise RunError("not a run folder, so --fresh does not delete it", str(root), "give another name")
            for path in entries:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    def of_seed(self, seed: int) -> RunFolder:
        """Returns the folder of the training with one of several seeds; it has `stages`."""
        return RunFolder(self.root / "seeds" / str(seed))

    def stage(self, name: str) -> Path:
        """Returns the folder of a stage."""
        return self.root / "stages" / name

    def stage_done(self, name: str) -> bool:
        """Whether the training of a stage is complete."""
        return (self.stage(name) / "stage.json").is_file()

    def weights(self, name: str) -> Path:
        """Returns the path of the final weights of a stage.

        Raises:
            RunError: the training of the stage is not complete.
        """
        path = self.stage(name) / "model.safetensors"
        if not path.is_file():
            do = "resume the run: run the same command again"
            if self.stage_done(name):
                do = "the run was fetched without them (`blear fetch --weights` brings them), or they were deleted"
            raise RunError("this stage has no final weights", str(path), do)
        return path

    def update_info(self, **entries: Any) -> None:
        """Adds entries to run.json, or replaces them."""
        path = self.root / "run.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        write_text(path, json.dumps(known | entries, indent=1))

    @property
    def info(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            RunError: the file is missing or not JSON.
        """
        path = self.root / "run.json"
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot be read: {error}", str(path), "run the command of this run again") from error
