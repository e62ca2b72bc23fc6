"""A search from its job to its page: shared stages, trials, baselines, the best one tested beside them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from blear.errors import JobError, RunError
from blear.evaluate.arms import evaluate_arms
from blear.job.reader import dump_job, read_job
from blear.job.schema import Arm, Job, Search
from blear.plugin.catalog import Catalog
from blear.progress import echo, track
from blear.search.importance import importance
from blear.search.lineage import scheduled
from blear.search.objective import Judge
from blear.search.point import Ground, curve_at, headline, needed, train_point
from blear.search.results import SearchResults, Trial, pareto
from blear.search.room import Room
from blear.search.tuning import run_trials
from blear.storage.run_folder import RunFolder, write_text
from blear.train.worker import local_device

BEST = "best"
_RUNS_ITSELF = "#!/usr/bin/env -S blear run"


def search_job(job: Job, catalog: Catalog, run: RunFolder, prepared: Mapping[str, str | Path]) -> str:
    """Runs the search of a job; leaves search.json, best.yaml, trials/, baselines/ and what an evaluation leaves.

    Returns:
        The table of the best trial and the baselines on the split of `evaluate`, as Markdown.

    Raises:
        JobError: the search names what the job does not have.
        RunError: no trial succeeded.
    """
    search, evaluate = job.search, job.evaluate
    if search is None or evaluate is None:
        raise JobError("a search needs an `evaluate` section, whose levels it looks at", "search", "add one")
    began = time.monotonic()
    plain = job.model_copy(update={"search": None})
    base = run.root / "base.yaml"
    write_text(base, dump_job(plain))
    ground = Ground(
        base, run.root, prepared, search.stage, search.split, tuple(_shared(job, search)), job.cluster.workers != 1
    )
    train_point(ground, plain, run, only=[*ground.shared, *_others(job, search)])
    metric = headline(ground, plain, run)
    judge = Judge(tuple(search.objective), metric.higher_is_better)
    steps = job.stages[search.stage].steps
    room = Room.of(search, job.cluster)
    found = run_trials(ground, search, judge, room, job.seed, steps)
    trials = [trial for trial, _ in found]
    whole = [trial for trial in trials if trial.whole]  # one that was ended early has no weights
    ranked = sorted(whole, key=lambda t: -t.objectives[judge.names[0]])
    if not ranked:
        errors = "; ".join(dict.fromkeys(trial.error or "no result" for trial in trials))
        do = "see output.log of each; of a budget that is too small, give more and --fresh"
        raise RunError(f"no trial came to its end: {errors or 'none began'}", str(run.root / "trials"), do)
    best = ranked[0]
    best_job = ground.job(_changes(best, search, steps), f"{job.name}-{BEST}")
    _write_job(run.root / "best.yaml", best_job)
    baselines = _baselines(ground, search, judge, room) if search.baselines else []
    config = [drawn for trial, drawn in found if trial.objectives]
    results = SearchResults(
        objectives=judge.names,
        metric=metric.label,
        split=search.split,
        algorithm=search.algorithm,
        asked=search.trials,
        trials=trials,
        best=best.name,
        pareto=pareto(trials, judge.names),
        importance=importance(search.space, config, [t.objectives[judge.names[0]] for t in trials if t.objectives]),
        baselines=baselines,
        seconds=time.monotonic() - began,
    )
    write_text(run.root / "search.json", results.model_dump_json(indent=1))
    folders = {label: run.root / "baselines" / folder for label, folder in _folders(search).items()}
    folders[BEST] = run.root / "trials" / best.name
    final = _final(job, search, run, folders, best_job)
    write_text(run.root / "final.yaml", dump_job(final))
    return evaluate_arms(final, catalog, run, prepared, local_device("auto"))


def _shared(job: Job, search: Search) -> list[str]:
    """Stages that the searched one starts from and that no value changes, nor those before them."""
    paths = [*search.space, *(path for values in search.baselines.values() for path in values)]
    touched = {path.split(".")[1] for path in paths if path.startswith("stages.")}
    elsewhere = any(not path.startswith("stages.") for path in paths) or "*" in touched
    before = [name for name in needed(job, search.stage) if name != search.stage]
    kept: list[str] = []
    for name in before:
        start = job.stages[name].backbone.start_from
        source = start.stage if start is not None else None
        if not elsewhere and name not in touched and (source is None or source in kept):
            kept.append(name)
    return kept


def _others(job: Job, search: Search) -> list[str]:
    """Stages of arms that do not test the searched one: they are trained once and reported beside it."""
    arms = job.evaluate.arms.values() if job.evaluate is not None else ()
    names = {name for arm in arms for name in (arm.stage, arm.restore) if name in job.stages and name != search.stage}
    return [name for name in job.stages if any(name in needed(job, one) for one in names)]


def _changes(best: Trial, search: Search, steps: int) -> dict[str, Any]:
    if search.algorithm != "pbt":
        return dict(best.values)
    stairs = {path: {int(step): held for step, held in values.items()} for path, values in best.values.items()}
    moments = sorted({step for values in stairs.values() for step in values})
    return scheduled([(step, {path: values[step] for path, values in stairs.items()}) for step in moments], steps)


def _baselines(ground: Ground, search: Search, judge: Judge, room: Room) -> list[Trial]:
    """Trained side by side in Ray tasks of a trial's size."""
    options: dict[str, Any] = {"num_cpus": room.bundle.get("CPU", 0), "num_gpus": room.bundle.get("GPU", 0)}
    task = ray.remote(**options, max_retries=0)(_baseline)
    folders, labels = _folders(search), list(search.baselines)
    waiting: dict[Any, str] = {}
    done: dict[str, Trial] = {}
    with track("baselines", len(labels)) as bar:
        while len(done) < len(search.baselines):
            while labels and len(waiting) < (room.at_once or len(search.baselines)):
                label = labels.pop(0)
                waiting[task.remote(ground, judge, label, folders[label], search.baselines[label])] = label
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            label = waiting.pop(ready)
            try:
                done[label] = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            bar.advance(1, label)
    return [done[label] for label in search.baselines]


def _baseline(ground: Ground, judge: Judge, label: str, folder: str, values: Mapping[str, Any]) -> Trial:
    began = time.monotonic()
    run = RunFolder(ground.root / "baselines" / folder)
    run.root.mkdir(parents=True, exist_ok=True)
    job = ground.job(values, folder)
    with (run.root / "output.log").open("a") as output, contextlib.redirect_stderr(output):
        train_point(ground, job, run)
        curve = curve_at(ground, job, run)
    steps = job.stages[ground.stage].steps
    objectives = judge(curve)
    points = [(condition, severity, value) for (condition, severity), value in curve.items()]
    return Trial(
        name=label,
        values=dict(values),
        objectives=objectives,
        curve=points,
        looks=[(steps, objectives[judge.names[0]])],
        steps=steps,
        seconds=time.monotonic() - began,
    )


def _final(job: Job, search: Search, run: RunFolder, folders: Mapping[str, Path], best_job: Job) -> Job:
    """The job whose arms are the baselines, the best trial and the other arms; their stages are copied into the run."""
    assert job.evaluate is not None
    stages, arms = dict(job.stages), {}
    for label, folder in folders.items():
        name = f"{search.stage}-{label if label == BEST else folder.name}"
        target = run.stage(name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(
            RunFolder(folder).stage(search.stage), target, ignore=shutil.ignore_patterns("checkpoints", ".*")
        )
        info = target / "stage.json"  # under its new name, so that a report tells them apart
        write_text(info, json.dumps(json.loads(info.read_text()) | {"name": name}, indent=1))
        own = best_job if label == BEST else read_job(folder / "job.yaml")[0]
        stages[name] = own.stages[search.stage]
        note = "the best trial of the search" if label == BEST else "a baseline, not searched"
        arms[label] = Arm(stage=name, note=note)
    arms |= {label: arm for label, arm in job.evaluate.arms.items() if arm.stage != search.stage}
    evaluate = job.evaluate.model_copy(update={"arms": arms})
    return job.model_copy(update={"stages": stages, "evaluate": evaluate, "search": None})


def _write_job(path: Path, job: Job) -> None:
    write_text(path, f"{_RUNS_ITSELF}\n{dump_job(job)}")
    path.chmod(0o755)
    echo(f"search: the best trial's job is {path}")


def _folders(search: Search) -> dict[str, str]:
    """Label of a baseline -> name of its folder, numbered because labels may differ in signs only."""
    names = (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") for label in search.baselines)
    return {
        label: f"{n}-{name}".strip("-") for n, (label, name) in enumerate(zip(search.baselines, names, strict=True), 1)
    }
