"""`blear check` sends a blank clip through every chain: sizes that do not fit are known before anything is prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.errors import JobError
from blear.job.reader import read_job
from blear.pipeline.dry_run import data_shapes, dry_run

JOB = """name: sizes
data:
  faces: {use: faces/procedural, size: 24, color: luma, targets: [valence]}
  others: {use: hf/dataset, source: SOURCE}
stages:
  clean: &stage
    data: faces
    degrade: [{use: downscale, factor: 2}]
    backbone: {use: cnn5x5, width: 0.05}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 4
  more:
    <<: *stage
    augment: [{use: random_crop, size: 16}]
evaluate:
  split: dev
  data: faces
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {one: {stage: clean}, two: {stage: more}}
"""


@pytest.fixture
def job(tmp_path: Path):
    """Writes the job after replacing texts."""

    def write(*changes: tuple[str, str]) -> Path:
        text = JOB.replace("SOURCE", str(tmp_path))
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return path

    return write


def found(path: Path) -> list[str]:
    """The problems of a job, one a line."""
    read, catalog = read_job(path)
    with pytest.raises(JobError) as caught:
        dry_run(read, catalog, data_shapes(read, catalog)[0])
    return caught.value.what.splitlines()


def test_stages_with_unsuitable_frames_are_reported(job) -> None:
    problems = found(job(("{use: downscale, factor: 2}", "{use: random_crop, size: 20}, {use: random_crop, size: 22}")))
    assert [line for line in problems if line.startswith("stages.")] == [
        "stages.clean: corruptions/random_crop: a crop of 22 x 22 does not fit into frames of 20 x 20",
        "stages.more: corruptions/random_crop: a crop of 20 x 20 does not fit into frames of 16 x 16",
    ]


def test_conditions_are_checked_at_the_frame_size_of_each_arm(job) -> None:
    crop = "after: [{use: random_crop, size: 20}]"
    [line, _] = found(job(("over: {factor: [1, 2]}", f"over: {{factor: [2]}}, {crop}")))
    assert line.startswith("evaluate.sweep (corruptions/downscale, factor 2): ")
    assert line.endswith("corruptions/random_crop: a crop of 20 x 20 does not fit into frames of 16 x 16")


def test_a_valid_job_passes_and_missing_data_is_reported(job, blear) -> None:
    path = job(("    data: faces\n    degrade: [{use: downscale", "    data: others\n    degrade: [{use: downscale"))
    done = blear("check", path)
    assert done.returncode == 0, done.stderr
    assert "data others: frames not checked (" in done.stdout
    assert "correct; 2 stages" in done.stdout


def test_check_and_run_fail_before_training(job, blear, storage: Path) -> None:
    path = job(("{use: downscale, factor: 2}", "{use: random_crop, size: 30}"))
    for command in ("check", "run"):
        done = blear(command, path)
        assert done.returncode == 2, done.stdout
        assert (
            "stages.clean: corruptions/random_crop: a crop of 30 x 30 does not fit into frames of 24 x 24"
            in done.stderr
        )
    assert not list(storage.glob("runs/sizes/stages/*"))


BUG = """from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class Bug:
    def __init__(self, params, context):
        pass

    def draw(self, keys):
        return {}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW / int("one")

    def levels(self):
        return []


@hookimpl
def register_degradations():
    return [Component("bug", "Has one", Params, Bug)]
"""


def test_an_exception_of_a_component_is_one_line_with_its_position(job, tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text(BUG)
    path = job(
        ("data:\n  faces", "plugins: [bug.py]\ndata:\n  faces"), ("{use: downscale, factor: 2}", "{use: bug/bug}")
    )
    line = f"ValueError: invalid literal for int() with base 10: 'one' ({tmp_path / 'bug.py'}, line 15)"
    assert found(path)[:2] == [f"stages.clean: {line}", f"stages.more: {line}"]
