"""What the person who waits for a search sees: a bar of its trials, the best so far, the time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from blear.progress import ProgressBar, duration, echo, track
from blear.search.budget import Budget
from blear.search.objective import Judge

_LOOK_EVERY_S = 10.0


class Progress(tune.Callback):
    """Advances with each trial that ends.

    Args:
        trials: how many there will be.
        steps: those of a trial that is not ended early.
    """

    def __init__(self, judge: Judge, trials: int, steps: int, budget: Budget) -> None:
        self._name, self._trials, self._steps, self._budget = judge.names[0], trials, steps, budget
        self._bar: ProgressBar | None = None
        self._open = contextlib.ExitStack()
        self._began: dict[str, float] = {}
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process: Tune keeps a copy for one that continues."""
        return self.__dict__ | {"_bar": None, "_open": None, "_began": {}}

    def setup(self, *arguments: Any, **info: Any) -> None:
        self._bar, self._open, self._began = None, contextlib.ExitStack(), {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._bar is None:
            done, self._looked = sum(trial.is_finished() for trial in trials), time.monotonic()
            self._bar = self._open.enter_context(track("search", self._trials, done, every=0))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._began[trial.trial_id] = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._tell(0, trials, set())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(1, trials, {trial.trial_id})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        echo(f"search: trial {trial.trial_id} failed; the search goes on")
        self._tell(1, trials, {trial.trial_id})

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._open.close()

    def _tell(self, more: int, trials: Sequence[Any], ended: set[str]) -> None:
        self._looked = time.monotonic()
        told = {
            t.trial_id: t.last_result for t in trials if t.status != "ERROR" and self._name in (t.last_result or {})
        }
        best = max(told, key=lambda name: (told[name]["step"], told[name][self._name]), default=None)  # the furthest
        if best is None and not more:
            return
        note = "no result yet" if best is None else f"best {self._name} {told[best][self._name]:.4f} ({best})"
        left = self._left(trials, ended)
        if self._bar is not None:
            self._bar.advance(more, note if left is None else f"{note}, about {duration(left)} left")

    def _left(self, trials: Sequence[Any], ended: set[str]) -> float | None:
        """Seconds: what a trial took so far on average, for all that have not ended, over those that run at once.

        No more than the budget has; None at the end, and before anything is known.
        """
        finished = [t for t in trials if t.is_finished() or t.trial_id in ended]
        rest = self._trials - len(finished)
        took = [s for s in map(_seconds, finished) if s > 0] or [
            _seconds(t) * self._steps / t.last_result["step"] for t in trials if "step" in (t.last_result or {})
        ]
        if not took or not rest:
            return None
        each, now = sum(took) / len(took), time.monotonic()
        running = [t for t in trials if t.status == "RUNNING" and t not in finished]
        spent = [now - self._began.get(t.trial_id, now) for t in running]
        spent += [_seconds(t) for t in trials if t not in finished and t not in running]
        work = sum(max(each - s, 0.0) for s in spent) + each * max(rest - len(spent), 0)
        at_once = max(len(running) + len(ended), 1)
        return min(work / at_once, self._budget.left(at_once))


def _seconds(trial: Any) -> float:
    return float((trial.last_result or {}).get("time_total_s", 0.0))
