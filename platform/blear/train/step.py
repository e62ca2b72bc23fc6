"""One optimizer step: forward, backward in micro-batches, gradient clipping, optimizer, moving average."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from blear.contracts import Head
from blear.data.raw_batch import RawBatch
from blear.job.schema import Stage
from blear.train.divergence import DivergenceGuard
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
        set_learning_rate(self.optimizer, learning_rate(self.stage.optimizer, step, self.stage.steps))
        self.optimizer.zero_grad(set_to_none=True)
        micros = micro_batches(raw, self.stage.accumulate)
        mean = torch.zeros((), device=self.worker.device)
        for number, micro in enumerate(micros, 1):
            # the average of the gradients over the workers is the gradient of the global batch's mean loss
            weight = len(micro.samples_B) / self.stage.batch_size
            with self._gradient_sync(number == len(micros)):
                batch = self.preprocessing(micro, step / self.stage.steps)
                with autocast(self.precision, self.worker.device):
                    targets = None if self.teacher is None else self.teacher.targets(batch)
                    outputs = self.forward(batch.frames_BTCHW)
                    if self.teacher is None or targets is None:
                        loss = self.head.loss(outputs, batch)
                    else:
                        loss = self.teacher.loss(self.head, outputs, batch, targets)
                if self.training_metric is not None and self.stage.logged(step + 1):
                    self.training_metric.update(outputs, batch.targets)
                (loss * (weight * self.worker.world_size)).backward()
            mean += loss.detach().float() * weight
        self.guard.check_loss(step + 1, mean, raw.samples_B)
        if self.stage.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.stage.optimizer.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return mean

    def _gradient_sync(self, last: bool) -> contextlib.AbstractContextManager[object]:
        """Averages gradients over the workers in the last micro-batch only."""
        return contextlib.nullcontext() if last else self.worker.no_sync(self.wrapped)

    def _seed_dropout(self, step: int) -> None:
        """Seeds torch for a step, so that dropout after a resume equals that of an uninterrupted run."""
        stream = (zlib.crc32(self.name.encode()) << 8) ^ (step * self.worker.world_size + self.worker.rank)
        torch.manual_seed(((self.seed << 40) ^ stream) % 2**63)
