"""One optimizer step on one worker: forward, backward in micro-batches, clipping, the optimizer, the average."""

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
from blear.job.schema import Cluster, Stage
from blear.train.divergence import DivergenceGuard
from blear.train.inputs import Inputs, micro_batches
from blear.train.optimizer import set_rate
from blear.train.schedule import rate
from blear.train.watched import Watched
from blear.train.worker import Worker


def autocast(wanted: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context of the job's precision."""
    use = wanted == "bfloat16" or (wanted == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if use else contextlib.nullcontext()


@dataclass
class Stepper:
    """Makes the steps of a stage.

    Attributes:
        name, seed: of the stage and of the job: what dropout depends on beside the step.
        forward: frames -> outputs: `model`, perhaps compiled.
        model: wrapped by the worker.
        inner: the model itself.
        watched: takes the outputs of the steps that are logged.
    """

    name: str
    seed: int
    stage: Stage
    cluster: Cluster
    worker: Worker
    forward: Callable[[Tensor], Any]
    model: nn.Module
    inner: nn.Module
    head: Head
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    inputs: Inputs
    guard: DivergenceGuard
    watched: Watched | None = None

    def __call__(self, step: int, raw: RawBatch) -> Tensor:
        """Makes step `step` (from 0); returns this worker's share of the global batch's mean loss, on the device."""
        self._reseed(step)
        set_rate(self.optimizer, rate(self.stage.optimizer, step, self.stage.steps))
        self.optimizer.zero_grad(set_to_none=True)
        micros = micro_batches(raw, self.stage.accumulate)
        share = torch.zeros((), device=self.worker.device)
        for number, micro in enumerate(micros, 1):
            # the gradients' mean over the workers is the gradient of the global batch's mean
            weight = len(micro.samples_B) / self.stage.batch_size
            with self._syncing(number == len(micros)):
                batch = self.inputs(micro, step / self.stage.steps)
                with autocast(self.cluster.precision, self.worker.device):
                    outputs = self.forward(batch.frames_BTCHW)
                    loss = self.head.loss(outputs, batch)
                if self.watched is not None and self.stage.logged(step + 1):
                    self.watched.add(outputs, batch.targets)
                (loss * (weight * self.worker.world)).backward()
            share += loss.detach().float() * weight
        self.guard.check_loss(step + 1, share, raw.samples_B)
        if self.stage.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.inner.parameters(), self.stage.optimizer.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.inner)
        return share

    def _syncing(self, last: bool) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if last else self.worker.no_sync(self.model)

    def _reseed(self, step: int) -> None:
        """So that dropout after a resume is that of the uninterrupted run."""
        stream = (zlib.crc32(self.name.encode()) << 8) ^ (step * self.worker.world + self.worker.rank)
        torch.manual_seed(((self.seed << 40) ^ stream) % 2**63)
