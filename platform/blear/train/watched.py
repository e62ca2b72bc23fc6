"""The metric of validation on training batches too, for the learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Head, Metric
from blear.train.validation import values_of
from blear.train.worker import Worker


@dataclass
class Watched:
    """Collects the decisions on the batches of a step, as they are before its update."""

    head: Head
    metric: Metric
    worker: Worker
    _parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @torch.no_grad()
    def add(self, outputs: Any, targets: Mapping[str, Tensor]) -> None:
        """One batch: what the head makes of it, and what is true."""
        target, decoded = next(iter(self.head.decode(outputs).items()))
        values_BT = values_of(decoded)
        self._parts.append((np.repeat(targets[target].cpu().numpy(), values_BT.shape[1]), values_BT.ravel()))

    def read(self) -> dict[str, float]:
        """`training_<metric>` over the batches of all workers since the last call; every worker calls it at once."""
        shares = self.worker.gather(self._parts)
        self._parts = []
        parts = [part for share in shares for part in share]
        if not parts:
            return {}
        truth, predicted = (np.concatenate(each) for each in zip(*parts, strict=True))
        return {f"training_{self.metric.name}": self.metric.compute(truth, predicted)}
