"""The time budget of a search: hours and GPU hours. An interrupted search continues with the time that it has used."""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

from ray import tune

from blear.job.schema import Search
from blear.progress import echo


class BudgetStopper(tune.Stopper):
    """Ends a search, running trials included, when its budget is used up."""

    exhausted: ClassVar[bool] = False  # on the class: Tune replaces the instance by a copy when it restores a search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return BudgetStopper.exhausted


class BudgetUsage(tune.Callback):
    """Measures the time of a search and the GPU time of its running trials.

    Args:
        search: its `hours` and `gpu_hours` are the budget.
        gpus: GPUs of one trial.
    """

    def __init__(self, search: Search, gpus: float) -> None:
        self._hours, self._gpu_hours, self._gpus = search.hours, search.gpu_hours, gpus
        self._seconds = self._gpu_seconds = 0.0
        self._measured_at: float | None = None

    def setup(self, *arguments: Any, **info: Any) -> None:
        self._measured_at, BudgetStopper.exhausted = None, False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        elapsed = 0.0 if self._measured_at is None else now - self._measured_at
        self._measured_at = now
        self._seconds += elapsed
        self._gpu_seconds += elapsed * self._gpus * sum(trial.status == "RUNNING" for trial in trials)
        for name, budget, used in (
            ("hours", self._hours, self._seconds),
            ("gpu_hours", self._gpu_hours, self._gpu_seconds),
        ):
            if budget is not None and used >= budget * 3600 and not BudgetStopper.exhausted:
                BudgetStopper.exhausted = True
                echo(f"search: its {name} are used up; all trials stop")

    def seconds_left(self, running: int) -> float:
        """Seconds until the budget is used up while `running` trials run; infinite without a budget."""
        hours = math.inf if self._hours is None else self._hours * 3600 - self._seconds
        if self._gpu_hours is None or not self._gpus * running:
            return max(hours, 0.0)
        return max(min(hours, (self._gpu_hours * 3600 - self._gpu_seconds) / (self._gpus * running)), 0.0)

    def get_state(self) -> dict[str, Any]:
        return {"seconds": self._seconds, "gpu_seconds": self._gpu_seconds}

    def set_state(self, state: dict[str, Any]) -> None:
        self._seconds, self._gpu_seconds = state["seconds"], state["gpu_seconds"]
