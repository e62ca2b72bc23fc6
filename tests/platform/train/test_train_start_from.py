"""Initial weights from files: renamed, reshaped, transposed, reported; a changed file is an error."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_models import blob, net
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn

from blear.cluster.required_files import check_job, find_missing
from blear.cluster.upload import plan_upload
from blear.errors import DataError, JobError, RunError
from blear.job.reader import dump_job, read_job
from blear.job.schema import StartFrom
from blear.pipeline.resume import open_run
from blear.storage.run_folder import RunFolder, write_text
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.transfer import check_transfer, copy_weights, load_initial_weights
from blear.train.worker import LocalWorker
from blear.weights.rename_keys import rename_keys

JOB = """name: small
data:
  faces: {use: faces/procedural, size: 48, color: luma, targets: [valence]}
stages:
  only:
    data: faces
    backbone: {use: cnn5x5, width: 0.1, start_from: {file: weights/start.pth, take: [conv1]}}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 3
"""


def value(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32))


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 1)
        self.norm, self.fc6 = nn.BatchNorm2d(3), nn.Linear(12, 4)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job beside a weight file, outside the current folder."""
    folder = tmp_path / "work"
    (folder / "weights").mkdir(parents=True)
    torch.save({"conv1.weight": value(6, 1, 5, 5)}, folder / "weights" / "start.pth")
    (folder / "job.yaml").write_text(JOB)
    return folder / "job.yaml"


def problems(path: Path, **options) -> str:
    with pytest.raises(JobError) as caught:
        read_job(path, **options)
    return str(caught.value).replace(str(path), "JOB")


def test_the_first_matching_pattern_renames() -> None:
    names = ["features.0.weight", "features.0.bias", "features.2.weight", "32.1.weight", "other"]
    patterns = {"features.0.*": "conv1.*", "features.*.weight": "layer*.w", "32.1.*": "fc6.*", "other": "else"}
    assert list(rename_keys(names, patterns).values()) == [
        "conv1.weight",
        "conv1.bias",
        "layer2.w",
        "fc6.weight",
        "else",
    ]
    assert rename_keys(["a.b.c"], {"*.*": "*/*"}) == {"a.b.c": "a/b.c"}
    assert rename_keys(["module.x"], {"module.*": "*"}) == {"module.x": "x"}
    assert rename_keys(["a+b"], {"a+*": "sum"}) == {"a+b": "sum"}


def test_a_rename_without_effect_or_with_a_collision_is_an_error() -> None:
    with pytest.raises(JobError, match=r"rename: 'conv9\.\*' matches no name") as caught:
        rename_keys(["conv1.weight"], {"conv9.*": "x.*"})
    assert "conv1.weight" in caught.value.do
    with pytest.raises(JobError, match="'a' and 'b' both become 'b'"):
        rename_keys(["a", "b"], {"a": "b"})


def test_a_caffemodel_initialises_a_network_with_other_names(tmp_path: Path) -> None:
    """Weights are transposed, renamed and reshaped; weights without a place are reported."""
    kernel, one, matrix = value(2, 1, 3, 3), value(3, 2), value(4, 12)
    mean, variance = value(3, seed=1), value(3, seed=2).square()
    layers = [
        ("c1", "Convolution", [blob(kernel.numpy()), blob(value(2).numpy())]),
        ("c2", "Convolution", [blob(one[:, :, None, None].numpy())]),
        ("bn", "BatchNorm", [blob(mean.numpy()), blob(variance.numpy()), blob(np.ones(1, np.float32))]),
        ("fc6", "InnerProduct", [blob(matrix.numpy())]),
        ("fc8", "InnerProduct", [blob(value(9, 4).numpy())]),
    ]
    file = tmp_path / "net.caffemodel"
    file.write_bytes(net(*layers))
    trunk = Trunk()
    before = trunk.fc6.bias.detach().clone()
    spec = StartFrom(file=str(file), layout="matlab", rename={"c1.*": "conv1.*", "c2.*": "conv2.*", "bn.*": "norm.*"})
    report = load_initial_weights(trunk, spec, RunFolder(tmp_path))
    assert report is not None
    assert torch.equal(trunk.conv1.weight, kernel.transpose(2, 3))
    assert torch.equal(trunk.conv2.weight[:, :, 0, 0], one)
    assert torch.equal(trunk.norm.running_mean, mean)
    assert torch.equal(trunk.norm.running_var, variance)
    assert torch.equal(trunk.fc6.weight, matrix.reshape(4, 3, 2, 2).transpose(2, 3).reshape(4, 12))
    assert torch.equal(trunk.fc6.bias, before)
    found = report.as_dict()
    assert found["from"] == str(file)
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found["taken"] == [
        "conv1.weight", "conv1.bias", "conv2.weight", "norm.running_mean", "norm.running_var", "fc6.weight",
    ]  # fmt: skip
    assert found["renamed"]["norm.running_mean"] == "bn.running_mean"
    assert found["reordered"] == ["conv1.weight", "conv2.weight", "fc6.weight"]
    assert found["skipped"]["fc8.weight"] == "not in this backbone"
    assert found["skipped"]["fc6.bias"] == "initialised: not in the source"
    assert "reshaped" not in found


@pytest.mark.parametrize(
    ("given", "own", "taken"),
    [
        ((4, 12), (4, 3, 2, 2), True),
        ((4, 3, 2, 2), (4, 12), True),
        ((1, 1, 4, 12), (4, 12), True),
        ((4,), (1, 4, 1, 1), True),
        ((12, 4), (4, 12), False),
        ((4, 12), (3, 4, 2, 2), False),
        ((2, 24), (4, 3, 2, 2), False),
        ((4, 2, 3, 2), (4, 3, 2, 2), False),
    ],
)
def test_shapes_agree_if_the_numbers_keep_their_order(
    given: tuple[int, ...], own: tuple[int, ...], taken: bool
) -> None:
    module = nn.ParameterDict({"w": nn.Parameter(torch.zeros(own)), "x": nn.Parameter(torch.zeros(1))})
    weights = {"w": value(*given), "x": torch.ones(1)}
    report = copy_weights(module, weights, ["*"], "file")
    assert report.taken == (["w", "x"] if taken else ["x"])
    if taken:
        assert torch.equal(module["w"].detach().flatten(), weights["w"].flatten())
        assert report.reshaped == {"w": str(given)}
    else:
        assert report.skipped == {"w": f"shape {given}, here {own}"}


def test_exactly_one_source_is_given(job: Path) -> None:
    both = "stages.only.backbone.start_from={stage: only, file: weights/start.pth}"
    assert "give `stage` or `file`, one of them" in problems(job, overrides=[both])
    assert "give `stage` or `file`" in problems(job, overrides=["stages.only.backbone.start_from={take: [a]}"])
    wrong = "stages.only.backbone.start_from={stage: only, format: torch}"
    assert "format, layout and sha256 belong to `file`" in problems(job, overrides=[wrong])
    stars = "stages.only.backbone.start_from.rename={'a*': 'b**'}"
    assert "in the new name no more than in the pattern" in problems(job, overrides=[stars])


def test_a_file_of_null_starts_from_random_weights(
    plan, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The job keeps the other keys of `start_from`; the stage prints that it starts from random weights."""
    read, _ = read_job(job, overrides=["stages.only.backbone.start_from.file=null"])
    spec = read.stages["only"].backbone.start_from
    assert spec is not None
    assert (spec.file, spec.stage, spec.sha256, spec.take) == (None, None, None, ["conv1"])
    (tmp_path / "resolved.yaml").write_text(dump_job(read))
    assert read_job(tmp_path / "resolved.yaml")[0] == read
    still = ("stages.clean.steps=1", "stages.clean.optimizer={use: sgd, lr: 1.0e-30}")
    plain, null = plan("plain", *still), plan("null", *still, "stages.clean.backbone.start_from={file: null}")
    for one in (plain, null):
        train_stage(one, LocalWorker(torch.device("cpu")))
    ours, theirs = (load_file(one.run.weights("clean")) for one in (null, plain))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert "stage clean: no weight file given, so it starts from random weights" in capsys.readouterr().err
    assert json.loads((null.run.stage("clean") / "stage.json").read_text())["transfer"] is None


def test_a_missing_file_with_a_known_digest_is_no_random_start(plan, tmp_path: Path) -> None:
    known = plan("known", f"stages.clean.backbone.start_from={{file: null, sha256: {'a' * 64}}}")
    with pytest.raises(DataError, match="the file of the initial weights is missing, SHA-256 aaaa"):
        train_stage(known, LocalWorker(torch.device("cpu")))
    spec = known.spec.backbone.start_from
    assert spec is not None
    with pytest.raises(DataError, match="is missing"):
        check_transfer(Trunk(), spec, None)


def test_a_file_path_is_relative_to_the_job_and_its_digest_is_kept(job: Path, tmp_path: Path) -> None:
    read, _ = read_job(job)
    spec = read.stages["only"].backbone.start_from
    file = job.parent / "weights" / "start.pth"
    assert spec is not None
    assert (spec.file, spec.sha256) == (str(file), hashlib.sha256(file.read_bytes()).hexdigest())
    again = tmp_path / "resolved.yaml"
    again.write_text(dump_job(read))
    assert read_job(again)[0] == read
    text = problems(job, overrides=["stages.only.backbone.start_from.file=weights/none.pth"])
    assert "backbone.start_from.file: no such file: weights/none.pth (relative to the job file)" in text
    file.unlink()
    assert "JOB:7:54: stages.only.backbone.start_from.file: no such file: weights/start.pth" in problems(job)


def test_another_file_is_another_run(job: Path, tmp_path: Path) -> None:
    first, _ = read_job(job)
    run = open_run(first, tmp_path / "run", fresh=False)
    open_run(read_job(job)[0], run.root, fresh=False)
    write_text(run.stage("only") / "stage.json", "{}")
    file = job.parent / "weights" / "start.pth"
    torch.save({"conv1.weight": value(6, 1, 5, 5, seed=1)}, file)
    with pytest.raises(RunError, match=r"stages.only.backbone.start_from.sha256: the run has [0-9a-f]{57}"):
        open_run(read_job(job)[0], run.root, fresh=False)
    (tmp_path / "resolved.yaml").write_text(dump_job(first))
    assert "sha256: the file is another one: its SHA-256 is " in problems(tmp_path / "resolved.yaml")
    spec = first.stages["only"].backbone.start_from
    assert spec is not None
    with pytest.raises(DataError, match="another file than the job's") as caught:
        load_initial_weights(Trunk(), spec, RunFolder(tmp_path))
    assert "every node needs the same one" in caught.value.do


def test_a_stage_trains_from_a_file_and_reports_it(plan, tmp_path: Path) -> None:
    """At a learning rate near 0 the final weights equal those of the file."""
    still = ("stages.clean.steps=1", "stages.clean.optimizer={use: sgd, lr: 1.0e-30}")
    shape = tuple(plan("shape", *still).spec.backbone.params.items())
    assert dict(shape)["width"] == 0.0625
    conv1 = value(4, 1, 5, 5)
    save_file({"features.weight": conv1, "features.bias": value(4)}, tmp_path / "start.safetensors")
    source = f"{{file: {tmp_path / 'start.safetensors'}, rename: {{'features.*': 'conv1.*'}}, take: [conv1]}}"
    started = plan("started", *still, f"stages.clean.backbone.start_from={source}")
    train_stage(started, LocalWorker(torch.device("cpu")))
    assert np.allclose(load_file(started.run.weights("clean"))["backbone.conv1.weight"], conv1.numpy())
    report = json.loads((started.run.stage("clean") / "stage.json").read_text())["transfer"]
    assert report["taken"] == ["conv1.bias", "conv1.weight"]
    assert report["renamed"] == {"conv1.bias": "features.bias", "conv1.weight": "features.weight"}
    assert report["from"] == str(tmp_path / "start.safetensors")


def test_a_take_pattern_without_a_match_stops_the_stage(plan, tmp_path: Path) -> None:
    save_file({"conv9.weight": value(1)}, tmp_path / "start.safetensors")
    source = f"stages.clean.backbone.start_from={{file: {tmp_path / 'start.safetensors'}, take: [conv1]}}"
    wrong: StagePlan = plan("wrong", source)
    with pytest.raises(RunError, match="start_from: 'conv1' took no weights"):
        train_stage(wrong, LocalWorker(torch.device("cpu")))


def test_weights_beside_the_job_must_be_uploaded(job: Path) -> None:
    checked = check_job(job, profile=None, overrides=())
    assert find_missing(checked, job, plan_upload(job.parent)) == []
    (job.parent / ".gitignore").write_text("*.pth\n")
    with pytest.raises(JobError, match="not uploaded") as caught:
        find_missing(checked, job, plan_upload(job.parent))
    assert caught.value.what.splitlines()[1:] == [f"    {job.parent / 'weights' / 'start.pth'}"]


def test_weights_that_only_the_cluster_has_are_a_warning(job: Path) -> None:
    elsewhere = "stages.only.backbone.start_from.file=/mnt/of-the-cluster/vgg.pth"
    checked = check_job(job, profile=None, overrides=(elsewhere,))
    (warning,) = find_missing(checked, job, plan_upload(job.parent))
    assert warning == (
        "stages.only.backbone.start_from.file: /mnt/of-the-cluster/vgg.pth is not uploaded; every node must have it at "
        "this path"
    )
    pinned = f"stages.only.backbone.start_from.sha256={'0' * 64}"
    check_job(job, profile=None, overrides=(elsewhere, pinned))
    with pytest.raises(JobError, match="the file is another one"):
        check_job(job, profile=None, overrides=(pinned,))
    assert "no such file" in problems(job, overrides=(elsewhere,))


def test_a_path_may_start_with_the_home_folder(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(job.parent / "weights"))
    read, _ = read_job(job, overrides=["stages.only.backbone.start_from.file=~/start.pth"])
    spec = read.stages["only"].backbone.start_from
    assert spec is not None
    assert spec.file == os.path.realpath(job.parent / "weights" / "start.pth")


def test_the_prefix_of_a_lightning_module_is_removed(tmp_path: Path) -> None:
    trunk = Trunk()
    state = {f"model.{name}": torch.ones_like(tensor) for name, tensor in trunk.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": value(3)}, "epoch": 3}, tmp_path / "last.ckpt")
    report = load_initial_weights(trunk, StartFrom(file=str(tmp_path / "last.ckpt"), take=["*"]), RunFolder(tmp_path))
    assert report is not None
    assert set(report.taken) == set(trunk.state_dict())
    assert report.renamed["conv1.weight"] == "model.conv1.weight"
    assert report.skipped == {"loss.weight": "not in this backbone"}
    assert bool((trunk.fc6.weight == 1).all())
    explicit = StartFrom(file=str(tmp_path / "last.ckpt"), take=["conv1"], rename={"model.*": "*"})
    assert load_initial_weights(Trunk(), explicit, RunFolder(tmp_path)) is not None


def test_another_prefix_is_named_with_its_remedy(tmp_path: Path) -> None:
    torch.save({f"encoder.{name}": tensor for name, tensor in Trunk().state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(RunError, match=r'names differ by a prefix: add `rename: \{"encoder\.\*": "\*"\}`'):
        load_initial_weights(Trunk(), StartFrom(file=str(tmp_path / "a.pth"), take=["*"]), RunFolder(tmp_path))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, wrong: float) -> None:
    state = Trunk().state_dict()
    state["conv2.weight"][0, 0] = wrong
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a.pth: conv2.weight: 1 of 6 values are NaN or infinite"):
        load_initial_weights(Trunk(), StartFrom(file=str(tmp_path / "a.pth"), take=["*"]), RunFolder(tmp_path))
    only = StartFrom(file=str(tmp_path / "a.pth"), take=["conv1"])
    assert load_initial_weights(Trunk(), only, RunFolder(tmp_path)) is not None


def test_weights_of_another_type_are_not_copied_in_silence(tmp_path: Path) -> None:
    """Quantised numbers without their scale, and the real part of complex ones, are other weights."""
    state, every = Trunk().state_dict(), StartFrom(file=str(tmp_path / "a"), take=["*"])
    for kind in ("int8", "complex64", "float8_e4m3fn"):
        torch.save(state | {"conv2.weight": state["conv2.weight"].to(getattr(torch, kind))}, tmp_path / "a")
        with pytest.raises(RunError, match=rf"convolutions random: conv2.weight \(type {kind}, here float32\)"):
            load_initial_weights(Trunk(), every, RunFolder(tmp_path))
    save_file({name: one.half() if one.is_floating_point() else one for name, one in state.items()}, tmp_path / "a")
    report = load_initial_weights(Trunk(), every, RunFolder(tmp_path))
    assert report is not None
    assert not report.skipped
    torch.save(state | {"fc6.weight": state["fc6.weight"].double() * 1e300}, tmp_path / "a")
    with pytest.raises(DataError, match=r"fc6.weight: 48 of 48 values are NaN or infinite"):
        load_initial_weights(Trunk(), every, RunFolder(tmp_path))
