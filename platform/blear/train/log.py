"""Training metrics: log.jsonl for the report, TensorBoard for people who watch."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class StageLog:
    """Log of one stage; continuing at step k drops what an interrupted run wrote after k."""

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        lines = self.path.read_text().splitlines(keepends=True) if self.path.is_file() else []
        self.path.write_text(
            "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start)
        )
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, **values: float) -> None:
        """One line, and one TensorBoard point for each value."""
        with self.path.open("a") as handle:
            handle.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def __enter__(self) -> StageLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board.close()
