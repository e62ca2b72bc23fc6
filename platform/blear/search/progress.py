"""The progress bar of a search: finished trials, the best objective so far, the time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from blear.progress import ProgressBar, duration, echo, track
from blear.search.budget import BudgetUsage
from blear.search.objective import ObjectiveEvaluator

_UPDATE_EVERY_S = 10.0


class SearchProgress(tune.Callback):
    """Advances the bar by one for each trial that ends.

    Args:
        objective_evaluator: its first objective is shown.
        trials: number of trials of the search.
        steps: training steps of a trial that is not stopped early.
        budget: bounds the time left.
    """

    def __init__(self, objective_evaluator: ObjectiveEvaluator, trials: int, steps: int, budget: BudgetUsage) -> None:
        self._objective = objective_evaluator.names[0]
        self._trials, self._steps, self._budget = trials, steps, budget
        self._bar: ProgressBar | None = None
        self._open = contextlib.ExitStack()
        self._started: dict[str, float] = {}
        self._updated = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """The state that Tune stores for a restored search, without the objects of this process."""
        return self.__dict__ | {"_bar": None, "_open": None, "_started": {}}

    def setup(self, *arguments: Any, **info: Any) -> None:
        self._bar, self._open, self._started = None, contextlib.ExitStack(), {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._bar is None:
            finished, self._updated = sum(trial.is_finished() for trial in trials), time.monotonic()
            self._bar = self._open.enter_context(track("search", self._trials, finished, every=0))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._started[trial.trial_id] = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if time.monotonic() - self._updated >= _UPDATE_EVERY_S:
            self._update(0, trials, set())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._update(1, trials, {trial.trial_id})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        echo(f"search: trial {trial.trial_id} failed; the search continues")
        self._update(1, trials, {trial.trial_id})

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._open.close()

    def _update(self, advance: int, trials: Sequence[Any], ended: set[str]) -> None:
        """Advances the bar and shows the best of the trials that are furthest in training.

        Args:
            ended: ids of trials that end now; Tune still lists them as running.
        """
        self._updated = time.monotonic()
        reports = {
            t.trial_id: t.last_result
            for t in trials
            if t.status != "ERROR" and self._objective in (t.last_result or {})
        }
        best = max(reports, key=lambda name: (reports[name]["step"], reports[name][self._objective]), default=None)
        if best is None and not advance:
            return
        note = (
            "no result yet" if best is None else f"best {self._objective} {reports[best][self._objective]:.4f} ({best})"
        )
        left = self._seconds_left(trials, ended)
        if self._bar is not None:
            self._bar.advance(advance, note if left is None else f"{note}, about {duration(left)} left")

    def _seconds_left(self, trials: Sequence[Any], ended: set[str]) -> float | None:
        """Estimated seconds until the search ends; None where there is no estimate yet, or no trial is left.

        The estimate is the mean duration of a trial times the trials that are left, divided by the number of trials
        that run at once. It is at most the time that the budget leaves.
        """
        finished = [t for t in trials if t.is_finished() or t.trial_id in ended]
        remaining = self._trials - len(finished)
        durations = [s for s in map(_seconds, finished) if s > 0] or [
            _seconds(t) * self._steps / t.last_result["step"] for t in trials if "step" in (t.last_result or {})
        ]
        if not durations or not remaining:
            return None
        mean, now = sum(durations) / len(durations), time.monotonic()
        running = [t for t in trials if t.status == "RUNNING" and t not in finished]
        elapsed = [now - self._started.get(t.trial_id, now) for t in running]
        elapsed += [_seconds(t) for t in trials if t not in finished and t not in running]
        work = sum(max(mean - s, 0.0) for s in elapsed) + mean * max(remaining - len(elapsed), 0)
        at_once = max(len(running) + len(ended), 1)
        return min(work / at_once, self._budget.seconds_left(at_once))


def _seconds(trial: Any) -> float:
    return float((trial.last_result or {}).get("time_total_s", 0.0))
