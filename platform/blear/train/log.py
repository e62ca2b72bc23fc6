"""Logs of a stage: log.jsonl for the report, experiment trackers, audit files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from blear.errors import RunError
from blear.storage.durable import durable_file
from blear.train.trackers import ExperimentTracker


class StageLog:
    """log.jsonl of one stage. A run that resumes at step k deletes the lines of later steps.

    Args:
        folder: the stage's folder.
        start: the step at which the run resumes.
        trackers: receive the same values.

    Attributes:
        last_step: the last step of the deleted lines; `start` if there are none.
    """

    def __init__(self, folder: Path, start: int, trackers: Sequence[ExperimentTracker] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.trackers = folder / "log.jsonl", trackers
        lines = self.path.read_text().splitlines(keepends=True) if self.path.is_file() else []
        complete = {line: step for line in lines if (step := _step(line)) is not None}
        self.last_step = max([start, *complete.values()])
        with durable_file(self.path, self.path.with_name(".log.jsonl.partial")) as partial:
            partial.write_text("".join(line for line in lines if line in complete and complete[line] <= start))

    def write(self, step: int, **values: float) -> None:
        """Appends one line, and logs the values to each tracker.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            with self.path.open("a") as handle:
                handle.write(json.dumps({"step": step, **values}) + "\n")
            for tracker in self.trackers:
                tracker.log_metrics(step, values)
        except OSError as error:
            do = "free disk space or fix the storage, then give the same command: it continues"
            raise RunError(f"cannot be written: {error.strerror}", str(self.path), do) from error

    def __enter__(self) -> StageLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self.trackers:
            tracker.close()


def _step(line: str) -> int | None:
    """The step of a complete line; None for a line that a killed run left incomplete."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None


class Audit:
    """The samples that a worker used, one line a step; each attempt of each worker has a file."""

    def __init__(self, folder: Path, first: int, rank: int, world: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._head = {"first": first, "rank": rank, "world": world}
        name = f"from-{first:08d}-rank-{rank:04d}-of-{world:04d}-{time.time_ns()}.jsonl"
        self._file = (folder / name).open("w", buffering=1)

    def write(self, step: int, epochs_B: np.ndarray, samples_B: np.ndarray) -> None:
        """Appends the step (from 1), the time, and the epochs [B] and numbers [B] of its samples."""
        line = {"step": step, **self._head, "time": time.time()}
        self._file.write(json.dumps(line | {"epochs": epochs_B.tolist(), "samples": samples_B.tolist()}) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
