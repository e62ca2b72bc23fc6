"""The dry run: sends one blank clip through all degradations of a job before anything is trained or evaluated."""

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
"""Shape and targets of the clips of one entry of `data`."""


def dry_run(job: Job, catalog: Catalog, stored: Mapping[str, Stored]) -> None:
    """Checks that every chain of degradations accepts the job's clips.

    Finds for instance frame sizes that an operation or a model does not accept, and encoders that are not installed.

    Args:
        job: the resolved job.
        catalog: the loaded plugins.
        stored: name of data -> shape and targets. Stages and conditions with other data are not checked.

    Raises:
        JobError: lists every problem.
    """
    problems: dict[str, None] = {}  # a dict as an ordered set

    def attempt(where: str, call: Callable[[], object]) -> None:
        try:
            call()
        except BlearError as error:
            problems.setdefault(str(error) if error.where.startswith(where) else f"{where}: {error}")
        except Exception as error:  # noqa: BLE001  a component may raise anything
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


def data_shapes(job: Job, catalog: Catalog) -> tuple[dict[str, Stored], dict[str, str]]:
    """Returns shapes and targets of a job's data before it is prepared.

    Returns:
        name of data -> shape and targets; and name of data -> reason, where they are not known.
    """
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
    """Iterates over (name, check) of each condition, once for each shape of clips that an arm is evaluated on."""
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
