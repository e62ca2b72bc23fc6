"""Finds stages that are trained on, or whose weights are selected on, the split that the evaluation reports on."""

from __future__ import annotations

from collections.abc import Iterator

from blear.job.arm_stages import is_named
from blear.job.schema import Job


def selected_on_reported_split(job: Job) -> list[str]:
    """Returns the evaluated stages whose validation selects weights, or stops training, on the evaluated split.

    Metrics on that split overestimate those on new samples. Stages whose weights an evaluated stage reads count too.
    """
    if job.evaluate is None:
        return []
    evaluated = set(evaluated_lineage(job))
    return [name for name in job.stages if name in evaluated and _selects_on_reported_split(job, name)]


def trained_on_reported_split(job: Job) -> list[str]:
    """Returns the evaluated stages, and those whose weights they read, that are trained on the evaluated split."""
    if job.evaluate is None:
        return []
    reported, evaluated = job.evaluate, set(evaluated_lineage(job))
    return [
        name
        for name, stage in job.stages.items()
        if name in evaluated and stage.split == reported.split and stage.data == (reported.data or stage.data)
    ]


def _selects_on_reported_split(job: Job, name: str) -> bool:
    stage, evaluate = job.stages[name], job.evaluate
    validate = stage.validate_
    if evaluate is None or validate is None or (validate.keep == "last" and validate.patience is None):
        return False
    return validate.split == evaluate.split and stage.validation_data == (evaluate.data or stage.data)


def evaluated_lineage(job: Job) -> Iterator[str]:
    """The stages that arms evaluate, and the stages whose weights these read."""
    arms = job.evaluate.arms.values() if job.evaluate is not None else ()
    waiting = [name for name in job.stages for arm in arms if is_named(name, arm.stage) or is_named(name, arm.restore)]
    while waiting:
        name = waiting.pop()
        yield name
        waiting += job.stages[name].source_stages
