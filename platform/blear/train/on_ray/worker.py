"""A worker inside `ray.train`: collectives of the loop, and what it does when it is to be taken away."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from blear.train.on_ray.history import Reached

_POLL_EVERY_S = 0.5
_HOLD_S = 30.0
_SIGTERM_EXIT = 128 + signal.SIGTERM


class Reason(enum.IntEnum):
    """Why a checkpoint is asked for between the regular ones; the greater one wins."""

    NONE = 0
    DRAIN = 1  # a node goes soon: train on
    STOP = 2  # the workers are about to be started anew: stand still after the checkpoint
    SIGTERM = 3  # this process is to end: end after the checkpoint


class Notice:
    """What this worker process was asked for; set from its main thread, read by the training thread."""

    def __init__(self) -> None:
        self.reason = Reason.NONE
        self.answered = threading.Event()

    def ask(self, reason: Reason) -> None:
        """Asks for a checkpoint; a weaker reason changes nothing."""
        self.reason = max(self.reason, reason)


_notice = Notice()


def ask_for_checkpoint(reason: Reason) -> None:
    """Run by Ray on the main thread of a worker process."""
    _notice.ask(reason)


def has_answered() -> bool:
    """Run by Ray on the main thread of a worker process: whether the checkpoint for `STOP` is on disk."""
    return _notice.answered.is_set()


def listen_for_sigterm() -> None:
    """Run by Ray on the main thread of a worker process, the only one that may set a signal handler."""
    signal.signal(signal.SIGTERM, lambda number, frame: _notice.ask(Reason.SIGTERM))


class RayWorker:
    """A worker inside `ray.train`. `folder` is the stage's, on storage that every worker sees."""

    def __init__(self, folder: Path) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self._reached = Reached(folder) if self.rank == 0 else None
        self._answer = Reason.NONE
        self._polled_at = time.monotonic()
        self._polled = self._next = -1

    def wrap(self, model: nn.Module) -> nn.Module:
        """On the device, and in DistributedDataParallel when there are several workers."""
        import ray.train.torch

        wrapped: nn.Module = ray.train.torch.prepare_model(model)
        return wrapped

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """DistributedDataParallel's own."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()

    def total(self, value: float) -> float:
        """The sum of a number over all workers."""
        if self.world == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(number)
        return float(number)

    def gather(self, value: Any) -> list[Any]:
        """What every worker gave, in order of rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, value)
        return found

    def saved(self, step: int, metrics: dict[str, float]) -> None:
        """Tells Ray Train. The checkpoint lies in the run folder, where a restarted stage of any runner finds it."""
        import ray.train

        ray.train.report({"step": step, **metrics})

    def continues(self, step: int, undone: int) -> None:
        """Nothing to say: `ray_watch` has said it on the driver."""

    def checkpoint_now(self, step: int) -> bool:
        """Whether some worker was asked for a checkpoint; agreed on about twice a second, at the same steps by all."""
        if self._reached is not None:
            self._reached.set(step)
        if step < self._next:
            return False
        now = time.monotonic()
        pace = (now - self._polled_at) / (step - self._polled) if self._polled >= 0 else _POLL_EVERY_S
        reason, pace = self._greatest(float(_notice.reason), pace)
        self._polled, self._polled_at = step, now
        self._next = step + max(1, int(_POLL_EVERY_S / max(pace, 1e-6)))
        if reason <= self._answer:
            return False
        self._answer = Reason(int(reason))
        return True

    def leave(self, step: int) -> None:
        """The checkpoint is on disk: ends this process if that is what it was asked for, else waits or trains on."""
        if self._answer == Reason.SIGTERM and _notice.reason == Reason.SIGTERM:
            os._exit(_SIGTERM_EXIT)  # only so does Ray see that this worker is lost and start the others anew
        if self._answer == Reason.STOP:
            _notice.answered.set()
            time.sleep(_HOLD_S)

    def _greatest(self, *values: float) -> list[float]:
        """The greatest of each value over the workers."""
        if self.world == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
        return [float(number) for number in numbers.tolist()]
