"""Validation while training: the loss and, if it decides, a metric, over the workers' shares of a split."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from blear.contracts import Categories, Decoded, Head, Metric, Values
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler
from blear.data.loader import sequential_batches
from blear.errors import JobError
from blear.job.schema import Validate
from blear.train.inputs import Ahead, Inputs
from blear.train.worker import Worker


@dataclass(frozen=True)
class Validator:
    """The validation of a stage; every worker calls it at the same steps.

    Attributes:
        moments: which frames of each clip.
        ahead: what is done to batches on the CPU while they are read ahead.
        head: what knows loss, metrics and decoding; it needs no weights for them.
        autocast: makes the context of mixed precision.
    """

    spec: Validate
    store: Store
    moments: FrameSampler | None
    ahead: Ahead | None
    inputs: Inputs
    batch_size: int
    head: Head
    worker: Worker
    autocast: Callable[[], contextlib.AbstractContextManager[object]]

    def metric(self) -> Metric | None:
        """The metric that decides; None for the loss.

        Raises:
            JobError: the head has no such metric.
        """
        if self.spec.metric == "loss":
            return None
        known = {metric.name: metric for metric in self.head.metrics()}
        if self.spec.metric not in known:
            do = f"choose one of: {', '.join(['loss', *known])}"
            raise JobError(f"the head has no metric {self.spec.metric!r}", "validate.metric", do)
        return known[self.spec.metric]

    def better(self, value: float, best: float | None) -> bool:
        """Whether a value of the metric beats the best one so far; NaN never does."""
        metric = self.metric()
        if value != value or best is None:
            return value == value
        return value > best if metric is not None and metric.higher_is_better else value < best

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`validation_loss`, and `validation_<metric>` when a metric decides; degraded as in training, not augmented.

        Args:
            model: the model or its average, not wrapped.
        """
        metric = self.metric()
        per_worker = -(-self.spec.batches // self.worker.world)
        worker = self.worker
        shares = sequential_batches(
            self.store, self.batch_size, worker.rank, worker.world, frame_sampler=self.moments, transform=self.ahead
        )
        loss, count, truth, predicted = 0.0, 0, [], []
        model.eval()
        with contextlib.closing(shares):
            for raw in itertools.islice(shares, per_worker):
                batch = self.inputs(raw)
                with self.autocast():
                    outputs = model(batch.frames_BTCHW)
                    loss += float(self.head.loss(outputs, batch)) * len(raw.samples_B)
                count += len(raw.samples_B)
                if metric is not None:
                    target, decoded = next(iter(self.head.decode(outputs).items()))
                    values_BT = values_of(decoded)
                    truth.append(np.repeat(batch.targets[target].cpu().numpy(), values_BT.shape[1]))
                    predicted.append(values_BT.ravel())
        model.train()
        total = self.worker.total(float(count))
        found = {"validation_loss": self.worker.total(loss) / total}
        if metric is not None:
            parts = self.worker.gather((np.concatenate(truth), np.concatenate(predicted)) if truth else None)
            truths, predictions = zip(*(part for part in parts if part is not None), strict=True)
            found[f"validation_{metric.name}"] = metric.compute(np.concatenate(truths), np.concatenate(predictions))
        return found


def values_of(decoded: Decoded) -> np.ndarray:
    """Class indices or values, [B, T], as the predictions table has them."""
    if isinstance(decoded, Values):
        return decoded.values_BT.float().cpu().numpy()
    if isinstance(decoded, Categories):
        return decoded.probabilities_BTK.argmax(dim=-1).cpu().numpy()
    raise JobError("a head that gives images has no metric", "validate.metric", "choose `loss`")
