"""The run folder: where everything that a run makes lies, and how a run is continued."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file at once or not at all."""
    write_bytes(path, text.encode())


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    job.yaml            the resolved job, full names
    run.json            versions, seeds, host, data, times
    splits.lock.json    digests of the samples of every split that was used
    stages/NAME/        log.jsonl, tensorboard/, checkpoints/, model.safetensors, stage.json (written last: done)
    predictions.parquet, summary.json, faces.npz, report.html; validation.parquet where temperatures are fitted
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> RunFolder:
        """An existing run.

        Raises:
            RunError: `root` is not a run folder.
        """
        if not (root / "job.yaml").is_file():
            raise RunError("not a run folder (no job.yaml in it)", str(root), "give the folder that `blear run` named")
        return cls(root)

    @classmethod
    def start(cls, root: Path, job_text: str, *, fresh: bool) -> RunFolder:
        """A new run, or an earlier one of the same job to continue.

        Raises:
            RunError: the folder holds another job.
        """
        folder = cls(root)
        if fresh and root.exists():
            if any(root.iterdir()) and not (root / "job.yaml").is_file():
                raise RunError("not a run folder, so --fresh does not delete it", str(root), "give another name")
            shutil.rmtree(root)
        if (root / "job.yaml").is_file() and (root / "job.yaml").read_text() != job_text:
            changed = sorted(set(job_text.splitlines()) ^ set((root / "job.yaml").read_text().splitlines()))
            raise RunError(
                "this run was started with another job; differing lines:\n    " + "\n    ".join(changed[:8]),
                str(root),
                "give the same command to continue it, --set name=OTHER for a new run, or --fresh to start over",
            )
        write_text(root / "job.yaml", job_text)
        return folder

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.root / "stages" / name

    def stage_done(self, name: str) -> bool:
        """Whether a stage was trained to its end."""
        return (self.stage(name) / "stage.json").is_file()

    def weights(self, name: str) -> Path:
        """Final weights of a stage.

        Raises:
            RunError: the stage was not trained to its end.
        """
        path = self.stage(name) / "model.safetensors"
        if not path.is_file():
            raise RunError(
                "this stage has no final weights", str(path), "continue the run: give the same command again"
            )
        return path

    def update_info(self, **entries: Any) -> None:
        """Adds entries to run.json."""
        path = self.root / "run.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        write_text(path, json.dumps(known | entries, indent=1))

    @property
    def info(self) -> dict[str, Any]:
        """Content of run.json.

        Raises:
            RunError: missing or not JSON.
        """
        path = self.root / "run.json"
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot be read: {error}", str(path), "give the command of this run again") from error
