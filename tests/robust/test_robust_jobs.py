"""jobs/robust_faces.yaml: its profiles, its teachers, its limits."""

from __future__ import annotations

import pytest

from blear.job.reader import read_job


@pytest.mark.parametrize("profile", [None, "small", "release", "long", "gpu", "votes", "private", "demo"])
def test_every_profile_is_valid_and_the_job_is_executable(repository, profile) -> None:
    job, _ = read_job(repository / "jobs" / "robust_faces.yaml", profile=profile)
    assert list(job.stages) == ["small", "clean", "robust", "refined", "third"]
    assert (repository / "jobs" / "robust_faces.yaml").stat().st_mode & 0o100


def test_the_profile_of_the_shipped_weights(repository) -> None:
    job, _ = read_job(repository / "jobs" / "robust_faces.yaml", profile="small")
    release, _ = read_job(repository / "jobs" / "robust_faces.yaml", profile="release")
    assert [stage.steps for stage in release.stages.values()] == [2688, 5152, 10080, 13440, 13440]
    assert [stage.steps for stage in job.stages.values()] == [2688, 1344, 2464, 2464, 2464]
    taught = {name: stage.teacher.stage for name, stage in job.stages.items() if stage.teacher is not None}
    assert taught == {"robust": "clean", "refined": "robust", "third": "refined"}
    assert all(stage.validate_ is None for stage in job.stages.values())  # no weights are selected on a tested split
    assert job.stages["refined"].degrade == job.stages["robust"].degrade
