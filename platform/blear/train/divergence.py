"""Stops a run whose loss or weights are not finite, before they are written to a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from blear.errors import RunError
from blear.train.optimizer import gradient_norm

_LISTED_SAMPLES = 8


class DivergenceGuard:
    """Checks the loss of every step. On a GPU it checks one step later, so that no step waits for the copy.

    Args:
        stage: name of the stage.
        model: the trained model; its gradient norm is part of the message.
        keys: maps sample numbers [B] to sample keys.
    """

    def __init__(self, stage: str, model: nn.Module, keys: Callable[[np.ndarray], list[str]]) -> None:
        self.stage, self.model, self.keys = stage, model, keys
        self._pending: tuple[int, Tensor, torch.cuda.Event, np.ndarray] | None = None

    def check_loss(self, step: int, loss: Tensor, samples_B: np.ndarray) -> None:
        """Checks the loss after the backward pass, before the optimizer step.

        Args:
            step: number of the step, from 1.
            loss: scalar on the device.
            samples_B: numbers of the samples of this worker's batch.

        Raises:
            RunError: the loss is not finite.
        """
        if loss.device.type != "cuda":
            self._check_value(step, float(loss), samples_B)
            return
        self.flush()
        copy = loss.to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending = (step, copy, event, samples_B)

    def flush(self) -> None:
        """Checks the pending loss of the previous step.

        Raises:
            RunError: the loss is not finite.
        """
        if self._pending is not None:
            (step, copy, event, samples_B), self._pending = self._pending, None
            event.synchronize()
            self._check_value(step, float(copy), samples_B)

    def check_weights(self, step: int, samples_B: np.ndarray) -> None:
        """Checks all weights; called before a checkpoint.

        Raises:
            RunError: a weight is not finite.
        """
        self.flush()
        finite = torch.stack([p.detach().isfinite().all() for p in self.model.parameters()])
        if not bool(finite.all()):
            named = zip(self.model.named_parameters(), finite.tolist(), strict=True)
            first = next(name for (name, _), is_finite in named if not is_finite)
            self._raise(f"weights are not finite after step {step} ({first} first)", samples_B)

    def _check_value(self, step: int, loss: float, samples_B: np.ndarray) -> None:
        if not math.isfinite(loss):
            self._raise(f"the loss is {loss} at step {step}", samples_B)

    def _raise(self, what: str, samples_B: np.ndarray) -> None:
        norm = float(gradient_norm(self.model.parameters()))
        listed = ", ".join(self.keys(samples_B[:_LISTED_SAMPLES]))
        more = f" and {len(samples_B) - _LISTED_SAMPLES} more" if len(samples_B) > _LISTED_SAMPLES else ""
        raise RunError(
            f"{what}; gradient norm {norm:.4g}; samples {listed}{more}",
            f"stage {self.stage}",
            "lower optimizer.lr, set optimizer.clip_norm or warmup, or check these samples",
        )
