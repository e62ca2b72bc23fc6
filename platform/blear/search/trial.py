"""The function that Ray Tune runs: one trial, in one worker process (or as the driver of several workers)."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blear.job.schema import Search
from blear.search.configuration import (
    TrialContext,
    await_checkpoint,
    evaluate_configuration,
    output_log,
    train_configuration,
)
from blear.search.mixture_history import MixtureHistory, to_schedule, with_mixtures
from blear.search.objective import Curve, ObjectiveEvaluator
from blear.search.space import values
from blear.storage.run_folder import RunFolder, write_text


def trial(
    config: Mapping[str, Any], *, context: TrialContext, search: Search, objective_evaluator: ObjectiveEvaluator
) -> None:
    """Trains and evaluates one configuration, and reports objectives, step and curve to Tune.

    In population-based training Tune may restore a trial from the checkpoint of another one. The trial then continues
    from that checkpoint's step, with its mixture history.

    Args:
        config: domain -> value, as Tune drew it.
    """
    from ray import tune

    name = tune.get_context().get_trial_id()
    changes = values(search.space, config)
    with context.writing(context.root / "trials" / name) as (context, run, upload), output_log(run):
        if search.algorithm == "pbt":
            history = _restore(run, changes, search)
            job = context.job({}, name)
            changes = to_schedule(history, job.stages[context.stage].steps)
        if search.report_every is not None:
            changes |= {f"stages.{context.stage}.checkpoint_every": search.report_every}
        job = context.job(changes, name)
        evaluates_checkpoints = search.scheduler != "none" or search.algorithm == "pbt"

        def on_curves(step: int, curves: list[Curve]) -> None:
            await_checkpoint(run, context.stage, step)  # a trial that Tune pauses or copies is restored from it
            upload(True)
            report = _report(objective_evaluator, curves, step, search)
            if search.algorithm != "pbt":
                tune.report(report)
                return
            with _pack(run, step) as folder:
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(str(folder)))

        metrics = objective_evaluator.metrics
        train_configuration(context, job, run, on_curves if evaluates_checkpoints else None, metrics, upload=upload)
        if not evaluates_checkpoints:
            curves = evaluate_configuration(context, job, run, metrics)
            tune.report(_report(objective_evaluator, curves, job.stages[context.stage].steps, search))


def _report(objective_evaluator: ObjectiveEvaluator, curves: list[Curve], step: int, search: Search) -> dict[str, Any]:
    """The objectives, and the curve of the first one, in the form of Tune."""
    points = [[condition, severity, value] for (condition, severity), value in curves[0].items()]
    number = math.ceil(step / (search.report_every or step))
    return {**objective_evaluator(curves), "step": step, "evaluation": number, "curve": json.dumps(points)}


def _restore(run: RunFolder, changes: dict[str, Any], search: Search) -> MixtureHistory:
    """Replaces the run's stages by those of the checkpoint that Tune gives, perhaps another trial's.

    Args:
        changes: the trial's mixtures from the checkpoint's step on.

    Returns:
        The mixture history of the checkpoint, followed by `changes`.
    """
    from ray import tune

    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        shutil.rmtree(run.root / "stages", ignore_errors=True)
        history: MixtureHistory = [(0, changes)]
    else:
        with checkpoint.as_directory() as folder:
            shutil.rmtree(run.root / "stages", ignore_errors=True)
            shutil.copytree(Path(folder) / "stages", run.root / "stages")
            stored = json.loads((Path(folder) / "lineage.json").read_text())
        earlier = [(step, mixtures) for step, mixtures in stored["lineage"]]
        history = with_mixtures(earlier, stored["step"], changes)
    write_text(run.root / "lineage.json", json.dumps(history))
    return history


@contextlib.contextmanager
def _pack(run: RunFolder, step: int) -> Iterator[Path]:
    """A temporary folder with all that another trial needs to continue: stages with checkpoints, mixture history."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ignore = shutil.ignore_patterns("tensorboard", ".*")
        shutil.copytree(run.root / "stages", folder / "stages", ignore=ignore)
        history = json.loads((run.root / "lineage.json").read_text())
        (folder / "lineage.json").write_text(json.dumps({"lineage": history, "step": step}))
        yield folder
