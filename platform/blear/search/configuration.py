"""Training and evaluation of one trial configuration: the job with the trial's values. Baselines are trained alike."""

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

OnCurve = Callable[[int, Curve], None]
"""Called with the step and the curve of each evaluation during training."""


@dataclass(frozen=True)
class TrialContext:
    """Settings that all trials of a search share.

    Attributes:
        base: file of the resolved job without its search, on storage that every node can read.
        root: the run folder of the search.
        prepared: data name -> its prepared shards, as in a stage's plan.
        stage: the searched stage.
        split: the split that the objectives are computed on.
        shared: stages that no value of the search changes; they are trained once, in `root`.
        on_ray: whether Ray Train trains each trial with several workers.
    """

    base: Path
    root: Path
    prepared: Mapping[str, str | Path]
    stage: str
    split: str
    shared: tuple[str, ...]
    on_ray: bool

    def job(self, changes: Mapping[str, Any], name: str) -> Job:
        """The job of a trial configuration.

        Args:
            changes: field of the job -> value.
            name: name of the run.

        Raises:
            JobError: the job does not allow a value.
        """
        overrides = {"name": name, **changes}
        return read_job(self.base, overrides=[f"{path}={json.dumps(value)}" for path, value in overrides.items()])[0]


def train_configuration(
    context: TrialContext,
    job: Job,
    run: RunFolder,
    on_curve: OnCurve | None = None,
    only: Sequence[str] | None = None,
) -> None:
    """Trains the stages of a configuration that are not trained yet; shared stages are copied.

    Args:
        on_curve: evaluates the searched stage at each checkpoint, and is called with the curve. Training then runs in
            this process.
        only: stages to train; None: the searched stage and the stages that it starts from.
    """
    if run.root != context.root:
        write_text(run.root / "job.yaml", dump_job(job))
    for name in required_stages(job, context.stage) if only is None else dict.fromkeys(only):
        if run.stage_done(name):
            continue
        if name in context.shared and run.root != context.root:
            shutil.copytree(RunFolder(context.root).stage(name), run.stage(name), dirs_exist_ok=True)
            continue
        plan = StagePlan(job, name, run, dict(context.prepared))
        if context.on_ray and on_curve is None:
            from blear.train.on_ray.runner import train_on_ray

            train_on_ray(plan)
        else:
            train_stage(plan, _EvaluatingWorker(plan, context, on_curve if name == context.stage else None))


def evaluate_configuration(context: TrialContext, job: Job, run: RunFolder, model: nn.Module | None = None) -> Curve:
    """The robustness curve of the searched stage on the search's split.

    Args:
        model: the model to evaluate; None: the final weights of the stage in `run`.
    """
    evaluator, metric = _evaluator(context, job, run)
    if model is not None:
        evaluator.models[context.stage] = model  # type: ignore[assignment]
    with track("evaluation", len(evaluator.levels)) as bar:
        return curve_of(evaluator.tables(bar), metric)


def headline_metric(context: TrialContext, job: Job, run: RunFolder) -> Metric:
    """The first metric of the searched stage's head.

    Raises:
        JobError: the head has no metric.
    """
    return _evaluator(context, job, run)[1]


def _evaluator(context: TrialContext, job: Job, run: RunFolder) -> tuple[Evaluator, Metric]:
    if job.evaluate is None:
        raise JobError("a search needs an `evaluate` section, whose sweep gives the curve", "search", "add one")
    catalog = load_plugins(tuple(job.plugins))
    evaluate = job.evaluate.model_copy(update={"split": context.split, "arms": {"trial": Arm(stage=context.stage)}})
    evaluator = Evaluator(job, evaluate, catalog, run, context.prepared, local_device("auto"))
    _, build_context = evaluator.transform(context.stage)
    head: Any = build_recognizer(catalog, job.stages[context.stage], context.stage, build_context).head
    metrics = list(head.metrics())
    if not metrics:
        raise JobError(f"stage {context.stage!r} gives no metric", "search.stage", "name a recognition stage")
    return evaluator, metrics[0]


def required_stages(job: Job, stage: str) -> list[str]:
    """A stage and all stages whose weights it reads, directly or indirectly, in the order of the job."""
    found, pending = set(), [stage]
    while pending:
        name = pending.pop()
        found.add(name)
        pending += job.stages[name].source_stages
    return [name for name in job.stages if name in found]


class _EvaluatingWorker(LocalWorker):
    """A worker of one process that evaluates its model at every checkpoint of the searched stage."""

    def __init__(self, plan: StagePlan, context: TrialContext, on_curve: OnCurve | None) -> None:
        super().__init__(local_device("auto"))
        self._plan, self._context, self._on_curve = plan, context, on_curve
        self._model: Recognizer | None = None

    def prepare_model(self, model: nn.Module) -> nn.Module:
        wrapped = super().prepare_model(model)
        self._model = wrapped  # type: ignore[assignment]
        return wrapped

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        if self._on_curve is None or self._model is None:
            return
        self._model.eval()
        curve = evaluate_configuration(self._context, self._plan.job, self._plan.run, self._model)
        self._model.train()
        self._on_curve(step, curve)
