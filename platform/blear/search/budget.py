"""When a search has taken its hours, or its GPU hours; both go on where an interrupted search went on."""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

from ray import tune

from blear.job.schema import Search
from blear.progress import echo


class Spent(tune.Stopper):
    """Ends a search whose budget is spent, and the trials that run."""

    now: ClassVar[bool] = False  # of the class: where Tune continues, a copy takes the stopper's place

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return Spent.now


class Budget(tune.Callback):
    """Counts the time of a search and that of its running trials.

    Args:
        gpus: GPUs of one trial.
    """

    def __init__(self, search: Search, gpus: float) -> None:
        self._hours, self._gpu_hours, self._gpus = search.hours, search.gpu_hours, gpus
        self._seconds = self._gpu_seconds = 0.0
        self._looked: float | None = None

    def setup(self, *arguments: Any, **info: Any) -> None:
        self._looked, Spent.now = None, False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        passed = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        self._seconds += passed
        self._gpu_seconds += passed * self._gpus * sum(trial.status == "RUNNING" for trial in trials)
        for name, most, used in (
            ("hours", self._hours, self._seconds),
            ("gpu_hours", self._gpu_hours, self._gpu_seconds),
        ):
            if most is not None and used >= most * 3600 and not Spent.now:
                Spent.now = True
                echo(f"search: its {name} are over; no trial goes on")

    def left(self, running: int) -> float:
        """Seconds until it is spent, with so many trials at once; infinite where there is no end."""
        hours = math.inf if self._hours is None else self._hours * 3600 - self._seconds
        if self._gpu_hours is None or not self._gpus * running:
            return max(hours, 0.0)
        return max(min(hours, (self._gpu_hours * 3600 - self._gpu_seconds) / (self._gpus * running)), 0.0)

    def get_state(self) -> dict[str, Any]:
        return {"seconds": self._seconds, "gpu_seconds": self._gpu_seconds}

    def set_state(self, state: dict[str, Any]) -> None:
        self._seconds, self._gpu_seconds = state["seconds"], state["gpu_seconds"]
