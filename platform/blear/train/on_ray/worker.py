"""A worker inside `ray.train`: the collectives of the training loop, and checkpoints on request."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from blear.train.on_ray.background_report import BackgroundReport
from blear.train.on_ray.history import LastStepFile

_POLL_EVERY_S = 0.5
_WAIT_FOR_RESTART_S = 30.0
_EXIT_AFTER_S = 1.0  # the other workers leave the last collective within it
_EXIT_CODE = 128 + signal.SIGTERM


class CheckpointReason(enum.IntEnum):
    """Why a checkpoint is requested between the regular ones. A higher value replaces a lower one."""

    NONE = 0
    DRAIN = 1  # a node is about to be taken away: training goes on after the checkpoint
    STOP = 2  # Ray is about to restart the workers: they wait after the checkpoint
    EXIT = 3  # a node is taken away in some seconds: all workers exit after the checkpoint, so that Ray restarts them
    SIGTERM = 4  # this process received SIGTERM: it exits after the checkpoint


class CheckpointRequest:
    """The pending request of this worker process. Its main thread sets it, its training thread reads it."""

    def __init__(self) -> None:
        self.reason = CheckpointReason.NONE
        self.written = threading.Event()

    def set(self, reason: CheckpointReason) -> None:
        """Requests a checkpoint; a lower reason than the pending one has no effect."""
        self.reason = max(self.reason, reason)


_request = CheckpointRequest()


def request_checkpoint(reason: CheckpointReason) -> None:
    """Requests a checkpoint. Ray calls it on the main thread of a worker process."""
    _request.set(reason)


def requested_checkpoint_written() -> bool:
    """Whether the checkpoint for `STOP` is on disk. Ray calls it on the main thread of a worker process."""
    return _request.written.is_set()


def install_sigterm_handler() -> None:
    """Makes SIGTERM request a checkpoint. Ray calls it on the main thread, where Python allows signal handlers."""
    signal.signal(signal.SIGTERM, lambda number, frame: _request.set(CheckpointReason.SIGTERM))


class RayWorker:
    """A worker inside `ray.train`; implements `blear.train.worker.Worker`.

    Args:
        folder: the stage's folder.
        upload: uploads the folder where the nodes share none, see `SharedRun.writing`.
    """

    def __init__(self, folder: Path, upload: Callable[[bool], None] = lambda wait: None) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self._last_step = LastStepFile(folder) if self.rank == 0 else None
        self._upload = upload
        self._report = BackgroundReport(ray.train.report)
        self._handled = CheckpointReason.NONE
        self._polled_at = time.monotonic()
        self._polled_step = self._next_poll = -1

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Moves the model to the device, and wraps it in DistributedDataParallel if there are several workers."""
        import ray.train.torch

        prepared: nn.Module = ray.train.torch.prepare_model(model)
        return prepared

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """`DistributedDataParallel.no_sync`."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()

    def all_reduce_sum(self, value: float) -> float:
        """The sum of a number over all workers."""
        if self.world_size == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(number)
        return float(number)

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all workers, by rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        """Has the step reported to Ray Train later, in the background.

        The checkpoint itself lies in the run folder, where any runner finds it.
        """
        self._upload(False)
        self._report.update({"step": step, **metrics})

    def close(self) -> None:
        """Ends the background report."""
        self._report.close()

    def on_resume(self, step: int, last_step: int) -> None:
        """Prints nothing: `StageCallback` on the controller writes it to the history."""

    def should_checkpoint(self, step: int) -> bool:
        """Whether any worker has a new request. All workers poll at the same steps, about twice a second.

        At these steps the workers also agree on the next report to Ray Train.
        """
        if self._last_step is not None:
            self._last_step.write(step)
        if step < self._next_poll:
            return False
        now = time.monotonic()
        started = self._polled_step >= 0
        step_s = (now - self._polled_at) / (step - self._polled_step) if started else _POLL_EVERY_S
        reason, step_s, not_ready = self._all_reduce_max(
            float(_request.reason), step_s, 0.0 if self._report.ready else 1.0
        )
        if not not_ready:
            self._report.start()
        self._polled_step, self._polled_at = step, now
        self._next_poll = step + max(1, int(_POLL_EVERY_S / max(step_s, 1e-6)))
        if reason <= self._handled:
            return False
        self._handled = CheckpointReason(int(reason))
        return True

    def after_requested_checkpoint(self, step: int) -> None:
        """Exits after SIGTERM and `EXIT`, waits for the restart after `STOP`, trains on after `DRAIN`."""
        self._upload(self._handled != CheckpointReason.DRAIN)
        if self._handled == CheckpointReason.SIGTERM and _request.reason == CheckpointReason.SIGTERM:
            os._exit(_EXIT_CODE)  # a Python exception would count as an error of the user's code
        if self._handled == CheckpointReason.EXIT:
            self.all_reduce_sum(0.0)  # rank 0 has written the checkpoint
            time.sleep(_EXIT_AFTER_S)
            os._exit(_EXIT_CODE)
        if self._handled == CheckpointReason.STOP:
            _request.written.set()
            time.sleep(_WAIT_FOR_RESTART_S)

    def _all_reduce_max(self, *values: float) -> list[float]:
        """The maximum of each value over all workers."""
        if self.world_size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
        return [float(number) for number in numbers.tolist()]
