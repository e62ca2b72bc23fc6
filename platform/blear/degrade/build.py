"""Entries of a job's list of degradations -> the nodes of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys, Resizing
from blear.degrade.nodes import Chosen, InOrder, Node, Operation, Shuffled, Sometimes
from blear.errors import JobError
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry, DegradationUse, OneOfEntry, RandomOrderEntry, Schedule, SequentialEntry

Built = tuple[Node, BuildContext]


def build_nodes(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    """A node for each entry, and the context after the last one.

    Raises:
        JobError: samples would differ in the size of their frames.
    """
    nodes = []
    for number, entry in enumerate(entries):
        node, context = _node(catalog, entry, context, f"{where}.{number}")
        nodes.append(node)
    return nodes, context


def evaluation_nodes(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext
) -> tuple[list[Node], BuildContext]:
    """What evaluation does in place of the operations that change the frames' size; of `one_of`, the first such member.

    Nothing is drawn, so that groups are flat and probabilities do not matter.
    """
    nodes: list[Node] = []
    for entry in entries:
        if isinstance(entry, DegradationUse):
            operation, _ = _operation(catalog, entry, context)
            if isinstance(operation, Resizing):
                replacement = operation.for_evaluation()
                nodes.append(Operation(replacement))
                context = _after(replacement, context)
            continue
        for member in entry.members:
            found, after = evaluation_nodes(catalog, [member], context)
            nodes, context = nodes + found, after
            if found and isinstance(entry, OneOfEntry):
                break
    return nodes, context


def _node(catalog: Catalog, entry: DegradationEntry, context: BuildContext, where: str) -> Built:
    node, p, after = _whole(catalog, entry, context, where)
    if p in (None, 1) and entry.from_ == 0 and entry.until == 1:
        return node, after
    if _shape(after) != _shape(context):
        raise JobError(
            f"it turns frames of {_size(context)} pixels into {_size(after)}, but not every sample goes through it",
            where,
            "leave p, from and until out of an entry that changes the frames' size",
        )
    return Sometimes(node, p, entry.from_, entry.until), after


def _whole(
    catalog: Catalog, entry: DegradationEntry, context: BuildContext, where: str
) -> tuple[Node, Schedule | None, BuildContext]:
    """An entry without its probability, the probability, and the context after it."""
    if isinstance(entry, DegradationUse):
        operation, p = _operation(catalog, entry, context)
        return Operation(operation), p, _after(operation, context)
    if isinstance(entry, SequentialEntry):
        nodes, after = build_nodes(catalog, entry.chain, context, f"{where}.chain")
        return InOrder(nodes), entry.p, after
    where = f"{where}.{entry.key}"
    if isinstance(entry, OneOfEntry):
        nodes, after = _alike(catalog, entry.one_of, context, where)
        return Chosen(nodes, [member.weight for member in entry.one_of]), entry.p, after
    nodes, after = _any_order(catalog, entry, context, where)
    return Shuffled(nodes), entry.p, after


def _alike(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    """Nodes that each start from the same frames; all must leave them at one size."""
    built = [_node(catalog, entry, context, f"{where}.{number}") for number, entry in enumerate(entries)]
    after = built[0][1]
    for number, (_, other) in enumerate(built):
        if _shape(other) != _shape(after):
            raise JobError(
                f"after entry 0 frames have {_size(after)} pixels, after entry {number} {_size(other)}",
                where,
                "frames of one batch have one size: resize in every entry, or after the group",
            )
    return [node for node, _ in built], after


def _any_order(
    catalog: Catalog, entry: RandomOrderEntry, context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    nodes, after = _alike(catalog, entry.any_order, context, where)
    before = context
    for _ in entry.any_order[1:] if _shape(after) != _shape(before) else ():
        before, (_, after) = after, _alike(catalog, entry.any_order, after, where)
    return nodes, after


def _operation(catalog: Catalog, use: DegradationUse, context: BuildContext) -> tuple[Degradation, Schedule | None]:
    registered = catalog.get("degradation", use.use)
    params, p = use.split(registered.component.params.model_fields)
    return registered.build(params, context), p


def _after(operation: Degradation, context: BuildContext) -> BuildContext:
    """Asks the operation itself what it makes of one blank clip."""
    clip = context.clip
    if clip is None:
        return context
    keys = DrawKeys(0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))
    frames = operation.apply(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width), operation.draw(keys))
    return replace(context, clip=ClipSpec(*frames.shape[1:]))


def _shape(context: BuildContext) -> tuple[int, ...]:
    clip = context.clip
    return () if clip is None else (clip.length, clip.channels, clip.height, clip.width)


def _size(context: BuildContext) -> str:
    return " x ".join(map(str, _shape(context)[2:]))
