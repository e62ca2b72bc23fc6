"""The validation metric on training batches, for learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Head
from blear.train.validation import Criterion, truth_and_prediction
from blear.train.worker import Worker


@dataclass
class TrainingMetric:
    """Collects the model's predictions on the batches of a step, made before the step's update."""

    head: Head
    criterion: Criterion
    worker: Worker
    _parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @torch.no_grad()
    def update(self, outputs: Any, targets: Mapping[str, Tensor]) -> None:
        """Adds one batch: the head's outputs and the true targets, name -> [B]."""
        target = self.criterion.target
        self._parts.append(truth_and_prediction(targets[target], self.head.decode(outputs)[target]))

    def compute(self) -> dict[str, float]:
        """`training_<metric>` over the batches of all workers since the last call; all workers call it at one step."""
        gathered = self.worker.all_gather(self._parts)
        self._parts = []
        parts = [part for of_worker in gathered for part in of_worker]
        if not parts:
            return {}
        truth, predicted = (np.concatenate(each) for each in zip(*parts, strict=True))
        return {f"training_{self.criterion.name}": self.criterion.metric.compute(truth, predicted)}
