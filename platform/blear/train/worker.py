"""What the loop needs from a runner, and the runner without Ray: this process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn

from blear.errors import RunError
from blear.progress import echo


class Worker(Protocol):
    """One worker of a stage. Whatever it says of all workers is said by each of them at the same step.

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

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Within it, backward passes of the wrapped model leave gradients on this worker (accumulation)."""
        ...

    def total(self, value: float) -> float:
        """The sum of a number over all workers."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """What every worker gave, in order of rank."""
        ...

    def saved(self, step: int, metrics: dict[str, float]) -> None:
        """A checkpoint was handed to its writer."""
        ...

    def continues(self, step: int, undone: int) -> None:
        """Told on rank 0 where the stage goes on, and that steps to `undone` are done again."""
        ...

    def checkpoint_now(self, step: int) -> bool:
        """Whether a SIGTERM or a notice of pre-emption asks for a checkpoint at this step; asked at every step."""
        ...

    def leave(self, step: int) -> None:
        """Called when that checkpoint is on disk; ends the run where nothing else will."""
        ...


class LocalWorker:
    """The whole stage in this process; SIGTERM, as from a scheduler, ends it after a checkpoint."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._asked = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, SIGTERM asks for a checkpoint instead of ending the process (only the main thread may listen)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device."""
        return model.to(self.device)

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Nothing is averaged here."""
        return contextlib.nullcontext()

    def total(self, value: float) -> float:
        """The number itself."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The value itself."""
        return [value]

    def saved(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing to tell."""

    def continues(self, step: int, undone: int) -> None:
        """Says it."""
        echo(f"continues from step {step}; steps to {undone} are done again")

    def checkpoint_now(self, step: int) -> bool:
        """Whether SIGTERM came."""
        return self._asked

    def leave(self, step: int) -> None:
        """Ends the run.

        Raises:
            RunError: always.
        """
        raise RunError(f"stopped by SIGTERM at step {step}", do="give the same command: it continues from this step")


def local_device(gpu: bool | str) -> torch.device:
    """The GPU of this process if asked for or present."""
    return torch.device("cuda" if (gpu is True or (gpu == "auto" and torch.cuda.is_available())) else "cpu")
