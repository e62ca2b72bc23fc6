"""One blank clip goes through all degradations of a job before anything is trained or tested."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from blear.contracts import BuildContext, ClipSpec, Target
from blear.data.prepared import Prepared
from blear.errors import BlearError, JobError
from blear.evaluate.sweep import levels
from blear.evaluate.transform import condition_chain, evaluation_transform
from blear.job.schema import Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.train.chains import stage_chains
from blear.train.model import stage_frame_sampler

Stored = tuple[ClipSpec, Mapping[str, Target]]
"""Shape and targets of stored clips."""


def dry_run(job: Job, catalog: Catalog, stored: Mapping[str, Stored]) -> None:
    """Refuses frames that a degradation cannot serve, chains whose sizes do not fit, and encoders that are missing.

    Args:
        stored: by name of data. What needs other data is not looked at.

    Raises:
        JobError: with every problem found.
    """
    problems: dict[str, None] = {}  # each once, in order

    def attempt(where: str, call: Callable[[], object]) -> None:
        try:
            call()
        except BlearError as error:
            told = str(error) if error.where.startswith(where) else f"{where}: {error}"
            problems.setdefault(told)
        except Exception as error:  # noqa: BLE001 - whatever a component raises of its own
            at = traceback.extract_tb(error.__traceback__)[-1]
            problems.setdefault(f"{where}: {type(error).__name__}: {error} ({at.filename}, line {at.lineno})")

    for name, stage in job.stages.items():
        if stage.data in stored:
            clip, targets = stored[stage.data]
            moments = stage_frame_sampler(stage, job.seed, clip)
            context = BuildContext(job.seed, clip if moments is None else moments.output_clip(clip), targets)
            attempt(f"stages.{name}", partial(stage_chains, job, name, catalog, context))
    if job.evaluate is not None and not problems:
        for where, call in _conditions(job, job.evaluate, catalog, stored):
            attempt(where, call)
    if problems:
        raise JobError("\n".join(problems))


def stored_by(job: Job, catalog: Catalog) -> tuple[dict[str, Stored], dict[str, str]]:
    """What a job's data will hold, before anything is prepared, by name; and why that of others is not known."""
    stored: dict[str, Stored] = {}
    unknown = {}
    for name, data in job.used_data.items():
        use, params = data.chosen
        try:
            if data.shards is not None:
                prepared = Prepared.open(data.shards)
                stored[name] = prepared.clip, prepared.targets
            else:
                dataset = catalog.get("dataset", use).build(params, BuildContext(job.seed))
                stored[name] = dataset.clip, {target.name: target for target in dataset.targets}
        except BlearError as error:
            unknown[name] = error.what
    return stored, unknown


def _conditions(
    job: Job, evaluate: Evaluate, catalog: Catalog, stored: Mapping[str, Stored]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each condition at each size of the frames that an arm is tested on."""
    seen = set()
    for name, stage in job.stages.items():
        data = evaluate.data or stage.data
        tested = any(name.startswith(arm.stage.split("{")[0]) for arm in evaluate.arms.values() if not arm.clean)
        if data not in stored or not tested:
            continue
        _, context = evaluation_transform(job, name, catalog, stored[data][0], stored.get(stage.data, stored[data])[1])
        if evaluate.windows is not None and context.clip is not None:
            context = replace(context, clip=replace(context.clip, length=evaluate.windows.length))
        if context.clip in seen:
            continue
        seen.add(context.clip)
        for level in levels(evaluate, catalog, context):
            where = f"evaluate.sweep ({level.condition}, {level.parameter} {level.severity:g})"
            yield where, partial(condition_chain, evaluate, level, catalog, context)
