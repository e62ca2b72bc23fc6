"""A chain of degradations on a batch: draws from counter-based keys, applies on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, Degradation, DrawKeys
from blear.degrade.build import build_nodes, evaluation_nodes
from blear.degrade.nodes import InOrder, Node, Operation, in_order
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry, DegradationUse


class Chain:
    """Degradations in order, each with its own random stream.

    Args:
        nodes: built degradations, or what `build_nodes` gives.
        seed: the job's seed.
        first: number of the first node's random stream, so that two chains of a stage draw independently.
        numbers: of each node's stream; None: those from `first` on.
    """

    def __init__(
        self, nodes: Sequence[Degradation | Node], seed: int, first: int = 0, numbers: Sequence[int] | None = None
    ) -> None:
        self.nodes: list[Node] = [Operation(node) if isinstance(node, Degradation) else node for node in nodes]
        self.seed, self.first = seed, first
        self.numbers = range(first, first + len(self.nodes)) if numbers is None else numbers

    def __call__(
        self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray, progress: float = 1.0
    ) -> Tensor:
        """Degraded frames; the same (epoch, sample, progress) gives the same result whatever the batch or worker.

        Args:
            progress: fraction of the stage's steps that were made before; 1: as at its end.
        """
        return self.coded(frames_BTCHW, epochs_B, samples_B, progress)[0]

    def coded(
        self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray, progress: float = 1.0
    ) -> tuple[Tensor, np.ndarray]:
        """Degraded frames, and kbit/s of each clip, float64 [B]: those of the last codec, NaN where none coded."""
        kbps_B = np.full(len(samples_B), np.nan)
        parts = [
            (node, DrawKeys(self.seed, number, epochs_B, samples_B, progress))
            for number, node in zip(self.numbers, self.nodes, strict=True)
        ]
        return in_order(parts, frames_BTCHW, kbps_B), kbps_B

    @property
    def begins_on_cpu(self) -> bool:
        """Whether its first operation works on the CPU."""
        return bool(self.nodes) and self.nodes[0].on_cpu

    def cut_after_cpu(self) -> tuple[Chain, Chain]:
        """The leading operations that work on the CPU, and the others; in turn they do what the whole chain does."""
        count = 0
        while count < len(self.nodes) and self.nodes[count].on_cpu:
            count += 1
        return (
            Chain(self.nodes[:count], self.seed, self.first),
            Chain(self.nodes[count:], self.seed, self.first + count),
        )


def build_chain(
    catalog: Catalog, uses: Sequence[DegradationEntry], context: BuildContext, where: str = "", *, first: int = 0
) -> tuple[Chain, BuildContext]:
    """The chain of a job's list, and the context after it (an operation may change the frames' size).

    Args:
        where: the list's path in the job, for errors.

    Raises:
        JobError: a sample's frames would have a size of their own.
        PluginError: of a component.
    """
    nodes, after = build_nodes(catalog, uses, context, where)
    return Chain(nodes, context.seed, first), after


def swept_chain(
    catalog: Catalog,
    use: DegradationUse,
    around: tuple[Sequence[DegradationEntry], Sequence[DegradationEntry]],
    context: BuildContext,
    where: str,
) -> Chain:
    """A condition of an evaluation: the swept degradation, which draws from stream 0, and what is before and after it.

    Args:
        around: before, after.
        where: the sweep's path in the job, for errors.
    """
    nodes: list[Node] = []
    numbers: list[int] = []
    for number, (key, entries) in enumerate((("before", around[0]), ("", [use]), ("after", around[1]))):
        built, context = build_nodes(catalog, entries, context, f"{where}.{key}")
        if built:
            nodes.append(InOrder(built) if key else built[0])
            numbers.append((1, 0, 2)[number])
    return Chain(nodes, context.seed, numbers=numbers)


def evaluation_chain(
    catalog: Catalog, uses: Sequence[DegradationEntry], context: BuildContext
) -> tuple[Chain, BuildContext]:
    """What evaluation keeps of a stage's augmentations: those that change the frames' size, without their draws."""
    nodes, after = evaluation_nodes(catalog, uses, context)
    return Chain(nodes, context.seed), after


def as_float(frames: Tensor, device: torch.device) -> Tensor:
    """Stored frames (uint8 in 0..255 or float) on the device, float32 in [0, 1], contiguous whatever they were."""
    frames = frames.to(device, non_blocking=True)
    if frames.dtype != torch.uint8:
        return frames.float().contiguous()
    return torch.empty(frames.shape, dtype=torch.float32, device=device).copy_(frames).div_(255.0)
