"""Evaluation transforms: from stored clips to the input of a trained stage, and from clean clips to a condition."""

from __future__ import annotations

from collections.abc import Mapping

from blear.contracts import BuildContext, ClipSpec, Target
from blear.degradation.chain import Chain, swept_chain
from blear.evaluate.sweep import Level
from blear.job.schema import Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationUse
from blear.train.chains import evaluation_augment
from blear.train.model import stage_frame_sampler


def evaluation_transform(
    job: Job, name: str, catalog: Catalog, clip: ClipSpec, targets: Mapping[str, Target]
) -> tuple[Chain, BuildContext]:
    """Returns the evaluation transform of a stage, and the context that its model is built in.

    The transform converts stored frames to the size and color of the training input. It is the stage's `augment` in its
    deterministic version.

    Args:
        name: of the stage.
        clip: shape of the stored clips.
        targets: targets of the stage's training data.
    """
    stage = job.stages[name]
    sampler = stage_frame_sampler(stage, job.seed, clip)
    shape = clip if sampler is None else sampler.output_clip(clip)
    return evaluation_augment(job, name, catalog, BuildContext(job.seed, shape, targets))


def condition_chain(evaluate: Evaluate, level: Level, catalog: Catalog, context: BuildContext) -> Chain:
    """Returns the degradations of a condition at one severity; they are empty for clean frames."""
    if level.use is None:
        return Chain([], context.seed)
    sweep = evaluate.sweeps[level.condition]
    use = DegradationUse.model_validate({"use": level.use, **level.params})
    return swept_chain(catalog, use, (sweep.before, sweep.after), context, "evaluate.sweep")
