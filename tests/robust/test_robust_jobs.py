"""jobs/robust_faces.yaml: its profiles, its teachers, its limits."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from blear.cli import cli
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


@pytest.mark.parametrize("name", ["robust_faces", "robust_ablations"])
def test_stages_with_the_second_head_can_be_built(repository, tmp_path, monkeypatch, name) -> None:
    """`blear check` builds each stage and computes one step, on a few rows of both files."""
    monkeypatch.chdir(tmp_path)
    usages = [*["Training"] * 12, "PublicTest"]
    pixels = " ".join(["7"] * 48 * 48)
    faces = ["emotion,pixels,Usage", *(f"{row % 7},{pixels},{usage}" for row, usage in enumerate(usages))]
    kinds = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = [
        f"Usage,Image name,{kinds}",
        *(f"{usage},fer{row:07d}.png,9,1{',0' * 8}" for row, usage in enumerate(usages)),
    ]
    (tmp_path / "faces.csv").write_text("\n".join(faces) + "\n")
    (tmp_path / "votes.csv").write_text("\n".join(votes) + "\n")
    changes = ("data.faces.source=faces.csv", "data.faces.votes=votes.csv", "stages.*.backbone.width=0.125")
    job = ["check", str(repository / "jobs" / f"{name}.yaml"), "--profile", "votes"]
    done = CliRunner().invoke(
        cli, [*job, *(part for one in changes for part in ("--set", one))], catch_exceptions=False
    )
    assert "correct" in done.output
