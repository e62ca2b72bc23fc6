"""Leakage: the split manifest of a run, and selection on the reported split."""

import json

import pytest

from blear.data.split_manifest import FILE, check_split_manifest
from blear.errors import JobError, RunError
from blear.job.leakage import selected_on_reported_split, trained_on_reported_split
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data

JOB = """name: locks
data:
  faces: {use: faces/procedural, size: 32, subjects: {train: 2, dev: 2}, per_subject: 2, targets: [valence]}
stages:
  first:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: vlqr/valence}
    optimizer: {lr: 0.01}
    steps: 1
    validate: {every: 1}
  second:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.1, start_from: {stage: first}}
    head: {use: vlqr/valence}
    optimizer: {lr: 0.01}
    steps: 1
evaluate:
  sweep: {use: downscale, over: {factor: [1]}}
  arms: {only: {stage: second}}
"""


SECOND = "data.second={use: faces/procedural, size: 32, targets: [valence]}"


@pytest.fixture
def read(tmp_path):
    """read("path=value", ...) -> the job."""
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    return lambda *overrides: read_job(file, overrides=overrides)


@pytest.mark.usefixtures("storage")
def test_the_first_evaluation_writes_the_split_manifest_and_other_data_is_an_error(read, tmp_path):
    job, catalog = read()
    prepared = prepare_data(job, catalog, workers=1)
    lock = check_split_manifest(job, tmp_path, prepared)
    assert {name: split.samples for name, split in lock.splits.items()} == {"faces/dev": 4, "faces/train": 4}
    text = (tmp_path / FILE).read_text()
    assert check_split_manifest(job, tmp_path, prepared) == lock
    assert (tmp_path / FILE).read_text() == text
    other = prepare_data(*read("data.faces.seed=5"), workers=1)
    with pytest.raises(RunError, match="faces/dev holds samples of the same keys with other pictures or labels"):
        check_split_manifest(job, tmp_path, other)
    fewer = prepare_data(*read("data.faces.per_subject=1"), workers=1)
    with pytest.raises(RunError, match="faces/dev holds other samples: 2 of them, 4 when the run was started") as error:
        check_split_manifest(job, tmp_path, fewer)
    assert FILE in error.value.do
    known = json.loads(text)
    known["splits"]["faces/dev"]["use"] = "fer/fer2013"
    (tmp_path / FILE).write_text(json.dumps(known))
    with pytest.raises(RunError, match="faces/dev is faces/procedural, but was fer/fer2013 when"):
        check_split_manifest(job, tmp_path, prepared)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        check_split_manifest(job, tmp_path, prepared)


@pytest.mark.parametrize("choice", ["{every: 1, keep: best}", "{every: 1, patience: 3}"])
def test_selection_on_the_reported_split_is_an_error_unless_allowed(read, choice):
    """The evaluated stage starts from the first stage, whose weights were selected on these samples."""
    override = f"stages.first.validate={choice}"
    with pytest.raises(JobError, match="1 error in the job") as error:
        read(override)
    assert "stages.first.validate: the weights of stage 'first' are selected on 'dev'" in str(error.value)
    assert "evaluate.shares_validation: true" in str(error.value)
    job, _ = read(override, "evaluate.shares_validation=true")
    assert selected_on_reported_split(job) == ["first"]
    other, _ = read(override, "evaluate.split=test")
    assert selected_on_reported_split(other) == []
    validate = f"{choice[:-1]}, data: second}}"
    elsewhere, _ = read(SECOND, f"stages.first.validate={validate}")
    assert selected_on_reported_split(elsewhere) == []


def test_training_on_the_reported_split_is_an_error(read):
    """Stage `second` is evaluated, and starts from `first`."""
    for name in ("first", "second"):
        with pytest.raises(JobError, match=f"stage '{name}' is trained on 'dev', the split that `evaluate` reports on"):
            read(f"stages.{name}.split=dev")
    job, _ = read("stages.first.split=dev", "stages.second.backbone.start_from=null")
    assert trained_on_reported_split(job) == []
    elsewhere, _ = read(SECOND, "stages.first.split=dev", "stages.first.data=second", "evaluate.data=faces")
    assert trained_on_reported_split(elsewhere) == []


def test_monitoring_and_unevaluated_stages_are_no_selection(read):
    assert selected_on_reported_split(read()[0]) == []
    unused, _ = read("stages.second.backbone.start_from=null", "stages.first.validate={every: 1, keep: best}")
    assert selected_on_reported_split(unused) == []
