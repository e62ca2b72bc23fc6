"""What a stage writes while it trains: log.jsonl for the report, trackers for people who watch, audit files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from blear.errors import RunError
from blear.train.trackers import Tracker


class StageLog:
    """Log of one stage; continuing at step k drops what an interrupted run wrote after k.

    Attributes:
        undone: the last step that is dropped so, which is done again; `start` if none is.
    """

    def __init__(self, folder: Path, start: int, trackers: Sequence[Tracker] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.trackers = folder / "log.jsonl", trackers
        lines = self.path.read_text().splitlines(keepends=True) if self.path.is_file() else []
        whole = {line: step for line in lines if (step := _step(line)) is not None}
        self.undone = max([start, *whole.values()])
        partial = self.path.with_name(".log.jsonl.partial")
        partial.write_text("".join(line for line in lines if line in whole and whole[line] <= start))
        partial.replace(self.path)

    def write(self, step: int, **values: float) -> None:
        """One line, and one point in each tracker for each value.

        Raises:
            RunError: it cannot be written.
        """
        try:
            with self.path.open("a") as handle:
                handle.write(json.dumps({"step": step, **values}) + "\n")
            for tracker in self.trackers:
                tracker.scalars(step, values)
        except OSError as error:
            do = "make room or mend it, then give the same command: it continues"
            raise RunError(f"cannot be written: {error.strerror}", str(self.path), do) from error

    def __enter__(self) -> StageLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self.trackers:
            tracker.close()


def _step(line: str) -> int | None:
    """The step of a whole line; None for what a killed run left of one."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None


class Audit:
    """Which samples a worker used at each step, one line a step, in a file for each attempt of each worker."""

    def __init__(self, folder: Path, first: int, rank: int, world: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._head = {"first": first, "rank": rank, "world": world}
        name = f"from-{first:08d}-rank-{rank:04d}-of-{world:04d}-{time.time_ns()}.jsonl"
        self._file = (folder / name).open("w", buffering=1)

    def write(self, step: int, epochs_B: np.ndarray, samples_B: np.ndarray) -> None:
        """One line: the step (from 1), when, and the samples by epoch and number."""
        line = {"step": step, **self._head, "time": time.time()}
        self._file.write(json.dumps(line | {"epochs": epochs_B.tolist(), "samples": samples_B.tolist()}) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
