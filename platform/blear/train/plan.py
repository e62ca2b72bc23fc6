"""What a worker is told: one stage of a job, and where its data and its run folder lie. Survives pickling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blear.job import Job, Stage
from blear.runfolder import RunFolder


@dataclass(frozen=True)
class StagePlan:
    """One stage to train.

    Attributes:
        job: the resolved job.
        stage: name of the stage.
        run: the run folder, on storage that every worker sees.
        prepared: the folder or URL of prepared shards of each entry of the job's `data`.
    """

    job: Job
    stage: str
    run: RunFolder
    prepared: dict[str, str | Path]

    @property
    def spec(self) -> Stage:
        """The stage's section of the job."""
        return self.job.stages[self.stage]

    @property
    def plugin_files(self) -> tuple[str, ...]:
        """One-file plugins of the job."""
        return tuple(self.job.plugins)
