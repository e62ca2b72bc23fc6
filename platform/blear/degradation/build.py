"""Builds the nodes of a degradation chain from the entries of a job's list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys, Resizing
from blear.degradation.nodes import OneOf, Operation, RandomApply, RandomOrder, Sequential
from blear.degradation.routes import Node
from blear.errors import JobError, PluginError
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry, DegradationUse, OneOfEntry, RandomOrderEntry, Schedule, SequentialEntry


def build_nodes(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    """Builds one node for each entry.

    Args:
        context: its clip is the shape of the frames before the first entry.
        where: path of the list in the job, for error messages.

    Returns:
        The nodes, and the context after the last one.

    Raises:
        JobError: samples of one batch would get frames of different sizes.
    """
    nodes = []
    for number, entry in enumerate(entries):
        node, context = _build_node(catalog, entry, context, f"{where}.{number}")
        nodes.append(node)
    return nodes, context


def evaluation_nodes(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext
) -> tuple[list[Node], BuildContext]:
    """Builds the evaluation-time version of a list: `for_evaluation` of each operation that changes the frames' size.

    Evaluation draws nothing: groups are flattened, probabilities are ignored, and of `one_of` only the first member
    that changes the size is kept.

    Returns:
        The nodes, and the context after the last one.
    """
    nodes: list[Node] = []
    for entry in entries:
        if isinstance(entry, DegradationUse):
            operation, _ = _build_operation(catalog, entry, context)
            if isinstance(operation, Resizing):
                replacement = operation.for_evaluation()
                nodes.append(Operation(replacement))
                context = _context_after(replacement, context)
            continue
        for member in entry.members:
            built, after = evaluation_nodes(catalog, [member], context)
            nodes, context = nodes + built, after
            if built and isinstance(entry, OneOfEntry):
                break
    return nodes, context


def resizing_entries(catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext) -> list[int]:
    """The positions of the entries of a list that its evaluation-time version needs, see `evaluation_nodes`."""
    kept = []
    for number, entry in enumerate(entries):
        nodes, context = evaluation_nodes(catalog, [entry], context)
        kept += [number] if nodes else []
    return kept


def _build_node(
    catalog: Catalog, entry: DegradationEntry, context: BuildContext, where: str
) -> tuple[Node, BuildContext]:
    """The node of an entry, with its probability and its fractions of the steps, and the context after it."""
    node, p, after = _build_unconditional(catalog, entry, context, where)
    if p in (None, 1) and entry.from_ == 0 and entry.until == 1:
        return node, after
    if _shape(after) != _shape(context):
        raise JobError(
            f"it turns frames of {_size(context)} pixels into {_size(after)}, but not every sample goes through it",
            where,
            "leave p, from and until out of an entry that changes the frames' size",
        )
    return RandomApply(node, p, entry.from_, entry.until), after


def _build_unconditional(
    catalog: Catalog, entry: DegradationEntry, context: BuildContext, where: str
) -> tuple[Node, Schedule | None, BuildContext]:
    """The node of an entry without its probability, the probability, and the context after the node."""
    if isinstance(entry, DegradationUse):
        operation, p = _build_operation(catalog, entry, context)
        return Operation(operation), p, _context_after(operation, context)
    if isinstance(entry, SequentialEntry):
        nodes, after = build_nodes(catalog, entry.chain, context, f"{where}.chain")
        return Sequential(nodes), entry.p, after
    where = f"{where}.{entry.key}"
    if isinstance(entry, OneOfEntry):
        nodes, after = _build_alternatives(catalog, entry.one_of, context, where)
        return OneOf(nodes, [member.weight for member in entry.one_of]), entry.p, after
    nodes, after = _build_any_order(catalog, entry, context, where)
    return RandomOrder(nodes), entry.p, after


def _build_alternatives(
    catalog: Catalog, entries: Sequence[DegradationEntry], context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    """Builds nodes that all get the same input frames; their output frames must have one size."""
    built = [_build_node(catalog, entry, context, f"{where}.{number}") for number, entry in enumerate(entries)]
    after = built[0][1]
    for number, (_, other) in enumerate(built):
        if _shape(other) != _shape(after):
            raise JobError(
                f"after entry 0 frames have {_size(after)} pixels, after entry {number} {_size(other)}",
                where,
                "frames of one batch have one size: resize in every entry, or after the group",
            )
    return [node for node, _ in built], after


def _build_any_order(
    catalog: Catalog, entry: RandomOrderEntry, context: BuildContext, where: str
) -> tuple[list[Node], BuildContext]:
    """Builds members that may follow each other in any order.

    Where a member changes the frames' size, all members are checked at each of the places, with the size there.
    """
    nodes, after = _build_alternatives(catalog, entry.any_order, context, where)
    before = context
    for _ in entry.any_order[1:] if _shape(after) != _shape(before) else ():
        before, (_, after) = after, _build_alternatives(catalog, entry.any_order, after, where)
    return nodes, after


def _build_operation(
    catalog: Catalog, use: DegradationUse, context: BuildContext
) -> tuple[Degradation, Schedule | None]:
    registered = catalog.get("degradation", use.use)
    params, p = use.split(registered.component.params.model_fields)
    return registered.build(params, context), p


def _context_after(operation: Degradation, context: BuildContext) -> BuildContext:
    """The context after an operation. The shape of its output is found by applying it to one black clip."""
    clip = context.clip
    if clip is None:
        return context
    keys = DrawKeys(0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))
    frames = operation.apply(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width), operation.draw(keys))
    if not isinstance(frames, torch.Tensor) or frames.ndim != 5 or len(frames) != 1:
        got = list(frames.shape) if isinstance(frames, torch.Tensor) else type(frames).__name__
        what = f"`apply` of {type(operation).__name__} returned {got}, expected frames [1, T, C, H, W]"
        raise PluginError(what, do="`blear plugins check` names what a plugin violates")
    return replace(context, clip=ClipSpec(*frames.shape[1:]))


def _shape(context: BuildContext) -> tuple[int, ...]:
    clip = context.clip
    return () if clip is None else (clip.length, clip.channels, clip.height, clip.width)


def _size(context: BuildContext) -> str:
    return " x ".join(map(str, _shape(context)[2:]))
