"""A job of two sweeps and clean frames: one model, experts of one parameter, and a bound; from training to report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from blear.errors import DataError, JobError
from blear.evaluate.arms import evaluate_arms
from blear.evaluate.mistakes import MAX_MISTAKES, worst_mistakes_by_arm
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import dump_job, read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import evaluate_run, run_job
from blear.storage.run_folder import RunFolder

JOB = """name: sweeps
data:
  faces: {use: faces/procedural, size: 32, subjects: {train: 2, dev: 4}, per_subject: 4, targets: [emotion]}
stages:
  all: &stage
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    batch_size: 8
    steps: 1
    validate: {every: 1, keep: best}
  blur_1: *stage
evaluate:
  shares_validation: true
  clean: true
  sweep:
    - {use: downscale, over: {factor: [1, 4]}}
    - {use: gaussian_blur, label: soft, over: {severity: [1, 2]}}
  arms:
    one: {stage: all}
    bound: {stage: all, clean: true}
    experts: {stage: "blur_{severity}"}
  resamples: 20
  temperature: train
  slices: [subject]
  equivalence: [{margin: 0.1, of: one, against: bound}]
  mce: one
  faces: 2
"""


@pytest.mark.usefixtures("storage")
def test_each_sweep_is_a_condition(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    job, catalog = read_job(tmp_path / "job.yaml")
    (tmp_path / "again.yaml").write_text(dump_job(job))
    assert read_job(tmp_path / "again.yaml")[0] == job
    root = run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None).parent
    table = read_predictions(root / "predictions.parquet").to_pandas()
    every = [("clean", 0), ("corruptions/downscale", 1), ("corruptions/downscale", 4), ("soft", 1), ("soft", 2)]
    expected = {(arm, *level) for arm in ("one", "bound") for level in every} | {("experts", "soft", 1)}
    counts = table.groupby(["arm", "condition", "severity"]).size()
    assert set(counts.index) == expected
    assert set(counts) == {16}
    by_place = {
        key: np.stack(rows.sort_values("sample")["probabilities"].to_list())
        for key, rows in table.groupby(["arm", "condition", "severity"])
    }
    clean = by_place["one", "clean", 0]
    np.testing.assert_allclose(by_place["one", "corruptions/downscale", 1], clean, atol=1e-5)
    assert np.abs(by_place["one", "soft", 2] - clean).max() > 1e-4
    for level in every:
        np.testing.assert_array_equal(by_place["bound", *level], clean)
    assert set(table[table["arm"] == "experts"]["stage"]) == {"blur_1"}
    summary = read_summary(root / "summary.json")
    assert summary.severities() == {"clean": [0], "corruptions/downscale": [1, 4], "soft": [1, 2]}
    validated = read_predictions(root / "validation.parquet").to_pandas().groupby(["arm", "stage", "condition"]).size()
    assert set(validated.index) == {("one", "all", "clean"), ("bound", "all", "clean"), ("experts", "blur_1", "soft")}
    assert set(validated) == {8}
    assert {c.temperature is not None for c in summary.calibration} == {True}
    assert len({c.temperature for c in summary.calibration}) == 2  # "one" and "bound" are the same model
    assert {s.group for s in summary.slices} == set(table["subject"])
    assert summary.equivalence[0].difference == pytest.approx(0, abs=1e-12)  # clean frames: the same answers
    assert next(s for s in summary.scalars if s.name == "mce" and s.arm == "one").value == pytest.approx(1)
    assert set(json.loads((root / "splits.lock.json").read_text())["splits"]) == {"faces/train", "faces/dev"}
    with np.load(root / "faces.npz") as faces:
        assert list(zip(faces["conditions"].tolist(), faces["severities"].tolist(), strict=True)) == every
        assert faces["frames"].shape[:2] == (2, 5)
        assert np.array_equal(faces["frames"][:, 0], faces["frames"][:, 1])
        places = [faces[f"mistake_{name}"].tolist() for name in ("samples", "conditions", "severities")]
        chosen = worst_mistakes_by_arm(
            read_predictions(root / "predictions.parquet"), ("clean", 0.0), MAX_MISTAKES
        ).values()
        wrong = {(m.sample, m.condition, m.severity) for parts in chosen for part in parts for m in part}
        assert set(zip(*places, strict=True)) == wrong
        assert faces["mistake_frames"].shape == (len(wrong), *faces["frames"].shape[2:])
        shown = dict(zip(faces["samples"].tolist(), faces["frames"], strict=True))
        for sample, *level, frame in zip(*places, faces["mistake_frames"], strict=True):
            if sample in shown:
                np.testing.assert_array_equal(frame, shown[sample][every.index(tuple(level))])
    sweeps = json.loads((root / "run.json").read_text())["sweeps"]
    assert [(s["condition"], s["parameter"], s["levels"]) for s in sweeps] == [
        ("corruptions/downscale", "factor", [1, 4]),
        ("soft", "severity", [1, 2]),
    ]
    page = (root / "report.html").read_text()
    assert "The weights of all, blur_1 were selected on dev, so the results are better than on new samples" in page
    assert evaluate_run(root).endswith(
        "The weights of all, blur_1 were selected on dev, so its results are optimistic."
    )
    assert read_summary(root / "summary.json") == summary
    for head in ('<th scope="col">clean</th>', "<summary>Under soft</summary>", "soft: Accuracy by severity"):
        assert head in page


def test_errors_in_a_list_of_sweeps_have_the_position(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        JOB.replace("severity: [1, 2]", "severity: [1, -2]").replace("factor: [1, 4]", "")
    )
    with pytest.raises(JobError) as error:
        read_job(tmp_path / "job.yaml")
    assert "job.yaml:18:24: evaluate.sweep.0.over: Value error, has 0 parameters; a sweep varies exactly one" in str(
        error.value
    )
    assert "evaluate.sweep.1.severity: Input should be" in str(error.value)
    assert "2 errors" in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("temperature=dev", "temperature is fitted on 'dev', the reported split"),
        ("mce=two", "there is no arm 'two' (equivalence, mce); known: one, bound, experts"),
        ("equivalence=[{margin: 0.1, of: one, against: all}]", "there is no arm 'all'"),
        ("mce=none.csv", "cannot be read"),
    ],
)
def test_options_of_the_evaluation_are_validated(tmp_path: Path, override: str, message: str) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(JobError) as error:
        read_job(tmp_path / "job.yaml", overrides=[f"evaluate.{override}"])
    assert message in str(error.value)


def test_reference_errors_become_part_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("mce: one", "mce: reference.csv"))
    (tmp_path / "reference.csv").write_text("condition,severity,error\nsoft,1,0.5\nsoft,2.5,0.75\n")
    job, _ = read_job(tmp_path / "job.yaml")
    assert job.evaluate is not None
    assert job.evaluate.mce == {"soft": {1.0: 0.5, 2.5: 0.75}}
    (tmp_path / "again.yaml").write_text(dump_job(job))
    assert read_job(tmp_path / "again.yaml")[0] == job


@pytest.mark.usefixtures("storage")
def test_an_arm_without_a_level_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("blur_{severity}", "blur_{severit}"))
    job, catalog = read_job(tmp_path / "job.yaml")
    run = RunFolder(tmp_path / "run")
    with pytest.raises(JobError, match=r"evaluate.arms.experts: no level has a stage.*blur_\{severit\}") as error:
        evaluate_arms(job, catalog, run, prepare_data(job, catalog), torch.device("cpu"))
    assert "condition, factor, severity" in str(error.value)


@pytest.mark.usefixtures("storage")
def test_frames_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    plugin = Path(__file__).parents[1] / "degrade_plugin.py"
    text = JOB.replace("data:\n", f"plugins: [{plugin}]\ndata:\n", 1)
    text = text.replace(
        "downscale, over: {factor: [1, 4]}", "degrade_plugin/times, label: times, over: {factor: [1, 1.0e+39]}"
    )
    (tmp_path / "job.yaml").write_text(text)
    job, catalog = read_job(tmp_path / "job.yaml")
    with pytest.raises(DataError, match=r"evaluate.sweep \(times, 1e\+39\): frames are not finite"):
        run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None)
