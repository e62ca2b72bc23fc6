"""A run that diverged stops with the step, the samples and the gradient norm, before it spoils a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from blear.errors import RunError
from blear.train.optimizer import gradient_norm

_SHOWN = 8


class DivergenceGuard:
    """Looks at the loss of every step; on a GPU one step late, so that nothing waits for it.

    Args:
        stage: name of the stage.
        model: its gradients are those of the step in hand.
        keys: sample numbers -> keys.
    """

    def __init__(self, stage: str, model: nn.Module, keys: Callable[[np.ndarray], list[str]]) -> None:
        self.stage, self.model, self.keys = stage, model, keys
        self._late: tuple[int, Tensor, torch.cuda.Event, np.ndarray] | None = None

    def check_loss(self, step: int, loss: Tensor, samples_B: np.ndarray) -> None:
        """Called after the backward pass of a step (from 1), before the optimizer moves.

        Raises:
            RunError: the loss is not finite.
        """
        if loss.device.type != "cuda":
            self._check(step, float(loss), samples_B)
            return
        self.flush()
        copy = loss.to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._late = (step, copy, event, samples_B)

    def flush(self) -> None:
        """Looks at what is still to be looked at; raises as `check_loss`."""
        if self._late is not None:
            (step, copy, event, samples_B), self._late = self._late, None
            event.synchronize()
            self._check(step, float(copy), samples_B)

    def check_weights(self, step: int, samples_B: np.ndarray) -> None:
        """Called before a checkpoint.

        Raises:
            RunError: a weight is not finite.
        """
        self.flush()
        finite = torch.stack([p.detach().isfinite().all() for p in self.model.parameters()])
        if not bool(finite.all()):
            named = zip(self.model.named_parameters(), finite.tolist(), strict=True)
            first = next(name for (name, _), good in named if not good)
            self._stop(f"weights are not finite after step {step} ({first} first)", samples_B)

    def _check(self, step: int, loss: float, samples_B: np.ndarray) -> None:
        if not math.isfinite(loss):
            self._stop(f"the loss is {loss} at step {step}", samples_B)

    def _stop(self, what: str, samples_B: np.ndarray) -> None:
        norm = float(gradient_norm(self.model.parameters()))
        shown = ", ".join(self.keys(samples_B[:_SHOWN]))
        more = f" and {len(samples_B) - _SHOWN} more" if len(samples_B) > _SHOWN else ""
        raise RunError(
            f"{what}; gradient norm {norm:.4g}; samples {shown}{more}",
            f"stage {self.stage}",
            "lower optimizer.lr, set optimizer.clip_norm or warmup, or look at these samples",
        )
