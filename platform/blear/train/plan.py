"""The plan of one stage, as each worker receives it: job, data and run folder. It can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blear.job.schema import Job, Stage
from blear.plugin.uses import degradations_of
from blear.storage.run_folder import RunFolder


def seed_runs(job: Job, run: RunFolder) -> dict[int, tuple[Job, RunFolder]]:
    """Returns the trainings of a job: seed -> (job with that seed alone, run folder of the seed).

    A job without `seeds` has one training, in the run folder itself. Each seed of `seeds` has a folder `seeds/SEED`.
    """
    if job.seeds is None:
        return {job.seed: (job, run)}
    return {seed: (job.model_copy(update={"seed": seed, "seeds": None}), run.of_seed(seed)) for seed in job.seeds}


@dataclass(frozen=True)
class StagePlan:
    """One stage to train.

    Attributes:
        job: the resolved job.
        stage: name of the stage.
        run: the run folder, on storage that every worker can access.
        prepared: name of each entry of the job's `data` -> folder or URL of its prepared shards.
        fingerprints: fingerprints of the stage's components (`plugins.fingerprint`) where the job was started.
    """

    job: Job
    stage: str
    run: RunFolder
    prepared: dict[str, str | Path]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Stage:
        """The stage's section of the job."""
        return self.job.stages[self.stage]

    @property
    def plugin_files(self) -> tuple[str, ...]:
        """One-file plugins of the job."""
        return tuple(self.job.plugins)

    @property
    def components(self) -> list[tuple[str, str]]:
        """(slot, full name) of each component that a worker builds."""
        stage = self.spec
        extra = [use for data in {stage.data, stage.validation_data} for use in self.job.data[data].extra]
        lists = (*extra, stage.augment, stage.degrade)
        names = {("degradation", use.use) for entries in lists for use in degradations_of(entries)}
        names |= stage.networks
        if stage.teacher is not None and stage.teacher.stage is not None:
            names |= self.job.stages[stage.teacher.stage].networks
        return sorted(names)
