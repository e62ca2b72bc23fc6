"""Initial weights of heads and whole stages, stages that are only loaded, and rename tables by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from blear.cluster.required_files import check_job
from blear.errors import JobError, RunError
from blear.evaluate.arms import evaluate_arms
from blear.evaluate.predictions import read_predictions
from blear.job.reader import dump_job, read_job
from blear.job.schema import StartFrom
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.plugin.discovery import load_plugins
from blear.report import build
from blear.storage.run_folder import RunFolder, write_text
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.transfer import load_initial_weights
from blear.train.worker import LocalWorker

JOB = """name: loaded
data:
  faces: {use: faces/procedural, size: 32, subjects: {train: 3, dev: 3}, per_subject: 8}
stages:
  first:
    data: faces
    backbone: {use: robust/plain_resnet, width: 0.125}
    heads: {emotion: {use: fer/emotion}, affect: {use: fer/affect}}
    optimizer: {lr: 0.01}
    steps: 2
    batch_size: 8
  whole:
    data: faces
    backbone: {use: robust/plain_resnet, width: 0.125}
    heads: {emotion: {use: fer/emotion}, affect: {use: fer/affect}}
    start_from: {stage: first}
    steps: 0
  parts:
    data: faces
    backbone: {use: robust/plain_resnet, width: 0.125, start_from: {stage: first}}
    head: {use: fer/affect, start_from: {stage: first, rename: {"affect.*": "*"}, take: ["linear.*"]}}
    optimizer: {lr: 0.01}
    steps: 1
    batch_size: 8
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {trained: {stage: first}, loaded: {stage: whole}}
  resamples: 10
  faces: 1
"""


@pytest.fixture
def job(tmp_path: Path, storage: Path):
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    return lambda *overrides: read_job(file, overrides=overrides)


def train(job, catalog, root: Path, *names: str) -> RunFolder:
    run = RunFolder(root)
    prepared = prepare_data(job, catalog, workers=1)
    for name in names:
        train_stage(StagePlan(job, name, run, prepared), LocalWorker(torch.device("cpu")))
    return run


def test_a_loaded_stage_has_the_weights_of_its_source_and_is_tested_and_reported(job, tmp_path: Path, capsys) -> None:
    read, catalog = job()
    dry_run(read, catalog, data_facts(read, catalog)[0])
    run = train(read, catalog, tmp_path / "run", "first", "whole", "parts")
    first, whole, parts = (load_file(run.weights(name)) for name in ("first", "whole", "parts"))
    assert first.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in first.items())  # batch statistics too
    assert any("running_mean" in name for name in first)
    record = json.loads((run.stage("whole") / "stage.json").read_text())
    assert (record["steps"], record["trainable"], len(record["transfer"]["taken"])) == (0, 0, len(first))
    assert not (run.stage("whole") / "checkpoints").exists()
    own = json.loads((run.stage("parts") / "stage.json").read_text())
    assert own["head_transfers"]["head"]["taken"] == ["linear.bias", "linear.weight"]
    assert not torch.equal(parts["head.linear.weight"], first["head.affect.linear.weight"])  # one step later
    printed = capsys.readouterr().err
    assert f"stage whole: the model takes {len(first)} tensors from first" in printed
    assert "stage parts: head takes 2 tensors from first; left: emotion.linear.bias (not asked for)" in printed
    write_text(run.root / "job.yaml", dump_job(read))
    run.update_info(name="loaded", seed=0)
    evaluate_arms(read, catalog, run, prepare_data(read, catalog, workers=1), torch.device("cpu"))
    table = read_predictions(run.root / "predictions.parquet").to_pandas()
    trained, loaded = (table[table["arm"] == arm].reset_index() for arm in ("trained", "loaded"))
    np.testing.assert_array_equal(trained["prediction"], loaded["prediction"])
    page = build(run.root).read_text()
    assert "Learning curve of first" in page
    assert "Learning curve of whole" not in page


def test_a_published_file_is_loaded_and_must_give_every_parameter(job, tmp_path: Path) -> None:
    read, catalog = job()
    run = train(read, catalog, tmp_path / "run", "first")
    weights = {f"net.{name}": value for name, value in load_file(run.weights("first")).items()}
    save_file(weights, tmp_path / "published.safetensors")
    source = "stages.whole.start_from={file: published.safetensors, rename: {'net.*': '*'}}"
    read, catalog = job(source)
    dry_run(read, catalog, data_facts(read, catalog)[0])
    loaded = train(read, catalog, tmp_path / "other", "whole")
    assert all(torch.equal(v, weights[f"net.{n}"]) for n, v in load_file(loaded.weights("whole")).items())
    paths = check_job(tmp_path / "job.yaml", profile=None, overrides=[source]).paths
    assert ("stages.whole.start_from.file", "published.safetensors") in paths
    save_file({n: v for n, v in weights.items() if "affect" not in n}, tmp_path / "published.safetensors")
    read, catalog = job(source)
    with pytest.raises(
        RunError, match=r"no values from a file or stage: head\.affect\.linear\.weight, head\.affect\.linear\.bias"
    ):
        train(read, catalog, tmp_path / "third", "whole")
    with pytest.raises(JobError, match=r"no values from a file or stage: head\.affect\.linear\.weight"):
        dry_run(read, catalog, data_facts(read, catalog)[0])
    read, catalog = job("stages.whole.start_from={file: null}")
    with pytest.raises(RunError, match="only loaded, but no weight file is given"):
        train(read, catalog, tmp_path / "fourth", "whole")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.whole.optimizer={lr: 0.1}", "is only loaded; leave out: optimizer"),
        ("stages.whole.start_from=null", "is only loaded; give `start_from`"),
        ("stages.first.optimizer=null", "give an `optimizer`, or `steps: 0`"),
        ("stages.parts.head.start_from.stage=parts", "there is no earlier stage 'parts'"),
        ("stages.parts.backbone.start_from.rename=caffe", "there is no rename table 'caffe'; known: none"),
        ("stages.whole.start_from.rename=caffe", "there is no rename table 'caffe'; known: vgg_face_fer2013"),
    ],
)
def test_mistakes_are_named(job, override: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        job(override)
    assert message in str(caught.value)


def test_convolutions_that_stay_random_are_an_error_unless_partial(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3), nn.Linear(4, 3))
    weights = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 5, 3)).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    spec = {"file": str(tmp_path / "w.safetensors")}
    with pytest.raises(RunError) as caught:
        load_initial_weights(module, StartFrom(**spec), RunFolder(tmp_path))
    assert "leaves convolutions random: 2.weight (shape (5, 2, 3, 3), here (2, 2, 3, 3))" in str(caught.value)
    report = load_initial_weights(module, StartFrom(**spec, partial=True), RunFolder(tmp_path))
    assert report is not None
    assert "0.weight" in report.taken
    assert load_initial_weights(module, StartFrom(**spec, take=["0", "1"]), RunFolder(tmp_path)) is not None


def test_named_tables_are_resolved_and_rename_every_layer(tmp_path: Path, storage: Path) -> None:
    """The networks' own weights, written under the names of the published files, give the same outputs again."""
    catalog = load_plugins()
    tables = {
        name: component.component.rename_tables
        for name, component in catalog.components["backbone"].items()
        if component.component.rename_tables
    }
    assert {table for own in tables.values() for table in own} >= {
        "vgg_face_caffe", "vgg_face_converted", "vgg_face_fer2013", "resnet_caffe", "densenet_torchvision",
    }  # fmt: skip
    from blear.contracts import BuildContext, ClipSpec

    registered = catalog.get("backbone", "fer/vgg_face")
    context = BuildContext(0, ClipSpec(1, 3, 48, 48))
    build_one = lambda: registered.build({"width": 0.0625}, context).eval()  # noqa: E731
    torch.manual_seed(1)
    one, other = build_one(), build_one()
    theirs = {}
    for name, value in one.state_dict().items():
        layer, _, key = name.rpartition(".")
        known = {
            ours.removesuffix(".*"): file.removesuffix(".*")
            for file, ours in tables["fer/vgg_face"]["vgg_face_caffe"].items()
        }
        theirs[f"{known.get(layer, layer)}.{key}"] = value
    save_file(theirs, tmp_path / "vgg.safetensors")
    (tmp_path / "job.yaml").write_text(
        JOB.replace(
            "{use: robust/plain_resnet, width: 0.125}",
            "{use: fer/vgg_face, width: 0.0625, start_from: {file: vgg.safetensors, rename: vgg_face_caffe}}",
            1,
        )
    )
    job, _ = read_job(tmp_path / "job.yaml")
    spec = job.stages["first"].backbone.start_from
    assert spec is not None
    assert spec.rename["conv1_1.*"] == "features.0.*"
    report = load_initial_weights(other, spec, RunFolder(tmp_path))
    assert report is not None
    assert len(report.taken) == len(one.state_dict())
    frames = torch.rand(2, 1, 3, 48, 48)
    assert all(torch.equal(a, b) for a, b in zip(one(frames).values(), other(frames).values(), strict=True))
