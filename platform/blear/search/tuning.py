"""Ray Tune over the trials of a search: algorithm, scheduler, results; a search that was interrupted goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from blear.errors import BlearError, RunError
from blear.job.schema import Search
from blear.progress import echo
from blear.search.budget import Budget, Spent
from blear.search.objective import Judge
from blear.search.point import Ground
from blear.search.progress import Progress
from blear.search.results import Trial
from blear.search.room import Room
from blear.search.space import tune_space, values
from blear.search.trial import trial
from blear.storage.run_folder import RunFolder
from blear.train.on_ray import internals

_OURS = "blear.errors."  # how a traceback names our own errors


def run_trials(
    ground: Ground, search: Search, judge: Judge, room: Room, seed: int, steps: int
) -> list[tuple[Trial, dict[str, Any]]]:
    """Every trial that began with what was drawn for it, failed ones too, in the order in which they began.

    Raises:
        RunError: Ray cannot start the search.
        KeyboardInterrupt: the search was interrupted; what is done is kept.
    """
    folder = ground.root / "tune"
    function: Any = functools.partial(trial, ground=ground, search=search, judge=judge)
    function = tune.with_resources(function, tune.PlacementGroupFactory([dict(room.bundle)]))
    if internals.can_continue_search(folder):
        echo("search: continues")
        tuner = tune.Tuner.restore(str(folder), trainable=function, resume_unfinished=True, restart_errored=False)
    else:
        budget = Budget(search, room.gpus)
        tuner = tune.Tuner(
            function,
            param_space=tune_space(search.space),
            tune_config=tune.TuneConfig(
                search_alg=_algorithm(search, judge, room, seed),
                scheduler=_scheduler(search, judge, steps),
                num_samples=search.trials,
                max_concurrent_trials=room.at_once,
                reuse_actors=False,
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(ground.root),
                failure_config=tune.FailureConfig(max_failures=0),
                stop=Spent(),
                callbacks=[budget, Progress(judge, search.trials, steps, budget)],
                verbose=0,
            ),
        )
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _quiet():
            grid = tuner.fit()
    except tune.TuneError as error:
        raise RunError(f"Ray Tune failed: {error}", str(folder), "mend it and give the same command") from error
    if signal.getsignal(signal.SIGINT) is handler:  # Tune's own gives it back when it is called, and only then
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, handler)
    all_of_them = sorted((grid[number] for number in range(len(grid))), key=lambda one: str(one.path))
    began = [
        one for one in all_of_them if one.error is not None or one.metrics or internals.sampled_params(Path(one.path))
    ]
    return [_result(one, search, judge, ground) for one in began]


def _folder_name(trial: Any) -> str:
    """Number and id: Tune forgets the order when it continues, and a trial that fails at once tells no id."""
    return f"{int(trial.experiment_tag.partition('_')[0]):06d}-{trial.trial_id}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Tune's own tables, and its tracebacks of trials that fail: their reasons are in search.json."""
    ours = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}  # the new output prints at verbosity 0 too
    before = {name: os.environ.get(name) for name in ours}
    os.environ |= ours
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _algorithm(search: Search, judge: Judge, room: Room, seed: int) -> Any:
    if search.algorithm != "tpe":
        return BasicVariantGenerator(random_state=seed, max_concurrent=room.at_once or 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    many = len(judge.names) > 1
    metric: Any = judge.names if many else judge.names[0]
    mode: Any = ["max"] * len(judge.names) if many else "max"
    start = max(4, search.trials // 3)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=start)
    return OptunaSearch(metric=metric, mode=mode, sampler=sampler)


def _scheduler(search: Search, judge: Judge, steps: int) -> Any:
    common: dict[str, Any] = {"metric": judge.names[0], "mode": "max"}
    every = search.report_every or steps
    if search.algorithm == "pbt":
        mutations = tune_space(search.space)
        return PopulationBasedTraining(
            **common, time_attr="step", perturbation_interval=every, hyperparam_mutations=mutations, synch=True
        )
    looks = math.ceil(steps / every)
    common |= {"time_attr": "look", "reduction_factor": 2}
    if search.scheduler == "asha":  # which ends a trial at `max_t` at once, before its final weights are written
        return AsyncHyperBandScheduler(**common, max_t=looks + 1, grace_period=1)
    if search.scheduler == "hyperband":
        return internals.hyperband_scheduler(looks, **common, stop_last_trials=False)
    return FIFOScheduler()


def _result(one: Any, search: Search, judge: Judge, ground: Ground) -> tuple[Trial, dict[str, Any]]:
    metrics: Mapping[str, Any] = one.metrics or {}
    name = Path(one.path).name.partition("-")[2]
    objectives = {n: float(metrics[n]) for n in judge.names if n in metrics and metrics[n] == metrics[n]}
    lineage = ground.root / "trials" / name / "lineage.json"
    drawn = one.config or {}
    if not drawn and (file := internals.sampled_params(Path(one.path))):  # the trial failed before its first report
        drawn = json.loads(file.read_text())
    held = values(search.space, drawn) if drawn else {}
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
        whole=one.error is None
        and bool(objectives)
        and RunFolder(ground.root / "trials" / name).stage_done(ground.stage),
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
