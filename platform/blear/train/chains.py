"""Augmentations and degradations of a stage."""

from __future__ import annotations

from blear.contracts import BuildContext
from blear.degrade.chain import Chain, build_chain, evaluation_chain
from blear.job.schema import Job
from blear.plugin.catalog import Catalog


def stage_chains(job: Job, name: str, catalog: Catalog, context: BuildContext) -> tuple[Chain, Chain, BuildContext]:
    """Builds the augmentations and degradations of a stage, those of its data first.

    Args:
        context: context of the clips as they are stored.

    Returns:
        Augmentations, degradations, and the context of the clips that reach the model.

    Raises:
        BlearError: an operation does not fit the clips, or the output of the operation before it.
    """
    stage, where = job.stages[name], f"stages.{name}"
    own_augment, own_degrade = job.data[stage.data].extra
    augment, context = build_chain(catalog, [*own_augment, *stage.augment], context, f"{where}.augment")
    uses = [*own_degrade, *stage.degrade]
    degrade, context = build_chain(catalog, uses, context, f"{where}.degrade", first=len(augment.nodes))
    return augment, degrade, context


def evaluation_augment(job: Job, name: str, catalog: Catalog, context: BuildContext) -> tuple[Chain, BuildContext]:
    """The evaluation-time version of a stage's augmentations, and the context of the clips after it."""
    stage = job.stages[name]
    return evaluation_chain(catalog, [*job.data[stage.data].extra[0], *stage.augment], context)
