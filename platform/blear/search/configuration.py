"""Training and evaluation of one trial configuration: the job with the trial's values. Baselines are trained alike."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from blear.errors import JobError
from blear.evaluate.evaluator import Evaluator
from blear.job.reader import dump_job, read_job
from blear.job.schema import Arm, Job, Objective
from blear.plugin.code_digest import code_digest, require_code
from blear.plugin.decoded_targets import find_metric, metric_names
from blear.plugin.discovery import load_plugins
from blear.progress import track
from blear.search.objective import Curve, TargetMetric, curve_of
from blear.storage.run_folder import RunFolder, write_text
from blear.storage.shared_run import SharedRun, no_upload
from blear.train.checkpoint import TrainerState, checkpoint_path, checkpoint_weights
from blear.train.loop import train_stage
from blear.train.model import Recognizer, build_for_loading, evaluated_targets
from blear.train.plan import StagePlan
from blear.train.state_copy import load_state
from blear.train.worker import LocalWorker, local_device

_WAIT_S = 600.0

OnCurves = Callable[[int, list[Curve]], None]
"""Called with the step and the curves of the objectives' metrics, of each evaluation during training."""


@dataclass(frozen=True)
class TrialContext:
    """Settings that all trials of a search share.

    Attributes:
        base: file of the resolved job without its search.
        root: the run folder of the search.
        prepared: data name -> its prepared shards, as in a stage's plan.
        stage: the searched stage.
        split: the split that the objectives are computed on.
        shared: stages that no value of the search changes; they are trained once, in `root`.
        on_ray: whether Ray Train trains each trial with several workers.
        storage: the run, where the nodes share no folder; `base` and `root` are paths of the driver.
        code: `code_digest` where the search was started.
    """

    base: Path
    root: Path
    prepared: Mapping[str, str | Path]
    stage: str
    split: str
    shared: tuple[str, ...]
    on_ray: bool
    storage: SharedRun = field(default_factory=SharedRun)
    code: str = field(default_factory=code_digest)

    @contextlib.contextmanager
    def writing(self, folder: Path) -> Iterator[tuple[TrialContext, RunFolder, Callable[[bool], None]]]:
        """Context of the task that trains in a folder: of a shared stage, a trial or a baseline.

        Where the nodes share no folder, the folder is uploaded as it changes.

        Args:
            folder: the path of the driver.

        Yields:
            This context with the paths of this machine, the folder, and a function that starts the upload; with the
            argument True it waits for the end of the upload.
        """
        require_code(self.code)
        here = replace(self, base=self.storage.local(self.base), root=self.storage.local(self.root))
        run = RunFolder(self.storage.local(folder))
        with self.storage.writing(run.root) as upload:
            yield here, run, upload

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
    on_curves: OnCurves | None = None,
    metrics: Sequence[TargetMetric] = (),
    only: Sequence[str] | None = None,
    upload: Callable[[bool], None] = no_upload,
) -> None:
    """Trains the stages of a configuration that are not trained yet; shared stages are copied.

    Args:
        on_curves: evaluates the searched stage at each checkpoint, and is called with the curves of `metrics`. Training
            then runs in this process.
        only: stages to train; None: the searched stage and the stages that it starts from.
        upload: starts the upload of what was written, at each checkpoint; see `TrialContext.writing`.
    """
    if run.root != context.root:
        write_text(run.root / "job.yaml", dump_job(job))
    for name in required_stages(job, context.stage) if only is None else dict.fromkeys(only):
        if run.stage_done(name):
            continue
        if name in context.shared and run.root != context.root:
            ignored = shutil.ignore_patterns("checkpoints", ".*")
            shutil.copytree(RunFolder(context.root).stage(name), run.stage(name), dirs_exist_ok=True, ignore=ignored)
            continue
        plan = StagePlan(job, name, run, dict(context.prepared))
        if context.on_ray and on_curves is None:
            from blear.train.on_ray.runner import train_on_ray

            train_on_ray(plan)
        else:
            on_curves_of = on_curves if name == context.stage else None
            train_stage(plan, _EvaluatingWorker(plan, context, on_curves_of, metrics, upload))


@contextlib.contextmanager
def output_log(run: RunFolder) -> Iterator[None]:
    """Context whose messages are appended to output.log of a trial or baseline."""
    run.root.mkdir(parents=True, exist_ok=True)
    with (run.root / "output.log").open("a") as output, contextlib.redirect_stderr(output):
        yield


def evaluate_configuration(
    context: TrialContext,
    job: Job,
    run: RunFolder,
    metrics: Sequence[TargetMetric],
    model: nn.Module | None = None,
) -> list[Curve]:
    """The robustness curves of the searched stage on the search's split, one for each metric.

    Args:
        model: the model to evaluate; None: the final weights of the stage in `run`.
    """
    evaluator = _evaluator(context, job, run)
    if model is not None:
        evaluator.models[context.stage] = model  # type: ignore[assignment]
    with track("evaluation", len(evaluator.levels)) as bar:
        tables = list(evaluator.tables(bar))
    found, pool = evaluator.metrics, evaluator.evaluate.pooling
    pairs = [(m.target, next(each for each in found[m.target] if each.name == m.name)) for m in metrics]
    return [curve_of(tables, target, metric, pool) for target, metric in pairs]


def objective_metrics(
    context: TrialContext, job: Job, run: RunFolder, objectives: Sequence[Objective]
) -> tuple[TargetMetric, ...]:
    """The metric of each objective: the one that it names, else the headline metric of the searched stage.

    Raises:
        JobError: the stage has no metric, or not the named one.
    """
    evaluator = _evaluator(context, job, run)
    _, build_context = evaluator.transform(context.stage)
    model = build_for_loading(evaluator.catalog, job.stages[context.stage], context.stage, build_context)
    metrics = evaluated_targets(model, replace(build_context, targets=evaluator.context.targets))
    if not metrics:
        raise JobError(f"stage {context.stage!r} gives no metric", "search.stage", "name a recognition stage")
    target = next(iter(metrics))
    found = []
    for objective in objectives:
        name = objective.metric or f"{target}.{metrics[target][0].name}"
        pair = find_metric(metrics, name)
        if pair is None:
            do = f"choose one of: {', '.join(metric_names(metrics))}"
            raise JobError(f"stage {context.stage!r} has no metric {name!r}", "search.objective.metric", do)
        of_target, metric = pair
        found.append(TargetMetric(of_target, metric.name, metric.label, metric.higher_is_better))
    return tuple(found)


def _evaluator(context: TrialContext, job: Job, run: RunFolder) -> Evaluator:
    if job.evaluate is None:
        raise JobError("a search needs an `evaluate` section, whose sweep gives the curve", "search", "add one")
    catalog = load_plugins(tuple(job.plugins))
    evaluate = job.evaluate.model_copy(update={"split": context.split, "arms": {"trial": Arm(stage=context.stage)}})
    return Evaluator(job, evaluate, catalog, run, context.prepared, local_device("auto"))


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

    def __init__(
        self,
        plan: StagePlan,
        context: TrialContext,
        on_curves: OnCurves | None,
        metrics: Sequence[TargetMetric],
        upload: Callable[[bool], None],
    ) -> None:
        super().__init__(local_device("auto"))
        self._upload = upload
        self._plan, self._context, self._on_curves, self._metrics = plan, context, on_curves, metrics
        self._model: Recognizer | None = None

    def prepare_model(self, model: nn.Module) -> nn.Module:
        wrapped = super().prepare_model(model)
        self._model = wrapped  # type: ignore[assignment]
        return wrapped

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        self._upload(False)
        if self._on_curves is None or self._model is None:
            return
        model = self._kept_model(step)
        model.eval()
        curves = evaluate_configuration(self._context, self._plan.job, self._plan.run, self._metrics, model)
        self._model.train()
        self._on_curves(step, curves)

    def _kept_model(self, step: int) -> nn.Module:
        """The model with the weights that a stage which ends at this step keeps: their average, or the best ones."""
        assert self._model is not None
        stage, folder = self._plan.spec, self._plan.run.stage(self._plan.stage) / "checkpoints"
        keeps_best = stage.validate_ is not None and stage.validate_.keep == "best"
        if stage.ema is None and stage.swa is None and not keeps_best:
            return self._model
        await_checkpoint(self._plan.run, self._plan.stage, step)
        newest = checkpoint_path(folder, step)
        state = TrainerState.from_json((newest / "state.json").read_text())
        best = state.best_step if keeps_best else None
        kept = copy.deepcopy(self._model)
        load_state(kept, checkpoint_weights(newest if best is None else checkpoint_path(folder, best)))
        return kept


def await_checkpoint(run: RunFolder, stage: str, step: int) -> None:
    """Waits until the writer thread has written the checkpoint of a step."""
    newest, until = checkpoint_path(run.stage(stage) / "checkpoints", step), time.monotonic() + _WAIT_S
    while not (newest / "state.json").is_file() and time.monotonic() < until:
        time.sleep(0.01)
