"""Which stages of a job were chosen on the very samples that it reports on."""

from __future__ import annotations

from collections.abc import Iterator

from blear.job.schema import Job, Stage


def selected_on_reported_split(job: Job) -> list[str]:
    """Stages whose validation chooses weights, or when to stop, on the split of the data that the job evaluates."""
    if job.evaluate is None:
        return []
    return [name for name in job.stages if _chooses(job, name) and name in set(_lineage(job))]


def _chooses(job: Job, name: str) -> bool:
    stage, evaluate = job.stages[name], job.evaluate
    validate = stage.validate_
    if evaluate is None or validate is None or (validate.keep == "last" and validate.patience is None):
        return False
    return validate.split == evaluate.split and stage.data == (evaluate.data or stage.data)


def _lineage(job: Job) -> Iterator[str]:
    """Stages that the arms test, and those that they start from."""
    arms = job.evaluate.arms.values() if job.evaluate is not None else ()
    waiting = [name for name in job.stages for arm in arms if _tests(arm.stage, name) or _tests(arm.restore, name)]
    while waiting:
        name = waiting.pop()
        yield name
        waiting += _starts(job.stages[name])


def _starts(stage: Stage) -> list[str]:
    start = stage.backbone.start_from
    return [start.stage] if start is not None and start.stage is not None else []


def _tests(template: str | None, name: str) -> bool:
    if template is None:
        return False
    first, brace, _ = template.partition("{")
    return name == template or (bool(brace) and name.startswith(first))
