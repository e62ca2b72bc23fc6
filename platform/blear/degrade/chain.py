"""A chain of degradations on a batch: draws from counter-based keys, applies on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec, Coding, Degradation, DrawKeys, OnCpu, Resizing
from blear.job import DegradationUse
from blear.plugins import Catalog


class Chain:
    """Degradations in order, each with its own random stream.

    Args:
        operations: built degradations.
        seed: the job's seed.
        first: number of the first operation's random stream, so that two chains of a stage draw independently.
    """

    def __init__(self, operations: Sequence[Degradation], seed: int, first: int = 0) -> None:
        self.operations, self.seed, self.first = list(operations), seed, first

    def __call__(self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray) -> Tensor:
        """Degraded frames; the same (epoch, sample) gives the same result whatever the batch or worker."""
        return self.coded(frames_BTCHW, epochs_B, samples_B)[0]

    def coded(self, frames_BTCHW: Tensor, epochs_B: np.ndarray, samples_B: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Degraded frames, and kbit/s of each clip, float64 [B]: those of the last codec, NaN where none coded."""
        kbps_B = np.full(len(samples_B), np.nan)
        for number, operation in enumerate(self.operations, self.first):
            draws = operation.draw(DrawKeys(self.seed, number, epochs_B, samples_B))
            device = frames_BTCHW.device
            there = {name: value.to(device, non_blocking=True) for name, value in draws.items()}
            if isinstance(operation, Coding):
                frames_BTCHW, spent_B = operation.apply_coded(frames_BTCHW, there)
                kbps_B = np.where(np.isnan(spent_B), kbps_B, spent_B)
            else:
                frames_BTCHW = operation.apply(frames_BTCHW, there)
        return frames_BTCHW, kbps_B

    def cut_after_cpu(self) -> tuple[Chain, Chain]:
        """The leading operations that work on the CPU, and the others; in turn they do what the whole chain does."""
        count = 0
        while count < len(self.operations) and _on_cpu(self.operations[count]):
            count += 1
        return (
            Chain(self.operations[:count], self.seed, self.first),
            Chain(self.operations[count:], self.seed, self.first + count),
        )


def _on_cpu(operation: Degradation) -> bool:
    return isinstance(operation, OnCpu) and operation.on_cpu


def build_chain(
    catalog: Catalog, uses: Sequence[DegradationUse], context: BuildContext, *, first: int = 0
) -> tuple[Chain, BuildContext]:
    """The chain of a job's list, and the context after it (an operation may change the frames' size)."""
    operations = []
    for use in uses:
        operation = catalog.get("degradation", use.use).build(use.params, context)
        operations.append(operation)
        if context.clip is not None:
            context = _after(operation, context, context.clip)
    return Chain(operations, context.seed, first), context


def settled_chain(
    catalog: Catalog, uses: Sequence[DegradationUse], context: BuildContext
) -> tuple[Chain, BuildContext]:
    """What evaluation keeps of a stage's augmentations: those that change the frames' size, without their draws."""
    operations: list[Degradation] = []
    for use in uses:
        operation = catalog.get("degradation", use.use).build(use.params, context)
        if isinstance(operation, Resizing):
            operations.append(operation.settled())
            if context.clip is not None:
                context = _after(operations[-1], context, context.clip)
    return Chain(operations, context.seed), context


def _after(operation: Degradation, context: BuildContext, clip: ClipSpec) -> BuildContext:
    """Asks the operation itself what it makes of one blank clip."""
    keys = DrawKeys(0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))
    frames = operation.apply(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width), operation.draw(keys))
    return replace(context, clip=ClipSpec(*frames.shape[1:]))


def as_float(frames: Tensor, device: torch.device) -> Tensor:
    """Stored frames (uint8 in 0..255 or float) on the device, float32 in [0, 1]."""
    frames = frames.to(device, non_blocking=True)
    return frames.float().div_(255.0) if frames.dtype == torch.uint8 else frames.float()
