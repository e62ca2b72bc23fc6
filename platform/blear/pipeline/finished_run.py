"""`blear.open`: a run folder, opened for reading. Opening it imports no torch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from blear.errors import RunError
from blear.evaluate.predictions import class_names, read_predictions
from blear.evaluate.summary import Summary, read_summary
from blear.job.reader import read_run_job
from blear.job.schema import Job
from blear.storage.root import storage_root
from blear.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas

    from blear.models.model import Model


class Run:
    """A run folder, opened for reading.

    Example:
        run = blear.open("runs/vlqr")
        run.summary.estimate("max-mix", "downscale", 8).value
        run.predictions.groupby("arm").found.mean()

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        """Opens a run folder.

        Raises:
            RunError: it is no run folder.
        """
        self._files = RunFolder.open(folder)
        self.folder = folder

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def job(self) -> Job:
        """The resolved job; of a search, that of its best trial and of its baselines."""
        return read_run_job(self.folder)

    @functools.cached_property
    def summary(self) -> Summary:
        """All results with their intervals.

        Raises:
            RunError: the run is not evaluated.
        """
        return read_summary(self.folder / "summary.json")

    @functools.cached_property
    def predictions(self) -> pandas.DataFrame:
        """The predictions table: one row for each arm, condition, severity, sample and frame.

        Columns are those of docs/evaluation.md. Of a class target, `truth` and `prediction` are class indices, and the
        attribute `attrs["classes"]` of the table has the names.

        Raises:
            RunError: the run is not evaluated.
        """
        table = read_predictions(self.folder / "predictions.parquet")
        frame: pandas.DataFrame = table.to_pandas(maps_as_pydicts="strict")
        frame.attrs["classes"] = class_names(table)
        return frame

    @property
    def report(self) -> Path:
        """Path of the report, a self-contained HTML page.

        Raises:
            RunError: there is none yet.
        """
        path = self.folder / "report.html"
        if not path.is_file():
            raise RunError("there is no report yet", str(path), f"run `blear report {self.folder}`")
        return path

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(self.job.stages)

    def model(self, stage: str | None = None) -> Model:
        """Loads the final weights of a stage; None: of the last stage.

        Raises:
            RunError: there is no such stage, or its training is not complete.
        """
        from blear.models.from_run import stage_model

        return stage_model(self.folder, stage)


def open_run(folder: str | Path) -> Run:
    """Opens a run folder, or a run of the storage folder by its name.

    Example:
        blear.open("runs/vlqr").model("joint")

    Raises:
        RunError: there is no such run.
    """
    path = Path(folder).expanduser()
    if not path.exists() and len(path.parts) == 1:
        path = storage_root() / "runs" / path
    return Run(path)
