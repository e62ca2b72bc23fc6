"""Runs the trials of a search with Ray Tune: search algorithm, scheduler, results; restores an interrupted search."""

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
from blear.search.budget import BudgetStopper, BudgetUsage
from blear.search.configuration import TrialContext
from blear.search.objective import ObjectiveEvaluator
from blear.search.progress import SearchProgress
from blear.search.resources import TrialResources
from blear.search.results import Trial
from blear.search.space import tune_space, values
from blear.search.trial import trial
from blear.storage.run_folder import RunFolder
from blear.train.on_ray import internals

_OUR_ERRORS = "blear.errors."  # prefix of our own errors in a traceback


def run_trials(
    context: TrialContext,
    search: Search,
    objective_evaluator: ObjectiveEvaluator,
    resources: TrialResources,
    seed: int,
    steps: int,
    failures: int = 0,
) -> list[tuple[Trial, dict[str, Any]]]:
    """Runs the trials of a search, or the remaining ones of an interrupted search.

    Args:
        seed: seed of the search algorithm.
        steps: training steps of the searched stage.
        failures: restarts of a trial whose process or node died, from its newest checkpoint; -1: unlimited.

    Returns:
        Every trial that started, failed ones included, ordered by start, each with the values that Tune drew for it
        (see `space.tune_space`).

    Raises:
        RunError: Ray cannot start the search.
        KeyboardInterrupt: the search was interrupted; finished trials are kept.
    """
    folder = context.root / "tune"
    function: Any = functools.partial(trial, context=context, search=search, objective_evaluator=objective_evaluator)
    function = tune.with_resources(function, tune.PlacementGroupFactory([dict(resources.bundle)]))
    if internals.can_continue_search(folder):
        echo("search: continues")
        tuner = tune.Tuner.restore(str(folder), trainable=function, resume_unfinished=True, restart_errored=False)
    else:
        budget = BudgetUsage(search, resources.gpus)
        tuner = tune.Tuner(
            function,
            param_space=tune_space(search.space),
            tune_config=tune.TuneConfig(
                search_alg=_algorithm(search, objective_evaluator, resources, seed),
                scheduler=_scheduler(search, objective_evaluator, steps),
                num_samples=search.trials,
                max_concurrent_trials=resources.concurrent,
                reuse_actors=True,
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(context.root),
                failure_config=tune.FailureConfig(max_failures=failures),
                stop=BudgetStopper(),
                callbacks=[budget, SearchProgress(objective_evaluator, search.trials, steps, budget)],
                verbose=0,
            ),
        )
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _quiet(), internals.only_lost_trials_restart():
            grid = tuner.fit()
    except tune.TuneError as error:
        raise RunError(f"Ray Tune failed: {error}", str(folder), "fix the cause and repeat the command") from error
    if signal.getsignal(signal.SIGINT) is handler:  # Tune's handler restores it only when it was called
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, handler)
    context.storage.collect(unfinished=True)
    results = sorted((grid[number] for number in range(len(grid))), key=lambda result: str(result.path))
    return [
        _trial_of(result, search, objective_evaluator, context)
        for result in results
        if result.error is not None or result.metrics or internals.sampled_params(Path(result.path))
    ]


def _folder_name(trial: Any) -> str:
    """Number and id of a trial: a restored search loses the order, and a trial that fails at once has no id."""
    return f"{int(trial.experiment_tag.partition('_')[0]):06d}-{trial.trial_id}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses Tune's tables and its tracebacks of failed trials, whose errors are in search.json."""
    ours = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}  # the new output prints even at verbosity 0
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


def _algorithm(search: Search, objective_evaluator: ObjectiveEvaluator, resources: TrialResources, seed: int) -> Any:
    if search.algorithm != "tpe":
        return BasicVariantGenerator(random_state=seed, max_concurrent=resources.concurrent or 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = objective_evaluator.names
    many = len(names) > 1
    metric: Any = names if many else names[0]
    mode: Any = ["max"] * len(names) if many else "max"
    start = max(4, search.trials // 3)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=start)
    return OptunaSearch(metric=metric, mode=mode, sampler=sampler)


def _scheduler(search: Search, objective_evaluator: ObjectiveEvaluator, steps: int) -> Any:
    common: dict[str, Any] = {"metric": objective_evaluator.names[0], "mode": "max"}
    every = search.report_every or steps
    if search.algorithm == "pbt":
        mutations = tune_space(search.space)
        return PopulationBasedTraining(
            **common, time_attr="step", perturbation_interval=every, hyperparam_mutations=mutations, synch=True
        )
    evaluations = math.ceil(steps / every)
    common |= {"time_attr": "evaluation", "reduction_factor": 2}
    if search.scheduler == "asha":  # + 1: ASHA stops a trial at max_t at once, before its final weights are written
        return AsyncHyperBandScheduler(**common, max_t=evaluations + 1, grace_period=1)
    if search.scheduler == "hyperband":
        return internals.hyperband_scheduler(evaluations, **common, stop_last_trials=False)
    return FIFOScheduler()


def _trial_of(
    result: Any, search: Search, objective_evaluator: ObjectiveEvaluator, context: TrialContext
) -> tuple[Trial, dict[str, Any]]:
    """The trial that a result of Tune describes, and the values that Tune drew for it."""
    metrics: Mapping[str, Any] = result.metrics or {}
    names = objective_evaluator.names
    name = Path(result.path).name.partition("-")[2]
    run = RunFolder(context.root / "trials" / name)
    objectives = {n: float(metrics[n]) for n in names if n in metrics and metrics[n] == metrics[n]}
    drawn = result.config or {}
    if not drawn and (file := internals.sampled_params(Path(result.path))):  # the trial failed before its first report
        drawn = json.loads(file.read_text())
    used = values(search.space, drawn) if drawn else {}
    if (history := run.root / "lineage.json").is_file():
        used = _mixtures_by_field(json.loads(history.read_text()))
    frame = result.metrics_dataframe
    reported = frame is not None and "step" in frame  # a trial that failed at once has no report
    looks = list(zip(frame["step"].tolist(), frame[names[0]].tolist(), strict=True)) if reported else []
    described = Trial(
        name=name,
        values=used,
        objectives=objectives if result.error is None else {},
        curve=json.loads(metrics.get("curve", "[]")),
        looks=looks,
        steps=int(metrics.get("step", 0)),
        seconds=float(metrics.get("time_total_s", 0.0)),
        error=None if result.error is None else _error_message(result.error),
        whole=result.error is None and bool(objectives) and run.stage_done(context.stage),
    )
    return described, dict(drawn)


def _mixtures_by_field(history: list[Any]) -> dict[str, dict[str, Any]]:
    """Field of the job -> {first step, as text: weights}."""
    return {path: {str(step): mixtures[path] for step, mixtures in history} for path in history[0][1]}


def _error_message(error: Exception) -> str:
    """The message of a trial's error: the whole text of a `BlearError`, else the last line of the traceback."""
    own = getattr(error, "cause", None) or error
    if isinstance(own, BlearError):
        return str(own)
    lines = str(own).strip().splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(_OUR_ERRORS)), None)
    return lines[-1] if start is None else "\n".join(lines[start:])
