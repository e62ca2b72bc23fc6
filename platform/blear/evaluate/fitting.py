"""The clips that a trained stage is tested on: what brings stored ones to its size, and to a condition."""

from __future__ import annotations

from collections.abc import Mapping

from blear.contracts import BuildContext, ClipSpec, Target
from blear.degrade.chain import Chain, swept_chain
from blear.evaluate.sweep import Level
from blear.job.schema import Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationUse
from blear.train.chains import evaluation_augment
from blear.train.model import stage_frame_sampler


def fitted(
    job: Job, name: str, catalog: Catalog, clip: ClipSpec, targets: Mapping[str, Target]
) -> tuple[Chain, BuildContext]:
    """What brings stored frames to the size that a stage was trained on, and the context that its model is built in.

    Args:
        clip: shape of the stored clips.
        targets: of the data that the stage was trained on.
    """
    stage = job.stages[name]
    moments = stage_frame_sampler(stage, job.seed, clip)
    shape = clip if moments is None else moments.output_clip(clip)
    return evaluation_augment(job, name, catalog, BuildContext(job.seed, shape, targets))


def condition_chain(evaluate: Evaluate, level: Level, catalog: Catalog, context: BuildContext) -> Chain:
    """Clean frames -> the frames of a condition at one severity."""
    if level.use is None:
        return Chain([], context.seed)
    sweep = evaluate.sweeps[level.condition]
    use = DegradationUse.model_validate({"use": level.use, **level.params})
    return swept_chain(catalog, use, (sweep.before, sweep.after), context, "evaluate.sweep")
