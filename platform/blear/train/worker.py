"""The interface between the training loop and a runner, and the local runner: one process, without Ray."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn

from blear.errors import JobError, RunError
from blear.progress import echo


class Worker(Protocol):
    """One worker of a stage. Collective methods return the same value on every worker, which all call at one step.

    Attributes:
        rank: number of this worker, from 0.
        world_size: number of workers.
        device: device of the model.
    """

    rank: int
    world_size: int
    device: torch.device

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Moves the model to the device, and averages its gradients over the workers in each backward pass."""
        ...

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Context in which backward passes of the prepared model do not average gradients (accumulation)."""
        ...

    def all_reduce_sum(self, value: float) -> float:
        """The sum of a number over all workers."""
        ...

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all workers, by rank."""
        ...

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        """Called after each checkpoint was given to its writer."""
        ...

    def on_resume(self, step: int, last_step: int) -> None:
        """Called on rank 0 if the stage resumes at `step` although an earlier attempt had reached `last_step`."""
        ...

    def should_checkpoint(self, step: int) -> bool:
        """Whether SIGTERM or a pre-emption notice requests a checkpoint; called after every step."""
        ...

    def after_requested_checkpoint(self, step: int) -> None:
        """Called when a requested checkpoint is on disk. It may end the run."""
        ...


class LocalWorker:
    """The only worker of a stage, in this process. After SIGTERM it writes a checkpoint and stops."""

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sigterm = False

    @contextlib.contextmanager
    def catch_sigterm(self) -> Iterator[None]:
        """Context in which SIGTERM requests a checkpoint; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._sigterm = True

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Moves the model to the device."""
        return model.to(self.device)

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """An empty context: one worker has nothing to average."""
        return contextlib.nullcontext()

    def all_reduce_sum(self, value: float) -> float:
        """The number itself."""
        return value

    def all_gather(self, value: Any) -> list[Any]:
        """The value itself, in a list."""
        return [value]

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        """Does nothing."""

    def on_resume(self, step: int, last_step: int) -> None:
        """Prints it."""
        echo(f"continues from step {step}; steps to {last_step} are done again")

    def should_checkpoint(self, step: int) -> bool:
        """Whether SIGTERM was received."""
        return self._sigterm

    def after_requested_checkpoint(self, step: int) -> None:
        """Ends the run.

        Raises:
            RunError: always.
        """
        raise RunError(f"stopped by SIGTERM at step {step}", do="give the same command: it continues from this step")


def local_device(gpu: bool | str) -> torch.device:
    """The device of a local run: `gpu` is True, False or "auto" (CUDA if there is a GPU).

    Raises:
        JobError: `gpu` is True, and torch finds no GPU.
    """
    found = gpu is not False and torch.cuda.is_available()
    if gpu is True and not found:
        why = "" if torch.version.cuda or torch.version.hip else "; this torch is built for the CPU only"
        raise JobError(f"it is true, but torch finds no GPU here{why}", "cluster.gpu", "set it to auto or false")
    return torch.device("cuda" if found else "cpu")


def ray_gpu_share() -> float:
    """Part of a GPU that Ray has assigned to this process, for instance 0.25 for a trial that shares a GPU.

    Returns:
        1 without Ray, and for a process with one GPU or more.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return 1.0
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:  # the driver
        return 1.0
    gpus = float(context.get_assigned_resources().get("GPU", 1.0))
    return gpus if 0 < gpus < 1 else 1.0
