"""What a stage of a job can take from a weight file: as a whole, or its backbone and heads one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from blear.errors import DataError, JobError
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.stage_check import StageChecker
from blear.train.transfer import model_part
from blear.train.weight_listing import fit_lines, module_fit, start_from, summary_lines
from blear.weights.read import read_weights


def stage_lines(file: Path, job_file: Path, part: str | None, overrides: Sequence[str] = ()) -> Iterator[str]:
    """Iterates over the lines that say what fits a stage, followed by one `start_from`, or by one for each part.

    Args:
        file: the weight file.
        job_file: the job.
        part: STAGE, STAGE.backbone, STAGE.head or STAGE.heads.NAME; None: the last stage.
        overrides: values of the job, as `path=value`.

    Raises:
        BlearError: the file, the job or its data cannot be used, or there is no such stage or part.
    """
    weights = read_weights(file)
    job, catalog = read_job(job_file, overrides=overrides)
    name, _, wanted = (part or list(job.stages)[-1]).partition(".")
    if name not in job.stages:
        raise JobError(f"there is no stage {name!r}", str(job_file), f"choose one of: {', '.join(job.stages)}")
    stage = job.stages[name]
    facts, unknown = data_facts(job, catalog)
    if stage.data in unknown:
        raise DataError(f"the data {stage.data!r} cannot be opened: {unknown[stage.data]}", str(job_file))
    model = StageChecker(job, catalog, facts, 1, several=False).initial_model(name)
    uses = {"backbone": ("backbone", stage.backbone.use)}
    uses |= {f"heads.{key}" if key else "head": ("head", head.use) for key, head in stage.all_heads.items()}
    if wanted and wanted not in uses:
        raise JobError(f"stage {name!r} has no part {wanted!r}", str(job_file), f"choose one of: {', '.join(uses)}")
    if not wanted:
        fit = module_fit(weights, model)
        if not fit.missing:
            yield from summary_lines(fit, f"stage {name}", len(weights))
            yield from ("", f"stages.{name}.start_from: {start_from(file, fit, {})}")
            return
    for key in [wanted] if wanted else uses:
        registered = catalog.get(*uses[key])
        yield from fit_lines(file, weights, model_part(model, key), registered, f"stages.{name}.{key}.start_from")
