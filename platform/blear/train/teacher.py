"""Knowledge distillation (Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015).

The teacher is frozen and in evaluation mode: its outputs are a function of the sample only. The loss is therefore exact
for every number of workers and micro-batches, and after a resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, mse_loss

from blear.contracts import Batch, BuildContext, Categories, Decoded, Features, Head, Values
from blear.errors import DataError, JobError, first_line
from blear.job.schema import BackboneUse, Job, Teacher
from blear.plugin.catalog import Catalog
from blear.plugin.memory_format import to_channels_last
from blear.storage.file_digest import file_digest
from blear.storage.run_folder import RunFolder
from blear.train.feature_distillation import feature_loss, recorded_features
from blear.train.model import Recognizer, build_for_loading
from blear.train.state_copy import load_state

_LEAST = 1e-30  # smaller probabilities have no gradient


@dataclass(frozen=True)
class TeacherOutputs:
    """What a teacher computes for a batch.

    Attributes:
        decoded: target -> decoded outputs.
        features: features of its backbone; empty if none is distilled.
    """

    decoded: Mapping[str, Decoded]
    features: Features


@dataclass(frozen=True)
class Distillation:
    """A frozen model and the loss that compares the student with it.

    Attributes:
        spec: the stage's `teacher` section.
        model: the teacher, in evaluation mode.
        name: name of the stage, for errors.
    """

    spec: Teacher
    model: Recognizer
    name: str

    @property
    def compares_features(self) -> bool:
        """Whether `loss` needs the features of the student."""
        return bool(self.spec.features)

    @torch.no_grad()
    def targets(self, batch: Batch) -> TeacherOutputs:
        """Returns the outputs of the teacher for its view of the batch."""
        frames_BTCHW = batch.clean_BTCHW if self.spec.sees == "clean" else batch.frames_BTCHW
        with recorded_features(self.model, wanted=self.compares_features) as features:
            decoded = self.model.head.decode(self.model(frames_BTCHW))
        return TeacherOutputs(decoded, features)

    def loss(
        self, head: Head, outputs: Any, batch: Batch, teacher: TeacherOutputs, features: Features | None = None
    ) -> Tensor:
        """Returns (1 - weight) x loss of the head + weight x mean distillation loss of the targets, a scalar.

        The distances of the features that `teacher.features` names are added.

        Args:
            head: the student's head.
            outputs: its outputs.
            batch: the batch, with the labels.
            teacher: from `targets`.
            features: features of the student's backbone; needed if `compares_features`.

        Raises:
            JobError: teacher and student have no target in common, or their targets or features differ.
        """
        student, where = head.decode(outputs), f"stages.{self.name}.teacher"
        common = [name for name in student if name in teacher.decoded]
        if not common:
            theirs = ", ".join(teacher.decoded) or "nothing"
            what = f"the teacher decodes {theirs}, the stage {', '.join(student) or 'nothing'}"
            raise JobError(what, where, "choose a teacher with the targets of the stage")
        parts = [self._of_target(name, student[name], teacher.decoded[name]) for name in common]
        distilled = torch.stack(parts).mean()
        loss = (1 - self.spec.weight) * head.loss(outputs, batch) + self.spec.weight * distilled
        if self.compares_features:
            loss = loss + feature_loss(self.spec.features, features or {}, teacher.features, f"{where}.features")
        return loss

    def _of_target(self, target: str, student: Decoded, teacher: Decoded) -> Tensor:
        """Classification: T^2 KL(teacher || student) at temperature T. Regression: mean squared error."""
        if isinstance(student, Categories) and isinstance(teacher, Categories):
            if student.classes == teacher.classes:
                ours = _at_temperature(_pooled(student.probabilities_BTK, teacher.probabilities_BTK), self.spec)
                theirs = _at_temperature(_pooled(teacher.probabilities_BTK, student.probabilities_BTK), self.spec)
                return kl_div(ours, theirs, reduction="batchmean", log_target=True) * self.spec.temperature**2
            what = f"classes of {target!r}: {', '.join(teacher.classes)}; the stage: {', '.join(student.classes)}"
        elif isinstance(student, Values) and isinstance(teacher, Values):
            ours, theirs = student.values_BT, teacher.values_BT
            return mse_loss(_pooled(ours, theirs).float(), _pooled(theirs, ours).float())
        else:
            what = f"target {target!r} is {type(teacher).__name__}, in the stage {type(student).__name__}"
        raise JobError(f"the teacher does not fit: {what}", f"stages.{self.name}.teacher", "choose another teacher")


def _pooled(values_BT: Tensor, other_BT: Tensor) -> Tensor:
    """The mean over the frames if only the other model has one value for a clip."""
    return values_BT.mean(dim=1, keepdim=True) if other_BT.shape[1] == 1 else values_BT


def _at_temperature(probabilities_BTK: Tensor, spec: Teacher) -> Tensor:
    """Log-probabilities [B x T, K] of logits that are divided by the temperature."""
    logits = probabilities_BTK.float().flatten(0, 1).clamp(min=_LEAST).log()
    return (logits / spec.temperature).log_softmax(dim=-1)


def build_teacher(catalog: Catalog, job: Job, name: str, context: BuildContext) -> Recognizer:
    """Builds the model of a stage's teacher, frozen, without its weights.

    Args:
        name: name of the stage that is taught.
        context: context of the clips that the teacher sees.
    """
    spec = job.stages[name].teacher
    assert spec is not None
    if spec.stage is not None:
        stage, source = job.stages[spec.stage], spec.stage
    else:
        stage, source = job.stages[name], name
        if spec.backbone is not None:
            stage = stage.model_copy(update={"backbone": BackboneUse.model_validate(spec.backbone.model_dump())})
        stage = stage if spec.head is None else stage.model_copy(update={"head": spec.head})
    model = build_for_loading(catalog, stage, source, context).requires_grad_(requires_grad=False).eval()
    return to_channels_last(model)  # type: ignore[return-value]


def load_teacher(model: Recognizer, spec: Teacher, run: RunFolder, name: str) -> None:
    """Loads the teacher's weights: the final weights of its stage, or its file.

    Raises:
        RunError: the stage is not trained.
        DataError: the file is missing, damaged, another one than the job's, or belongs to another model.
    """
    file = run.weights(spec.stage) if spec.stage is not None else Path(spec.file or "")
    if spec.sha256 is not None and (found := file_digest(file)) != spec.sha256:
        what = f"another file than the job's: SHA-256 {found}, the job has {spec.sha256}"
        raise DataError(what, str(file), "restore the file; every node needs the same one")
    try:
        load_state(model, file)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"the weights do not fit the teacher: {first_line(error)}"
        do = f"give the teacher's `backbone` and `head` in stages.{name}.teacher"
        raise DataError(what, str(file), do) from error
