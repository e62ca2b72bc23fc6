"""What the loop needs from a runner, and the runner without Ray: this process."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class Worker(Protocol):
    """One worker of a stage.

    Attributes:
        rank, world: which worker this is, of how many.
        device: where the model lives.
    """

    rank: int
    world: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device, its gradients averaged over the workers."""
        ...

    def total(self, value: float) -> float:
        """The sum of a number over all workers; every worker calls it at the same step."""
        ...

    def saved(self, step: int, loss: float) -> None:
        """Every worker calls this after rank 0 wrote a checkpoint."""
        ...


class LocalWorker:
    """The whole stage in this process."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device."""
        return model.to(self.device)

    def total(self, value: float) -> float:
        """The number itself."""
        return value

    def saved(self, step: int, loss: float) -> None:
        """Nothing to tell."""


def local_device(gpu: bool | str) -> torch.device:
    """The GPU of this process if asked for or present."""
    return torch.device("cuda" if (gpu is True or (gpu == "auto" and torch.cuda.is_available())) else "cpu")
