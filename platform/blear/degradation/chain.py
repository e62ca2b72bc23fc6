"""A chain of degradations on a batch: draws from counter-based random keys, applies on the frames' device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from blear.contracts import DATASET_STREAMS, BuildContext, Degradation, DrawKeys
from blear.degradation.build import build_nodes, evaluation_nodes
from blear.degradation.nodes import Operation, Sequential, apply_in_sequence
from blear.degradation.routes import Node
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry, DegradationUse


class Chain:
    """Degradations that are applied in order, each with its own random stream.

    Args:
        nodes: built degradations, or nodes of `build_nodes`.
        seed: the job's seed.
        first: number of the first node's random stream. Two chains of one stage get disjoint numbers, so that they draw
            independently.
        numbers: the stream number of each node; None: consecutive numbers from `first`.
    """

    def __init__(
        self, nodes: Sequence[Degradation | Node], seed: int, first: int = 0, numbers: Sequence[int] | None = None
    ) -> None:
        self.nodes: list[Node] = [Operation(node) if isinstance(node, Degradation) else node for node in nodes]
        self.seed, self.first = seed, first
        places = range(first, first + len(self.nodes))
        self.numbers = [_stream(place) for place in places] if numbers is None else numbers

    def __call__(
        self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray, progress: float = 1.0
    ) -> Tensor:
        """Degraded frames.

        The result of a sample depends on (epoch, sample, progress) only, never on the batch or the worker.

        Args:
            frames_BTCHW: float frames in [0, 1].
            epochs_B: epoch of each sample.
            samples_B: index of each sample in its split.
            progress: fraction of the stage's steps that are done, for schedules; 1: the end of every schedule.
        """
        return self.coded(frames_BTCHW, epochs_B, samples_B, progress)[0]

    def coded(
        self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray, progress: float = 1.0
    ) -> tuple[Tensor, np.ndarray]:
        """Degraded frames, and the bit rate of each clip in kbit/s.

        Returns:
            The frames, and float64 [B]: the bit rate of the last codec that coded the clip, NaN where none did.
        """
        kbps_B = np.full(len(samples_B), np.nan)
        parts = [
            (node, DrawKeys(self.seed, number, epochs_B, samples_B, progress))
            for number, node in zip(self.numbers, self.nodes, strict=True)
        ]
        return apply_in_sequence(parts, frames_BTCHW, kbps_B), kbps_B

    @property
    def begins_on_cpu(self) -> bool:
        """Whether the first node runs on the CPU."""
        return bool(self.nodes) and self.nodes[0].on_cpu

    def split_after_cpu(self) -> tuple[Chain, Chain]:
        """The leading nodes that run on the CPU, and the remaining nodes.

        Applied one after the other, the two chains give the same result as this chain.
        """
        count = 0
        while count < len(self.nodes) and self.nodes[count].on_cpu:
            count += 1
        return (
            Chain(self.nodes[:count], self.seed, self.first),
            Chain(self.nodes[count:], self.seed, self.first + count),
        )


def _stream(place: int) -> int:
    """Number of the random stream of a node, by its place in the chains of a stage."""
    return place if place < DATASET_STREAMS.start else place - DATASET_STREAMS.start + DATASET_STREAMS.stop


def build_chain(
    catalog: Catalog, uses: Sequence[DegradationEntry], context: BuildContext, where: str = "", *, first: int = 0
) -> tuple[Chain, BuildContext]:
    """Builds the chain of one list of degradations.

    Args:
        where: path of the list in the job, for error messages.
        first: number of the nodes before, which have random streams of their own.

    Returns:
        The chain, and the context after it, whose clip has the size of the degraded frames.

    Raises:
        JobError: samples of one batch would get frames of different sizes.
        PluginError: a component cannot be found or built.
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
    """Builds the chain of one condition of an evaluation: `before`, the swept degradation, `after`.

    The swept degradation draws from stream 0, `before` from parts of stream 1 and `after` from parts of stream 2. The
    entries around it therefore do not change its draws.

    Args:
        use: the swept degradation at one severity.
        around: the entries before and those after it.
        where: path of the sweep in the job, for error messages.

    Raises:
        JobError: see `build_chain`.
        PluginError: see `build_chain`.
    """
    nodes: list[Node] = []
    numbers: list[int] = []
    for number, (key, entries) in enumerate((("before", around[0]), ("", [use]), ("after", around[1]))):
        built, context = build_nodes(catalog, entries, context, f"{where}.{key}")
        if built:
            nodes.append(Sequential(built) if key else built[0])
            numbers.append((1, 0, 2)[number])
    return Chain(nodes, context.seed, numbers=numbers)


def evaluation_chain(
    catalog: Catalog, uses: Sequence[DegradationEntry], context: BuildContext
) -> tuple[Chain, BuildContext]:
    """Builds the evaluation-time version of a stage's augmentations.

    It holds only the operations that change the frames' size, without random draws (see `contracts.Resizing`).

    Returns:
        The chain, and the context after it.
    """
    nodes, after = evaluation_nodes(catalog, uses, context)
    return Chain(nodes, context.seed), after


def require_unit_range(frames: Tensor) -> None:
    """Raises a ValueError if float frames from a user are not in [0, 1], up to the overshoot of a bicubic resize."""
    if not frames.is_floating_point() or not frames.numel():
        return
    low, high = (float(value) for value in frames.detach().aminmax())
    if not (low >= -0.5 and high <= 1.5):  # false of NaN, too
        do = "divide 0..255 by 255, leave normalisation (mean, std) to the model, or give uint8"
        raise ValueError(f"the values of a float tensor or array are in [0, 1], these in [{low:g}, {high:g}]; {do}")


def as_float(frames: Tensor, device: torch.device, *, exact: bool = False) -> Tensor:
    """Moves stored frames to a device, as contiguous float32 in [0, 1].

    Args:
        frames: uint8 in 0..255, or float in [0, 1].
        exact: whether the values equal those of the CPU to the bit. CUDA divides by a number by multiplying with its
            reciprocal, which differs in the last bit for half of the values.
    """
    frames = frames.to(device, non_blocking=True)
    if frames.dtype != torch.uint8:
        return frames.float().contiguous()
    return (
        torch.empty(frames.shape, dtype=torch.float32, device=device)
        .copy_(frames)
        .div_(torch.full((), 255.0, device=device) if exact else 255.0)
    )
