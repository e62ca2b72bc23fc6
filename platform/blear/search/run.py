"""Runs a search: shared stages, trials, baselines, and the evaluation of the best trial beside the baselines."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from blear.errors import JobError, RunError
from blear.evaluate.on_ray.runner import evaluate_on_ray
from blear.job.arm_stages import BEST, final_evaluation, is_named
from blear.job.reader import dump_job, read_job
from blear.job.schema import Job, Search
from blear.plugin.catalog import Catalog
from blear.progress import echo, track
from blear.search.configuration import (
    TrialContext,
    evaluate_configuration,
    objective_metrics,
    output_log,
    required_stages,
    train_configuration,
)
from blear.search.importance import importance
from blear.search.mixture_history import to_schedule
from blear.search.objective import ObjectiveEvaluator
from blear.search.resources import TrialResources
from blear.search.results import SearchResults, Trial, pareto
from blear.search.tuning import run_trials
from blear.storage.run_folder import RunFolder, write_text
from blear.storage.run_mirror import sync_current
from blear.storage.shared_run import SharedRun
from blear.train.on_ray.tasks import call_on_worker

_SHEBANG = "#!/usr/bin/env -S blear run"


def search_job(job: Job, catalog: Catalog, run: RunFolder, prepared: Mapping[str, str | Path]) -> str:
    """Runs the search of a job, then evaluates the best trial beside the baselines.

    Writes search.json, best.yaml, trials/ and baselines/ to the run folder, and the files of an evaluation.

    Args:
        prepared: data name -> its prepared shards.

    Returns:
        The table of the best trial and the baselines on the split of `evaluate`, as Markdown.

    Raises:
        JobError: the search names a field or a metric that the job does not have.
        RunError: no trial completed.
    """
    search, evaluate = job.search, job.evaluate
    if search is None or evaluate is None:
        raise JobError("a search needs an `evaluate` section, whose sweep gives the curve", "search", "add one")
    started = time.monotonic()
    plain = job.model_copy(update={"search": None})
    base = run.root / "base.yaml"
    write_text(base, dump_job(plain))
    storage = SharedRun.of(run.root)
    context = TrialContext(
        base,
        run.root,
        prepared,
        search.stage,
        search.split,
        tuple(_shared_stages(job, search)),
        job.cluster.worker_range != (1, 1),
        storage,
    )
    sync_current()  # workers on other nodes download what this process has written
    resources = TrialResources.of(search, job.cluster)
    _train_shared(context, plain, run, resources, [*context.shared, *_other_stages(job, search)])
    metrics = objective_metrics(context, plain, run, search.objective)
    objective_evaluator = ObjectiveEvaluator(tuple(search.objective), metrics)
    steps = job.stages[search.stage].steps
    trials_with_draws = run_trials(
        context, search, objective_evaluator, resources, job.seed, steps, job.cluster.failures
    )
    trials = [trial for trial, _ in trials_with_draws]
    first = objective_evaluator.names[0]
    completed = [trial for trial in trials if trial.whole]  # a trial that was stopped early has no final weights
    ranked = sorted(completed, key=lambda t: -t.objectives[first])
    if not ranked:
        errors = "; ".join(dict.fromkeys(trial.error or "no result" for trial in trials))
        do = "see output.log of each trial; if the budget is too small, enlarge it and use --fresh"
        raise RunError(f"no trial completed: {errors or 'none started'}", str(run.root / "trials"), do)
    best = ranked[0]
    best_job = context.job(_changes(best, search, steps), f"{job.name}-{BEST}")
    _write_job(run.root / "best.yaml", best_job)
    baselines = (
        _baselines(context, search, objective_evaluator, resources, job.cluster.failures) if search.baselines else []
    )
    storage.collect(unfinished=True)
    drawn = [draw for trial, draw in trials_with_draws if trial.objectives]
    results = SearchResults(
        objectives=objective_evaluator.names,
        metric=metrics[0].label,
        split=search.split,
        algorithm=search.algorithm,
        asked=search.trials,
        trials=trials,
        best=best.name,
        pareto=pareto(trials, objective_evaluator.names),
        importance=importance(search.space, drawn, [t.objectives[first] for t in trials if t.objectives]),
        baselines=baselines,
        seconds=time.monotonic() - started,
    )
    write_text(run.root / "search.json", results.model_dump_json(indent=1))
    folders = {label: run.root / "baselines" / folder for label, folder in _folders(search).items()}
    folders[BEST] = run.root / "trials" / best.name
    final = _final_job(job, search, run, folders, best_job)
    write_text(run.root / "final.yaml", dump_job(final))
    return evaluate_on_ray(final, catalog, run, prepared)


def _train_shared(
    context: TrialContext, job: Job, run: RunFolder, resources: TrialResources, stages: Sequence[str]
) -> None:
    """Trains the stages that all trials share, with the resources of a trial: on a worker, or by Ray Train."""
    left = [name for name in stages if not run.stage_done(name)]
    if context.on_ray or not left:
        train_configuration(context, job, run, only=left)
        return
    cpus, gpus = resources.bundle.get("CPU", 0.0), resources.bundle.get("GPU", 0.0)
    for name in left:
        call_on_worker(_train_shared_stage, context, job, run, name, name=f"stage {name}", cpus=cpus, gpus=gpus)
        context.storage.collect()


def _train_shared_stage(context: TrialContext, job: Job, run: RunFolder, stage: str) -> None:
    with context.writing(run.stage(stage)) as (here, _, upload):
        train_configuration(here, job, RunFolder(here.root), only=[stage], upload=upload)


def _shared_stages(job: Job, search: Search) -> list[str]:
    """Stages whose weights the searched stage reads and that no value of the search changes, directly or indirectly."""
    paths = [*search.space, *(path for values in search.baselines.values() for path in values)]
    changed = {path.split(".")[1] for path in paths if path.startswith("stages.")}
    changes_all = any(not path.startswith("stages.") for path in paths) or "*" in changed
    before = [name for name in required_stages(job, search.stage) if name != search.stage]
    shared: list[str] = []
    for name in before:
        sources = job.stages[name].source_stages
        if not changes_all and name not in changed and all(source in shared for source in sources):
            shared.append(name)
    return shared


def _other_stages(job: Job, search: Search) -> list[str]:
    """Stages that other arms of the evaluation need; they are trained once and reported beside the best trial."""
    arms = job.evaluate.arms.values() if job.evaluate is not None else ()
    templates = {template for arm in arms for template in (arm.stage, arm.restore) if template != search.stage}
    names = [name for name in job.stages if any(is_named(name, template) for template in templates)]
    return [name for name in job.stages if any(name in required_stages(job, one) for one in names)]


def _changes(best: Trial, search: Search, steps: int) -> dict[str, Any]:
    """The job fields of the best trial; of population-based training, its mixtures as a schedule."""
    if search.algorithm != "pbt":
        return dict(best.values)
    by_path = {path: {int(step): mix for step, mix in values.items()} for path, values in best.values.items()}
    steps_of_change = sorted({step for mixtures in by_path.values() for step in mixtures})
    history = [(step, {path: mixtures[step] for path, mixtures in by_path.items()}) for step in steps_of_change]
    return to_schedule(history, steps)


def _baselines(
    context: TrialContext,
    search: Search,
    objective_evaluator: ObjectiveEvaluator,
    resources: TrialResources,
    failures: int,
) -> list[Trial]:
    """Trains and evaluates the baselines in Ray tasks with the resources of a trial, which are repeated if they die."""
    options: dict[str, Any] = {"num_cpus": resources.bundle.get("CPU", 0), "num_gpus": resources.bundle.get("GPU", 0)}
    task = ray.remote(**options, max_retries=failures)(_run_baseline)
    folders, labels = _folders(search), list(search.baselines)
    running: dict[Any, str] = {}
    done: dict[str, Trial] = {}
    with track("baselines", len(labels)) as bar:
        while len(done) < len(search.baselines):
            while labels and len(running) < (resources.concurrent or len(search.baselines)):
                label = labels.pop(0)
                future = task.remote(context, objective_evaluator, label, folders[label], search.baselines[label])
                running[future] = label
            (ready,), _ = ray.wait(list(running), num_returns=1)
            label = running.pop(ready)
            try:
                done[label] = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            bar.advance(1, label)
    return [done[label] for label in search.baselines]


def _run_baseline(
    context: TrialContext,
    objective_evaluator: ObjectiveEvaluator,
    label: str,
    folder: str,
    values: Mapping[str, Any],
) -> Trial:
    started = time.monotonic()
    with context.writing(context.root / "baselines" / folder) as (context, run, upload), output_log(run):
        job = context.job(values, folder)
        train_configuration(context, job, run, upload=upload)
        curves = evaluate_configuration(context, job, run, objective_evaluator.metrics)
    steps = job.stages[context.stage].steps
    objectives = objective_evaluator(curves)
    points = [(condition, severity, value) for (condition, severity), value in curves[0].items()]
    return Trial(
        name=label,
        values=dict(values),
        objectives=objectives,
        curve=points,
        looks=[(steps, objectives[objective_evaluator.names[0]])],
        steps=steps,
        seconds=time.monotonic() - started,
    )


def _final_job(job: Job, search: Search, run: RunFolder, folders: Mapping[str, Path], best_job: Job) -> Job:
    """The job whose arms are the baselines, the best trial and the job's other arms.

    Copies the searched stage of each baseline and of the best trial into the run.

    Args:
        folders: label of the arm -> run folder of the baseline or trial.
    """
    assert job.evaluate is not None
    stages, names = dict(job.stages), {}
    for label, folder in folders.items():
        name = f"{search.stage}-{label if label == BEST else folder.name}"
        target = run.stage(name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(
            RunFolder(folder).stage(search.stage), target, ignore=shutil.ignore_patterns("checkpoints", ".*")
        )
        info = target / "stage.json"  # the report distinguishes the stages by this name
        write_text(info, json.dumps(json.loads(info.read_text()) | {"name": name}, indent=1))
        own = best_job if label == BEST else read_job(folder / "job.yaml")[0]
        stages[name] = own.stages[search.stage]
        names[label] = name
    evaluate = final_evaluation(job.evaluate, search, names)
    return job.model_copy(update={"stages": stages, "evaluate": evaluate, "search": None})


def _write_job(path: Path, job: Job) -> None:
    write_text(path, f"{_SHEBANG}\n{dump_job(job)}")
    path.chmod(0o755)
    echo(f"search: the best trial's job is {path}")


def _folders(search: Search) -> dict[str, str]:
    """Label of a baseline -> name of its folder. A number makes the names unique."""
    names = (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") for label in search.baselines)
    return {
        label: f"{n}-{name}".strip("-") for n, (label, name) in enumerate(zip(search.baselines, names, strict=True), 1)
    }
