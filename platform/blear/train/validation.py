"""Validation during training: the loss and an optional metric on a split, which the workers share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from blear.contracts import Decoded, Head, Images, Metric, Target, Values
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler
from blear.data.loader import spread_batches
from blear.errors import DataError, JobError
from blear.job.schema import Validate
from blear.plugin.decoded_targets import find_metric, metric_names
from blear.train.preprocessing import CpuPreprocessing, Preprocessing
from blear.train.worker import Worker

Pairs = tuple[np.ndarray, np.ndarray]
"""Truth and prediction that a metric is computed from: both [N], or [N, K] shares of a distribution."""


@dataclass(frozen=True)
class Criterion:
    """A metric of one target.

    Attributes:
        name: in the log: the metric's name, with the target in front if the job or several targets ask for it.
    """

    name: str
    target: str
    metric: Metric


@dataclass(frozen=True)
class _BatchResult:
    """Result of one batch.

    Attributes:
        first: number of the batch's first sample in the split; it orders the batches of all workers.
        samples: number of samples.
        loss: mean loss of the samples.
        values: name of a criterion -> truth and prediction of each sample and frame.
    """

    first: int
    samples: int
    loss: float
    values: dict[str, Pairs]


@dataclass(frozen=True)
class Validator:
    """The validation of a stage. All workers call it at the same steps.

    Attributes:
        frame_sampler: chooses frames of each clip; None: all frames.
        cpu_preprocessing: preprocessing in the reading threads; None: nothing runs there.
        head: computes loss and metrics, and decodes outputs.
        autocast: creates the context of the job's precision.
        metrics: target -> its metrics (`plugin.decoded_targets`).
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
    metrics: Mapping[str, Sequence[Metric]]

    def criterion(self) -> Criterion | None:
        """The metric of the job's `validate.metric`; None for the loss.

        Raises:
            JobError: the head has no such metric.
        """
        return require_metric(self.metrics, self.spec.metric)

    def criteria(self) -> dict[str, Criterion]:
        """Name -> criterion, of each value that is logged.

        It is the metric of the job's `validate.metric`, and of several targets the headline metric of each.
        """
        found = [criterion] if (criterion := self.criterion()) is not None else []
        if len(self.metrics) > 1:
            found += [Criterion(f"{name}.{of[0].name}", name, of[0]) for name, of in self.metrics.items()]
        return {criterion.name: criterion for criterion in found}

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best one so far, or equal with `ties: last`; NaN never is."""
        criterion = self.criterion()
        if value != value or best is None:
            return value == value
        if value == best:
            return self.spec.ties == "last"
        return value > best if criterion is not None and criterion.metric.higher_is_better else value < best

    def _has_face(self, samples_B: np.ndarray) -> np.ndarray:
        """Whether a face was found in each sample, bool [B]: `meta.found`, True where the dataset gives none."""
        return np.array([bool(meta.get("found", True)) for meta in self.store.metadata(samples_B).meta], dtype=bool)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Validates on clips that are degraded as in training, and not augmented.

        The clips are spread evenly over the split. They, and the values on the CPU, are the same for every number of
        workers. Clips without a found face are left out, as in the first table of the report.

        Args:
            model: the model or its moving average, without the worker's wrapper.

        Returns:
            `validation_loss`, and `validation_<name>` of each of `criteria`.
        """
        criteria = self.criteria()
        worker = self.worker
        reading = spread_batches(
            self.store,
            self.batch_size,
            self.spec.batches,
            worker.rank,
            worker.world_size,
            frame_sampler=self.frame_sampler,
            transform=self.cpu_preprocessing,
            usable=self._has_face,
        )
        parts: list[_BatchResult] = []
        model.eval()
        with contextlib.closing(reading):
            for raw in reading:
                batch = self.preprocessing(raw)
                with self.autocast():
                    outputs = model(batch.frames_BTCHW)
                    loss = float(self.head.loss(outputs, batch))
                decoded = self.head.decode(outputs) if criteria else {}
                pairs = {
                    name: truth_and_prediction(batch.targets[one.target], decoded[one.target])
                    for name, one in criteria.items()
                }
                parts.append(_BatchResult(int(raw.samples_B[0]), len(raw.samples_B), loss, pairs))
        model.train()
        gathered = sorted((part for some in worker.all_gather(parts) for part in some), key=lambda part: part.first)
        if not gathered:
            raise DataError(
                "every sample is broken or has no found face",
                f"{self.store.prepared.place}, split {self.store.split}",
                "prepare the split again",
            )
        total = sum(part.samples for part in gathered)
        values = {"validation_loss": sum(part.loss * part.samples for part in gathered) / total}
        for name, one in criteria.items():
            truth, predicted = (np.concatenate(each) for each in zip(*(p.values[name] for p in gathered), strict=True))
            values[f"validation_{name}"] = one.metric.compute(truth, predicted)
        return values


def require_metric(metrics: Mapping[str, Sequence[Metric]], name: str) -> Criterion | None:
    """The metric of this name, `metric` or `target.metric`; None for `loss`.

    Raises:
        JobError: the metric is missing.
    """
    if name == "loss":
        return None
    found = find_metric(metrics, name)
    if found is None:
        do = f"choose one of: {', '.join(['loss', *metric_names(metrics)])}"
        raise JobError(f"the head has no metric {name!r}", "validate.metric", do)
    return Criterion(name, *found)


def require_same_targets(
    metrics: Iterable[str], trained: Mapping[str, Target], given: Mapping[str, Target], stage: str
) -> None:
    """Checks that the data of a validation have the targets of a stage, with the same classes in the same order.

    Args:
        metrics: names of the targets.
        trained: targets of the stage's data.
        given: targets of the validation's data.

    Raises:
        JobError: they differ.
    """
    where = f"stages.{stage}.validate.data"
    for name in metrics:
        if name not in given:
            raise JobError(
                f"the data have no target {name!r}", where, f"choose data with it; known: {', '.join(given)}"
            )
        if trained[name].classes != given[name].classes:
            what = f"the classes are {', '.join(given[name].classes)}, in training {', '.join(trained[name].classes)}"
            raise JobError(what, where, "choose data with the same classes in the same order")


def truth_and_prediction(truth: Tensor, decoded: Decoded) -> Pairs:
    """Truth and prediction of every sample and frame, as in the predictions table.

    Args:
        truth: labels [B], or the shares of a distribution [B, K].
        decoded: the same target, decoded; no images, which have no metric.
    """
    assert not isinstance(decoded, Images)
    if isinstance(decoded, Values):
        predicted = decoded.values_BT.float().cpu().numpy()
    elif truth.ndim == 2:
        predicted = decoded.probabilities_BTK.float().cpu().numpy()
    else:
        predicted = decoded.probabilities_BTK.argmax(dim=-1).cpu().numpy()
    return np.repeat(truth.cpu().numpy(), predicted.shape[1], axis=0), predicted.reshape(-1, *predicted.shape[2:])
