"""Validation during training: the loss and an optional metric on a split, which the workers share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from blear.contracts import Categories, Decoded, Head, Metric, Values
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler
from blear.data.loader import spread_batches
from blear.errors import DataError, JobError
from blear.job.schema import Validate
from blear.train.preprocessing import CpuPreprocessing, Preprocessing
from blear.train.worker import Worker


@dataclass(frozen=True)
class _BatchResult:
    """Result of one batch.

    Attributes:
        first: number of the batch's first sample in the split; it orders the batches of all workers.
        samples: number of samples.
        loss: mean loss of the samples.
        truth, predicted: values of the metric, [samples x T]; empty without a metric.
    """

    first: int
    samples: int
    loss: float
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Validator:
    """The validation of a stage. All workers call it at the same steps.

    Attributes:
        frame_sampler: chooses frames of each clip; None: all frames.
        cpu_preprocessing: preprocessing in the reading threads; None: nothing runs there.
        head: computes loss and metrics, and decodes outputs.
        autocast: creates the context of the job's precision.
    """

    spec: Validate
    store: Store
    frame_sampler: FrameSampler | None
    cpu_preprocessing: CpuPreprocessing | None
    preprocessing: Preprocessing
    batch_size: int
    head: Head
    worker: Worker
    autocast: Callable[[], contextlib.AbstractContextManager[object]]

    def metric(self) -> Metric | None:
        """The metric of the job's `validate.metric`; None for the loss.

        Raises:
            JobError: the head has no such metric.
        """
        return require_metric(self.head.metrics(), self.spec.metric)

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best one so far; NaN never is."""
        metric = self.metric()
        if value != value or best is None:
            return value == value
        return value > best if metric is not None and metric.higher_is_better else value < best

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Validates on clips that are degraded as in training, and not augmented.

        The clips are spread evenly over the split. They, and the values on the CPU, are the same for every number of
        workers.

        Args:
            model: the model or its moving average, without the worker's wrapper.

        Returns:
            `validation_loss`, and `validation_<metric>` if `validate.metric` is a metric.
        """
        metric = self.metric()
        worker = self.worker
        reading = spread_batches(
            self.store,
            self.batch_size,
            self.spec.batches,
            worker.rank,
            worker.world_size,
            frame_sampler=self.frame_sampler,
            transform=self.cpu_preprocessing,
        )
        parts: list[_BatchResult] = []
        model.eval()
        with contextlib.closing(reading):
            for raw in reading:
                batch = self.preprocessing(raw)
                with self.autocast():
                    outputs = model(batch.frames_BTCHW)
                    loss = float(self.head.loss(outputs, batch))
                truth = predicted = np.empty(0)
                if metric is not None:
                    target, decoded = next(iter(self.head.decode(outputs).items()))
                    values_BT = decoded_values(decoded)
                    truth = np.repeat(batch.targets[target].cpu().numpy(), values_BT.shape[1])
                    predicted = values_BT.ravel()
                parts.append(_BatchResult(int(raw.samples_B[0]), len(raw.samples_B), loss, truth, predicted))
        model.train()
        gathered = sorted((part for some in worker.all_gather(parts) for part in some), key=lambda part: part.first)
        if not gathered:
            raise DataError(
                "every sample is broken",
                f"{self.store.prepared.place}, split {self.store.split}",
                "prepare the split again",
            )
        total = sum(part.samples for part in gathered)
        values = {"validation_loss": sum(part.loss * part.samples for part in gathered) / total}
        if metric is not None:
            truths, predictions = ([getattr(part, name) for part in gathered] for name in ("truth", "predicted"))
            values[f"validation_{metric.name}"] = metric.compute(np.concatenate(truths), np.concatenate(predictions))
        return values


def require_metric(metrics: Sequence[Metric], name: str) -> Metric | None:
    """The metric of this name; None for `loss`.

    Raises:
        JobError: the metric is missing.
    """
    if name == "loss":
        return None
    known = {metric.name: metric for metric in metrics}
    if name not in known:
        do = f"choose one of: {', '.join(['loss', *known])}"
        raise JobError(f"the head has no metric {name!r}", "validate.metric", do)
    return known[name]


def decoded_values(decoded: Decoded) -> np.ndarray:
    """Class indices or regression values, [B, T], as in the predictions table.

    Raises:
        JobError: the head returns images.
    """
    if isinstance(decoded, Values):
        return decoded.values_BT.float().cpu().numpy()
    if isinstance(decoded, Categories):
        return decoded.probabilities_BTK.argmax(dim=-1).cpu().numpy()
    raise JobError("a head that returns images has no metric", "validate.metric", "choose `loss`")
