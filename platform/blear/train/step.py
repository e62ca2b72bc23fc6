"""One optimizer step: forward, backward in micro-batches, gradient clipping, optimizer, moving average."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from blear.contracts import Batch, Head
from blear.data.raw_batch import RawBatch
from blear.job.schema import Stage
from blear.train.auxiliary_norm import degraded_samples, second_set
from blear.train.averaging import update_average
from blear.train.consistency import consistency_loss
from blear.train.divergence import DivergenceGuard
from blear.train.feature_distillation import recorded_features
from blear.train.mixing import MixDraw, MixedBatch, draw_mix, mix_batch
from blear.train.optimizer import set_learning_rate
from blear.train.precision import autocast
from blear.train.preprocessing import Preprocessing, micro_batches
from blear.train.schedule import learning_rate
from blear.train.teacher import Distillation
from blear.train.training_metric import TrainingMetric
from blear.train.worker import Worker


@dataclass
class Stepper:
    """Performs the optimizer steps of a stage.

    Attributes:
        name: the stage's name. Dropout depends on name, seed, step and rank.
        seed: the job's seed.
        precision: "float32" or "bfloat16".
        forward: frames [B, T, C, H, W] -> outputs of the head: `wrapped`, compiled if the job says so.
        wrapped: the model as the worker prepared it.
        model: the model without the worker's wrapper.
        training_metric: receives the outputs of logged steps.
        teacher: distillation from a frozen model.
    """

    name: str
    seed: int
    stage: Stage
    precision: str
    worker: Worker
    forward: Callable[[Tensor], Any]
    wrapped: nn.Module
    model: nn.Module
    head: Head
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    preprocessing: Preprocessing
    guard: DivergenceGuard
    training_metric: TrainingMetric | None = None
    teacher: Distillation | None = None

    def __call__(self, step: int, raw: RawBatch) -> Tensor:
        """Performs one step.

        Args:
            step: number of the step, from 0.
            raw: this worker's part of the batch.

        Returns:
            This worker's summand of the mean loss of the global batch, a scalar on the device.

        Raises:
            RunError: the loss is not finite.
        """
        self._seed_dropout(step)
        set_learning_rate(self.optimizer, learning_rate(self.stage.trained_by, step, self.stage.steps))
        self.optimizer.zero_grad(set_to_none=True)
        micros = micro_batches(raw, self.stage.accumulate)
        mean = torch.zeros((), device=self.worker.device)
        drawn = None if self.stage.mix is None else draw_mix(self.stage.mix, self.seed, self.name, step)
        for number, micro in enumerate(micros, 1):
            # the average of the gradients over the workers is the gradient of the global batch's mean loss
            weight = len(micro.samples_B) / (micro.views * self.stage.batch_size)
            with self._gradient_sync(number == len(micros)):
                batch = self.preprocessing(micro, step / self.stage.steps)
                with autocast(self.precision, self.worker.device):
                    outputs, loss, targets = self._forward(batch, drawn)
                if self.training_metric is not None and self.stage.logged(step + 1):
                    self.training_metric.update(outputs, targets)
                (loss * (weight * self.worker.world_size)).backward()
            mean += loss.detach().float() * weight
        self.guard.check_loss(step + 1, mean, raw.samples_B)
        if self.stage.trained_by.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.stage.trained_by.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            update_average(self.average, self.model, self.stage, step)
        return mean

    def _forward(self, batch: Batch, drawn: MixDraw | None) -> tuple[Any, Tensor, Mapping[str, Tensor]]:
        """Returns the head's outputs, the mean loss of a micro-batch, and its targets.

        Samples are mixed first if `drawn`; the targets are then those of the larger share.
        """
        mixed = MixedBatch(batch, batch, 1.0) if drawn is None else mix_batch(batch, drawn)
        taught = None if self.teacher is None else self.teacher.targets(mixed.batch)
        compared = self.teacher is not None and self.teacher.compares_features
        with self._auxiliary(mixed.batch), recorded_features(self.model, wanted=compared) as features:
            outputs = self.forward(mixed.batch.frames_BTCHW)

        def loss_of(labelled: Batch) -> Tensor:
            if self.teacher is None or taught is None:
                return self.head.loss(outputs, labelled)
            return self.teacher.loss(self.head, outputs, labelled, taught, features)

        loss = loss_of(mixed.batch)
        loss = loss if drawn is None else mixed.share * loss + (1 - mixed.share) * loss_of(mixed.others)
        if self.stage.consistency is not None:
            where = f"stages.{self.name}.consistency"
            loss = loss + self.stage.consistency * consistency_loss(self.head.decode(outputs), where)
        return outputs, loss, (mixed.batch if mixed.share >= 0.5 else mixed.others).targets

    def _auxiliary(self, batch: Batch) -> contextlib.AbstractContextManager[object]:
        """The second set of the batch normalisations, for degraded samples."""
        if not self.stage.auxiliary_norm:
            return contextlib.nullcontext()
        return second_set(self.model, degraded_samples(batch))

    def _gradient_sync(self, last: bool) -> contextlib.AbstractContextManager[object]:
        """Averages gradients over the workers in the last micro-batch only."""
        return contextlib.nullcontext() if last else self.worker.no_sync(self.wrapped)

    def _seed_dropout(self, step: int) -> None:
        """Seeds torch for a step, so that dropout after a resume equals that of an uninterrupted run."""
        stream = (zlib.crc32(self.name.encode()) << 8) ^ (step * self.worker.world_size + self.worker.rank)
        torch.manual_seed(((self.seed << 40) ^ stream) % 2**63)
