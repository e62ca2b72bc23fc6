"""One point of the space: the job with its values, trained and tested. A trial and a baseline are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from blear.contracts import Metric
from blear.errors import JobError
from blear.evaluate.evaluator import Evaluator
from blear.job.reader import dump_job, read_job
from blear.job.schema import Arm, Job
from blear.plugin.discovery import load_plugins
from blear.progress import track
from blear.search.objective import Curve, curve_of
from blear.storage.run_folder import RunFolder, write_text
from blear.train.loop import train_stage
from blear.train.model import Recognizer, build_recognizer
from blear.train.plan import StagePlan
from blear.train.worker import LocalWorker, local_device

Look = Callable[[int, Curve], None]
"""Told the step and the curve at every look."""


@dataclass(frozen=True)
class Ground:
    """What all points of a search share.

    Attributes:
        base: the resolved job without its search, on storage that every node sees.
        root: the search's run folder.
        prepared: as for a stage's plan.
        shared: stages that no point changes, trained once in `root`.
    """

    base: Path
    root: Path
    prepared: Mapping[str, str | Path]
    stage: str
    split: str
    shared: tuple[str, ...]
    on_ray: bool

    def job(self, changes: Mapping[str, Any], name: str) -> Job:
        """The job of a point; every value is checked as a job file is.

        Raises:
            JobError: a value that the job does not allow.
        """
        sets = {"name": name, **changes}
        return read_job(self.base, overrides=[f"{path}={json.dumps(value)}" for path, value in sets.items()])[0]


def train_point(
    ground: Ground, job: Job, run: RunFolder, look: Look | None = None, only: Sequence[str] | None = None
) -> None:
    """Trains the stages that are not done yet: `only` these, else the searched one and those that it starts from.

    With `look`, in this process; the searched stage is tested at every checkpoint.
    """
    if run.root != ground.root:
        write_text(run.root / "job.yaml", dump_job(job))
    for name in needed(job, ground.stage) if only is None else dict.fromkeys(only):
        if run.stage_done(name):
            continue
        if name in ground.shared and run.root != ground.root:
            shutil.copytree(RunFolder(ground.root).stage(name), run.stage(name), dirs_exist_ok=True)
            continue
        plan = StagePlan(job, name, run, dict(ground.prepared))
        if ground.on_ray and look is None:
            from blear.train.on_ray.runner import train_on_ray

            train_on_ray(plan)
        else:
            train_stage(plan, _Looking(plan, ground, look if name == ground.stage else None))


def curve_at(ground: Ground, job: Job, run: RunFolder, model: nn.Module | None = None) -> Curve:
    """The curve of the searched stage on the search's split, of its final weights or of `model`."""
    evaluator, metric = _evaluator(ground, job, run)
    if model is not None:
        evaluator.models[ground.stage] = model  # type: ignore[assignment]
    with track("look", len(evaluator.levels)) as bar:
        return curve_of(evaluator.tables(bar), metric)


def headline(ground: Ground, job: Job, run: RunFolder) -> Metric:
    """The metric that the searched stage is tested by.

    Raises:
        JobError: its head has none.
    """
    return _evaluator(ground, job, run)[1]


def _evaluator(ground: Ground, job: Job, run: RunFolder) -> tuple[Evaluator, Metric]:
    if job.evaluate is None:
        raise JobError("a search needs an `evaluate` section, whose levels it looks at", "search", "add one")
    catalog = load_plugins(tuple(job.plugins))
    evaluate = job.evaluate.model_copy(update={"split": ground.split, "arms": {"trial": Arm(stage=ground.stage)}})
    evaluator = Evaluator(job, evaluate, catalog, run, ground.prepared, local_device("auto"))
    _, context = evaluator.transform(ground.stage)
    head: Any = build_recognizer(catalog, job.stages[ground.stage], ground.stage, context).head
    metrics = list(head.metrics())
    if not metrics:
        raise JobError(f"stage {ground.stage!r} gives no metric", "search.stage", "name a recognition stage")
    return evaluator, metrics[0]


def needed(job: Job, stage: str) -> list[str]:
    """The stage and those that it starts from, in the job's order."""
    found, waiting = set(), [stage]
    while waiting:
        name = waiting.pop()
        found.add(name)
        start = job.stages[name].backbone.start_from
        waiting += [start.stage] if start is not None and start.stage is not None else []
    return [name for name in job.stages if name in found]


class _Looking(LocalWorker):
    """A worker of one process that tests its model at every checkpoint of the searched stage."""

    def __init__(self, plan: StagePlan, ground: Ground, look: Look | None) -> None:
        super().__init__(local_device("auto"))
        self._plan, self._ground, self._look = plan, ground, look
        self._model: Recognizer | None = None

    def prepare_model(self, model: nn.Module) -> nn.Module:
        wrapped = super().prepare_model(model)
        self._model = wrapped  # type: ignore[assignment]
        return wrapped

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        if self._look is None or self._model is None:
            return
        self._model.eval()
        curve = curve_at(self._ground, self._plan.job, self._plan.run, self._model)
        self._model.train()
        self._look(step, curve)
