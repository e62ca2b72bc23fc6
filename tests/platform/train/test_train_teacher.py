"""Distillation from a frozen model: the loss against plain PyTorch, and its exactness in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import cross_entropy, kl_div

from blear.contracts import Batch, Categories, Values
from blear.errors import DataError, JobError
from blear.job.reader import read_job
from blear.job.schema import Teacher
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.train.feature_distillation import feature_loss, recorded_features
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.teacher import Distillation, TeacherOutputs
from blear.train.worker import LocalWorker

CPU = torch.device("cpu")
CLASSES = ("anger", "fear", "joy")


AXES = {"embedding": -1, "map": 2}


class Backbone(torch.nn.Module):
    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"embedding": 2 * frames}


class Linear(torch.nn.Module):
    """A model whose outputs are logits; `seen` is its last input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = torch.nn.Linear(16, 3), self

    def forward(self, frames_BTCHW: torch.Tensor) -> torch.Tensor:
        self.seen = frames_BTCHW
        return self.layer(frames_BTCHW.flatten(1))

    def decode(self, outputs: torch.Tensor) -> dict[str, Categories]:
        return {"emotion": Categories(CLASSES, outputs.softmax(-1)[:, None])}

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return cross_entropy(outputs, batch.targets["emotion"])


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    frames, clean = torch.rand(2, 5, 1, 1, 4, 4, generator=generator)
    return Batch(frames, clean, {"emotion": torch.tensor([0, 1, 2, 1, 0])})


@pytest.mark.parametrize(("sees", "temperature", "weight"), [("clean", 2.0, 0.5), ("degraded", 4.0, 0.9)])
def test_the_loss_is_that_of_hinton_and_reaches_the_student_only(
    batch: Batch, sees: str, temperature: float, weight: float
) -> None:
    student, teacher = Linear(), Linear()
    distillation = Distillation(Teacher(stage="t", sees=sees, weight=weight, temperature=temperature), teacher, "s")
    outputs = student(batch.frames_BTCHW)
    loss = distillation.loss(student, outputs, batch, distillation.targets(batch))
    view = batch.clean_BTCHW if sees == "clean" else batch.frames_BTCHW
    assert torch.equal(teacher.seen, view)
    with torch.no_grad():
        soft = (teacher.layer(view.flatten(1)) / temperature).softmax(-1)
    ours = (outputs / temperature).log_softmax(-1)
    expected = (1 - weight) * student.loss(outputs, batch)
    expected = expected + weight * temperature**2 * kl_div(ours, soft, reduction="batchmean")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = torch.autograd.grad(loss, student.layer.weight, retain_graph=True)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected, student.layer.weight)[0], rtol=1e-4, atol=1e-6)
    assert teacher.layer.weight.grad is None


def test_values_are_compared_by_their_squared_error_and_frames_are_averaged(batch: Batch) -> None:
    distillation = Distillation(Teacher(stage="t", weight=1), Linear(), "s")
    theirs = TeacherOutputs({"valence": Values(torch.tensor([[1.0], [3.0]]))}, {})

    class Head(Linear):
        def decode(self, outputs):
            return {"valence": Values(outputs)}

    frames = torch.tensor([[0.0, 4.0], [1.0, 1.0]])
    batch = replace(batch, targets={"emotion": torch.tensor([0, 1])})
    assert distillation.loss(Head(), frames, batch, theirs).item() == pytest.approx((1**2 + 2**2) / 2)
    other = TeacherOutputs({"emotion": Categories(("x", "y"), torch.rand(2, 1, 2))}, {})
    with pytest.raises(JobError, match="classes of 'emotion': x, y; the stage: anger, fear, joy"):
        distillation.loss(Linear(), torch.rand(2, 3), batch, other)
    with pytest.raises(JobError, match="the teacher decodes valence, the stage emotion"):
        distillation.loss(Linear(), torch.rand(2, 3), batch, theirs)


def test_features_are_compared_as_unit_vectors() -> None:
    """2 - 2 cos of the angle, by torch's cosine similarity; the scale of a network does not matter."""
    generator = torch.Generator().manual_seed(0)
    ours = {
        "embedding": torch.rand(3, 2, 8, generator=generator),
        "map": torch.rand(3, 2, 4, 5, 5, generator=generator),
    }
    theirs = {name: 3 * torch.rand(value.shape, generator=generator) for name, value in ours.items()}
    angles = {name: torch.cosine_similarity(ours[name], theirs[name], dim=axis) for name, axis in AXES.items()}
    expected = 0.5 * (2 - 2 * angles["embedding"]).mean() + 2 * (2 - 2 * angles["map"]).mean()
    found = feature_loss({"embedding": 0.5, "map": 2}, ours, theirs, "x")
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    scaled = {name: 7 * value for name, value in ours.items()}
    assert feature_loss({"map": 1}, ours, scaled, "x").item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(JobError, match=r"(?s)the backbone of the teacher has no feature 'map'.*use one of: embedding"):
        feature_loss({"map": 1}, ours, {"embedding": theirs["embedding"]}, "x")
    with pytest.raises(JobError, match=r"'map' is \[2, 4, 5, 5\] in the stage, \[2, 4, 3, 3\] in the teacher"):
        feature_loss({"map": 1}, ours, {"map": torch.rand(3, 2, 4, 3, 3)}, "x")


def test_features_are_recorded_inside_the_context_only() -> None:
    model = torch.nn.ModuleDict({"backbone": Backbone()})
    with recorded_features(model) as features:
        model["backbone"](torch.ones(1))
    assert torch.equal(features["embedding"], torch.tensor([2.0]))
    model["backbone"](torch.zeros(1))
    assert features["embedding"] == 2
    with recorded_features(model, wanted=False) as nothing:
        model["backbone"](torch.ones(1))
    assert nothing == {}


# the tiny stages of vlqr: `joint` is trained, then `clean` learns from it; the target is a value
TAUGHT = ("stages.clean.teacher={stage: joint, weight: 0.7}", "stages.joint.backbone.start_from=null")
TAUGHT += ("stages.clean.degrade=[{use: downscale, factor: 3}]", "stages.clean.backbone.dropout=0")


@pytest.fixture
def taught(plan):
    """taught("name", overrides) -> plan of the taught stage, whose teacher is trained."""

    def make(name: str, *overrides: str) -> StagePlan:
        found = plan(name, *TAUGHT, *overrides)
        train_stage(replace(found, stage="joint"), LocalWorker(CPU))
        return found

    return make


def weights(plan: StagePlan) -> dict[str, np.ndarray]:
    train_stage(plan, LocalWorker(CPU))
    return load_file(plan.run.weights("clean"))


class DyingWorker(LocalWorker):
    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise ConnectionError("lost")


def test_a_taught_stage_is_exact_under_accumulation_and_after_a_resume(taught) -> None:
    whole = weights(taught("whole"))
    cut = taught("cut")
    with pytest.raises(ConnectionError):
        train_stage(cut, DyingWorker(CPU))
    resumed, micro = weights(cut), weights(taught("micro", "stages.clean.accumulate=3"))
    for name, value in whole.items():
        assert np.array_equal(resumed[name], value), name
        assert micro[name] == pytest.approx(value, abs=1e-6), name
    others = {"alone": "stages.clean.teacher=null", "sees": "stages.clean.teacher.sees=degraded"}
    others["features"] = "stages.clean.teacher.features={embedding: 1}"
    for name, change in others.items():
        assert any(not np.array_equal(value, whole[key]) for key, value in weights(taught(name, change)).items())


def test_a_teacher_from_a_file_equals_that_of_its_stage_and_a_changed_file_is_an_error(taught, plan) -> None:
    whole = taught("whole")
    file = whole.run.weights("joint")
    from_file = plan("file", *TAUGHT[1:], f"stages.clean.teacher={{file: {file}, weight: 0.7}}")
    ours, theirs = weights(from_file), weights(whole)
    assert all(np.array_equal(ours[name], value) for name, value in theirs.items())
    assert from_file.spec.teacher is not None
    assert from_file.spec.teacher.sha256 is not None
    wide = plan("wide", *TAUGHT[1:], f"stages.clean.teacher={{file: {file}}}", "stages.clean.backbone.width=0.125")
    with pytest.raises(DataError, match="the weights do not fit the teacher"):
        train_stage(wide, LocalWorker(CPU))
    again = plan("again", *TAUGHT[1:], f"stages.clean.teacher={{file: {file}}}")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(DataError, match="another file than the job's"):
        train_stage(again, LocalWorker(CPU))


def test_mistakes_are_found_before_training(plan, repository: Path) -> None:
    with pytest.raises(JobError, match="there is no earlier stage 'clan'"):
        plan("typo", "stages.clean.teacher={stage: clan}")
    with pytest.raises(JobError, match="give `stage` or `file`, one of them"):
        plan("none", "stages.clean.teacher={weight: 0.5}")
    job, catalog = read_job(
        repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=["stages.clean.teacher={stage: sr}"]
    )
    with pytest.raises(JobError, match="the teacher decodes"):
        dry_run(job, catalog, data_facts(job, catalog)[0])
    features = (*TAUGHT, "stages.clean.teacher.features={embeding: 1}")
    job, catalog = read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=features)
    with pytest.raises(JobError, match="the backbone of the stage has no feature 'embeding'"):
        dry_run(job, catalog, data_facts(job, catalog)[0])
    with pytest.raises(JobError, match="features of a compiled model cannot be recorded"):
        plan("compiled", *TAUGHT, "stages.clean.teacher.features={embedding: 1}", "cluster.compile=true")
