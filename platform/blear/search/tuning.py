"""Ray Tune: algorithm, scheduler, budget, progress; a search that was interrupted goes on."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from blear.errors import BlearError, RunError
from blear.progress import say
from blear.search.objective import Judge
from blear.search.point import Ground
from blear.search.results import Trial
from blear.search.section import Search
from blear.search.space import tune_space, values
from blear.search.trial import trial

_OURS = "blear.errors."  # how a traceback names our own errors


def run_trials(
    ground: Ground, search: Search, judge: Judge, seed: int, steps: int
) -> list[tuple[Trial, dict[str, Any]]]:
    """Every trial with what was drawn for it, failed ones too, in the order in which they began.

    Raises:
        RunError: Ray cannot start the search.
    """
    folder = ground.root / "tune"
    function: Any = functools.partial(trial, ground=ground, search=search, judge=judge)
    function = tune.with_resources(function, {"cpu": search.cpus, "gpu": search.gpus})
    if tune.Tuner.can_restore(str(folder)):
        say("search: continues")
        tuner = tune.Tuner.restore(str(folder), trainable=function, resume_unfinished=True, restart_errored=False)
    else:
        tuner = tune.Tuner(
            function,
            param_space=tune_space(search.space),
            tune_config=tune.TuneConfig(
                search_alg=_algorithm(search, judge, seed),
                scheduler=_scheduler(search, judge, steps),
                num_samples=search.trials,
                max_concurrent_trials=search.concurrent,
                time_budget_s=None if search.hours is None else search.hours * 3600,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(ground.root),
                failure_config=tune.FailureConfig(max_failures=0),
                stop=None if search.gpu_hours is None else _GpuBudget(search.gpu_hours, search.gpus),
                callbacks=[_Progress(search, judge)],
                verbose=0,
            ),
        )
    try:
        grid = tuner.fit()
    except tune.TuneError as error:
        raise RunError(f"Ray Tune failed: {error}", str(folder), "mend it and give the same command") from error
    return [_result(grid[number], search, judge, ground) for number in range(len(grid))]


def _algorithm(search: Search, judge: Judge, seed: int) -> Any:
    if search.algorithm != "tpe":
        return BasicVariantGenerator(random_state=seed, max_concurrent=search.concurrent or 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    many = len(judge.names) > 1
    metric: Any = judge.names if many else judge.names[0]
    mode: Any = ["max"] * len(judge.names) if many else "max"
    start = max(4, search.trials // 3)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=start)
    return OptunaSearch(metric=metric, mode=mode, sampler=sampler)


def _scheduler(search: Search, judge: Judge, steps: int) -> Any:
    common: dict[str, Any] = {"time_attr": "step", "metric": judge.names[0], "mode": "max"}
    every = search.report_every or steps
    if search.algorithm == "pbt":
        mutations = tune_space(search.space)
        return PopulationBasedTraining(
            **common, perturbation_interval=every, hyperparam_mutations=mutations, synch=True
        )
    most = steps + 1  # at `max_t` Tune ends a trial at once, before its final weights are written
    if search.scheduler == "asha":
        return AsyncHyperBandScheduler(**common, max_t=most, grace_period=every, reduction_factor=2)
    if search.scheduler == "hyperband":
        return HyperBandScheduler(**common, max_t=most, reduction_factor=2)
    return FIFOScheduler()


class _GpuBudget(tune.Stopper):
    """Ends the search when its trials together have used their GPUs for so many hours."""

    def __init__(self, hours: float, gpus: float) -> None:
        self._most, self._gpus = hours * 3600, gpus
        self._seconds: dict[str, float] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._seconds[trial_id] = float(result["time_total_s"])
        return self.stop_all()

    def stop_all(self) -> bool:
        return sum(self._seconds.values()) * self._gpus >= self._most


class _Progress(tune.Callback):
    """A line for each trial that ends: how many are done, the best so far, the time left."""

    def __init__(self, search: Search, judge: Judge) -> None:
        self._search, self._name = search, judge.names[0]
        self._began, self._done, self._best = time.monotonic(), 0, (-float("inf"), "")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        value = (trial.last_result or {}).get(self._name)
        if value is not None and value > self._best[0]:
            self._best = (value, trial.trial_id)
        self._ended()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        say(f"search: trial {trial.trial_id} failed; the search goes on")
        self._ended()

    def _ended(self) -> None:
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._search.trials - self._done)
        value, name = self._best
        best = f"best {self._name} {value:.4f} ({name})" if name else "none succeeded yet"
        say(f"search: {self._done} of {self._search.trials} trials, {best}, about {max(left, 0) / 60:.0f} min left")


def _result(one: Any, search: Search, judge: Judge, ground: Ground) -> tuple[Trial, dict[str, Any]]:
    metrics: Mapping[str, Any] = one.metrics or {}
    name = str(metrics.get("trial_id") or Path(one.path).name.split("_")[1])
    objectives = {n: float(metrics[n]) for n in judge.names if n in metrics and metrics[n] == metrics[n]}
    lineage = ground.root / "trials" / name / "lineage.json"
    drawn = one.config or json.loads((Path(one.path) / "params.json").read_text())  # of one that has told nothing
    held = values(search.space, drawn)
    if lineage.is_file():
        held = {path: dict(stairs) for path, stairs in _stairs(json.loads(lineage.read_text())).items()}
    frame = one.metrics_dataframe
    seen = frame is not None and "step" in frame  # a trial that failed at once has told nothing
    looks = list(zip(frame["step"].tolist(), frame[judge.names[0]].tolist(), strict=True)) if seen else []
    found = Trial(
        name=name,
        values=held,
        objectives=objectives if one.error is None else {},
        curve=json.loads(metrics.get("curve", "[]")),
        looks=looks,
        steps=int(metrics.get("step", 0)),
        seconds=float(metrics.get("time_total_s", 0.0)),
        error=None if one.error is None else _reason(one.error),
    )
    return found, dict(drawn)


def _stairs(lineage: list[Any]) -> dict[str, dict[str, Any]]:
    return {path: {str(step): held[path] for step, held in lineage} for path in lineage[0][1]}


def _reason(error: Exception) -> str:
    """What a person reads of a trial's error: the whole of a mistake, else the last line."""
    own = getattr(error, "cause", None) or error
    if isinstance(own, BlearError):
        return str(own)
    lines = str(own).strip().splitlines()
    mistake = next((n for n, line in enumerate(lines) if line.startswith(_OURS)), None)
    return lines[-1] if mistake is None else "\n".join(lines[mistake:])
