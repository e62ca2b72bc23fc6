"""A fixture with the plan of a small stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.storage.run_folder import RunFolder
from blear.train.plan import StagePlan


@pytest.fixture
def plan(repository: Path, storage: Path, tmp_path: Path):
    """plan("name", "stages.clean.steps=6", ...) -> the tiny clean-trained stage in a run folder of its own."""

    def make(name: str, *overrides: str) -> StagePlan:
        job, catalog = read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=overrides)
        return StagePlan(job, "clean", RunFolder(tmp_path / name), prepare_data(job, catalog, workers=1))

    return make
