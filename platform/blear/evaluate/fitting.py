"""What a trained stage expects of the clips that it is tested on."""

from __future__ import annotations

from collections.abc import Mapping

from blear.contracts import BuildContext, ClipSpec, Target
from blear.degrade.chain import Chain, settled_chain
from blear.job import Job
from blear.plugins import Catalog
from blear.train.model import moments_of


def fitted(
    job: Job, name: str, catalog: Catalog, clip: ClipSpec, targets: Mapping[str, Target]
) -> tuple[Chain, BuildContext]:
    """What brings stored frames to the size that a stage was trained on, and the context that its model is built in.

    Args:
        clip: shape of the stored clips.
        targets: of the data that the stage was trained on.
    """
    stage = job.stages[name]
    moments = moments_of(stage, job.seed, clip)
    shape = clip if moments is None else moments.clip(clip)
    own, _ = job.data[stage.data].extra
    return settled_chain(catalog, [*own, *stage.augment], BuildContext(job.seed, shape, targets))
