"""What a stage does to its clips on their way from the store to the model."""

from __future__ import annotations

from blear.contracts import BuildContext
from blear.degrade.chain import Chain, build_chain, evaluation_chain
from blear.job.schema import Job
from blear.plugin.catalog import Catalog


def stage_chains(job: Job, name: str, catalog: Catalog, context: BuildContext) -> tuple[Chain, Chain, BuildContext]:
    """A stage's augmentations, its degradations, and the context that its model is built in.

    Args:
        context: of the clips that the stage takes.

    Raises:
        BlearError: they do not fit the frames, or each other.
    """
    stage, where = job.stages[name], f"stages.{name}"
    own_augment, own_degrade = job.data[stage.data].extra
    augment, context = build_chain(catalog, [*own_augment, *stage.augment], context, f"{where}.augment")
    uses = [*own_degrade, *stage.degrade]
    degrade, context = build_chain(catalog, uses, context, f"{where}.degrade", first=len(augment.nodes))
    return augment, degrade, context


def evaluation_augment(job: Job, name: str, catalog: Catalog, context: BuildContext) -> tuple[Chain, BuildContext]:
    """What validation and evaluation keep of a stage's augmentations, and the context after it."""
    stage = job.stages[name]
    return evaluation_chain(catalog, [*job.data[stage.data].extra[0], *stage.augment], context)
