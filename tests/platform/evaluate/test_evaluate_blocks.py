"""Evaluation in blocks, as the tasks of a cluster compute it: equal to the undivided evaluation bit for bit. No Ray."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from blear.contracts import ClipSpec
from blear.errors import PluginError
from blear.evaluate.blocks import BLOCK_BYTES, batches_per_block, divide
from blear.evaluate.on_ray import block_tasks
from blear.evaluate.on_ray.block_tasks import (
    EvaluationPlan,
    code_block,
    evaluate_block,
    finish_blocks,
    open_evaluator,
    read_blocks,
)
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job
from blear.storage.run_folder import RunFolder

JOB = """name: blocks
seeds: [3, 4]
data:
  faces: {use: faces/procedural, size: 32, subjects: {train: 2, dev: 3}, per_subject: 5, targets: [emotion]}
stages:
  all: &stage
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    batch_size: 8
    steps: 1
  blur_1: *stage
evaluate:
  clean: true
  sweep:
    - {use: gaussian_blur, label: soft, over: {severity: [1, 2]}}
    - {use: codec/jpeg, label: jpeg, over: {quality: [10]}}
  arms:
    one: {stage: all}
    bound: {stage: all, clean: true}
    experts: {stage: "blur_{severity}"}
  resamples: 20
  batch_size: 4
  temperature: train
  faces: 2
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> EvaluationPlan:
    """A run that was evaluated in one process."""
    root = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLEAR_STORAGE", str(root))
        (root / "job.yaml").write_text(JOB)
        job, catalog = read_job(root / "job.yaml")
        run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None)
        prepared = prepare_data(job, catalog)
    return EvaluationPlan(job, RunFolder(root / "runs" / "blocks"), prepared)


@pytest.mark.parametrize("size", [1, 3])
def test_tables_and_summary_do_not_depend_on_the_blocks(plan: EvaluationPlan, size: int, tmp_path: Path) -> None:
    evaluator = open_evaluator(plan)
    local = {name: read_predictions(plan.run.root / name) for name in ("predictions.parquet", "validation.parquet")}
    summary = read_summary(plan.run.root / "summary.json")
    passes = {"predictions.parquet": evaluator.blocks(), "validation.parquet": evaluator.validation_blocks("train")}
    files, coded = {}, {}
    for name, each in passes.items():
        blocks = list(divide(each, evaluator.count_batches, size))
        assert len(blocks) == len(each) * -(-(4 if name.startswith("p") else 3) // size)
        files[name] = [tmp_path / f"{name}-{n}.arrow" for n in range(len(blocks))]
        for n in reversed(range(len(blocks))):  # the order of the tasks has no effect
            key = evaluator.code_key(blocks[n])
            if key is not None and key not in coded:
                coded[key] = code_block(plan, blocks[n])
            result = evaluate_block(plan, blocks[n], files[name][n], coded.get(key))
            assert result.seconds > 0
    assert len(coded) == -(-4 // size), "one arm at one level of a codec; both seeds share its frames"
    if size == 1:
        for name, table in local.items():
            assert pa.concat_tables(read_blocks(files[name])).equals(table), name
        return
    markdown = finish_blocks(plan, files, {"runner": "ray", "hosts": {"a": 2}})
    for name, table in local.items():
        joined = read_predictions(plan.run.root / name)
        assert joined.equals(table, check_metadata=True), name
    assert read_summary(plan.run.root / "summary.json") == summary
    assert "Accuracy" in markdown
    info = json.loads((plan.run.root / "run.json").read_text())
    assert info["evaluation"] == {"runner": "ray", "hosts": {"a": 2}}
    assert not list(tmp_path.glob(".*")), "no partial file remains"


def test_the_folder_of_blocks_changes_with_the_weights_the_job_and_the_code(plan: EvaluationPlan) -> None:
    fixed = {("degradation", "mine"): {"version": "2"}}
    assert replace(plan, fingerprints=fixed).folder != plan.folder
    before = plan.folder
    assert before == plan.folder
    assert replace(plan, job=plan.job.model_copy(update={"seed": 9})).folder != before
    path = plan.run.of_seed(3).stage("all") / "stage.json"
    kept = path.read_text()
    path.write_text(kept + " ")
    assert plan.folder != before
    path.write_text(kept)


def test_a_node_with_another_component_is_refused(plan: EvaluationPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_tasks, "_opened", {})
    wrong = replace(plan, fingerprints={("head", "fer/emotion"): {"fer/emotion": "0:other"}})
    with pytest.raises(PluginError, match="plugin fer differs: version 0 where the job was started"):
        open_evaluator(wrong)


def test_blocks_are_bounded_in_samples_and_bytes() -> None:
    assert batches_per_block(64, ClipSpec(1, 1, 48, 48)) * 64 == 4096
    assert batches_per_block(64, ClipSpec(16, 3, 224, 224)) == 1
    assert batches_per_block(8, ClipSpec(300, 3, 112, 112), length=4) * 8 * 4 * 3 * 112 * 112 <= BLOCK_BYTES
