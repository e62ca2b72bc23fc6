"""Augmentations and degradations of a stage."""

from __future__ import annotations

from collections.abc import Callable

from blear.contracts import BuildContext
from blear.degradation.chain import Chain, build_chain, evaluation_chain
from blear.errors import JobError
from blear.job.schema import Job
from blear.plugin.catalog import Catalog

CleanShape = tuple[int, int, int, int]
"""Shape [T, H, W, C] of clean clips."""


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


def augmented_context(job: Job, name: str, catalog: Catalog, context: BuildContext) -> BuildContext:
    """The context of a stage's clips after its augmentations: those of the clean view.

    Args:
        context: context of the clips as they are stored.
    """
    stage = job.stages[name]
    return build_chain(catalog, [*job.data[stage.data].extra[0], *stage.augment], context, f"stages.{name}.augment")[1]


def check_clean_clips(
    job: Job, name: str, catalog: Catalog, context: BuildContext, clean_shape: Callable[[], CleanShape | None]
) -> None:
    """Checks that a stage's augmentations can act on clean clips whose shape differs from that of the frames.

    Args:
        name: of the stage.
        context: context of the clips as they are stored, whole.
        clean_shape: returns the shape [T, H, W, C] of the clean clips, None if the data has none. It is called only
            where an augmentation depends on it.

    Raises:
        JobError: an augmentation is not `contracts.SizeIndependent`, so that frames and clean clip would disagree.
    """
    stage, clip = job.stages[name], context.clip
    own = job.data[stage.data].extra[0]
    augment, _ = build_chain(catalog, [*own, *stage.augment], context)
    clean = clean_shape() if augment.nodes and clip is not None else None
    if clean is None or clip is None or clean == (clip.length, clip.height, clip.width, clip.channels):
        return
    for number, node in enumerate(augment.nodes):
        if not node.size_independent or clean[0] != clip.length:
            inside = number >= len(own)
            where = (
                f"stages.{name}.augment.{number - len(own)}"
                if inside
                else f"data.{stage.data}.stand_in.augment.{number}"
            )
            raise JobError(
                f"the clean clips of {job.data[stage.data].chosen[0]} have {clean[2]}x{clean[1]} pixels, the frames "
                f"{clip.width}x{clip.height}: this augmentation cannot act on both alike",
                where,
                "leave it out, or use one that is independent of the size (contracts.SizeIndependent), as random_flip",
            )


def evaluation_augment(
    job: Job, name: str, catalog: Catalog, context: BuildContext, data: str | None = None
) -> tuple[Chain, BuildContext]:
    """The evaluation-time version of a stage's augmentations, and the context of the clips after it.

    Args:
        data: name of the data of the clips; None: the stage's.
    """
    stage = job.stages[name]
    return evaluation_chain(catalog, [*job.data[data or stage.data].extra[0], *stage.augment], context)


def validation_chains(
    job: Job, name: str, catalog: Catalog, context: BuildContext
) -> tuple[Chain, Chain, BuildContext]:
    """Builds the preprocessing of a stage's validation: as in training, with the evaluation-time augmentations.

    Args:
        context: context of the clips of the validation's data as they are stored.

    Returns:
        Augmentations, degradations, and the context of the clips that reach the model.

    Raises:
        BlearError: an operation does not fit the clips, or the output of the operation before it.
    """
    stage, where = job.stages[name], f"stages.{name}"
    own_augment, own_degrade = job.data[stage.validation_data].extra
    augment, context = evaluation_augment(job, name, catalog, context, stage.validation_data)
    first = len(own_augment) + len(stage.augment)  # the degradations are drawn as in training
    degrade, context = build_chain(catalog, [*own_degrade, *stage.degrade], context, f"{where}.degrade", first=first)
    return augment, degrade, context
