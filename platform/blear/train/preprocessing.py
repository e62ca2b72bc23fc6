"""Preprocessing of batches: float conversion, augmentation, degradation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch

from blear.contracts import Batch
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, as_float


@dataclass
class Preprocessing:
    """Moves a batch to the device as float in [0, 1], augments it, then degrades it.

    A sample's own clean clip gets the same augmentation, also if it is smaller than the frames
    (`contracts.SizeIndependent`).
    """

    augment: Chain
    degrade: Chain
    device: torch.device

    def __call__(self, raw: RawBatch, progress: float = 1.0) -> Batch:
        """Returns the batch on the device; its clean clips are the samples' own, or else the input of `degrade`.

        Args:
            raw: the batch as stored.
            progress: fraction of the stage's steps that are done; 1: as at the end of the stage.
        """
        clean = self.augment(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B, progress)
        frames = self.degrade(clean, raw.epochs_B, raw.samples_B, progress)
        if raw.clean_BTCHW is not None:
            own = as_float(raw.clean_BTCHW, self.device)
            clean = self.augment(own, raw.epochs_B, raw.samples_B, progress)
        return Batch(frames, clean, {name: value.to(self.device) for name, value in raw.targets.items()})

    def split_cpu(self, steps: int | None = None) -> tuple[CpuPreprocessing | None, Preprocessing]:
        """Splits the preprocessing into the part for the reading threads and the part for the device.

        Args:
            steps: steps of the stage; None: every batch is degraded as at the end of the stage.

        Returns:
            The CPU part and the rest. The CPU part is None if `degrade` does not begin with an operation for the CPU.
        """
        cpu, rest = self.degrade.split_after_cpu()
        if not cpu.nodes:
            return None, self
        device = Preprocessing(Chain([], self.degrade.seed), rest, self.device)
        return CpuPreprocessing(self.augment, cpu, steps), device


@dataclass(frozen=True)
class CpuPreprocessing:
    """Augments and degrades on the CPU, in the threads that read batches, while the device computes a step."""

    augment: Chain
    degrade: Chain
    steps: int | None = None

    def __call__(self, number: int, raw: RawBatch) -> RawBatch:
        """Returns batch `number` (from 0) with degraded frames and with clean frames."""
        progress = 1.0 if self.steps is None else number / self.steps
        batch = Preprocessing(self.augment, self.degrade, torch.device("cpu"))(raw, progress)
        as_stored = not self.augment.nodes and raw.clean_BTCHW is None
        clean = raw.frames_BTCHW if as_stored else batch.clean_BTCHW  # uint8 has a quarter of the size
        return replace(raw, frames_BTCHW=batch.frames_BTCHW, clean_BTCHW=clean)


def micro_batches(raw: RawBatch, parts: int) -> list[RawBatch]:
    """Splits a batch into `parts` batches of equal size (+-1), or into single samples if it has fewer than `parts`."""
    parts = min(parts, len(raw.samples_B))
    if parts == 1:
        return [raw]
    edges = [len(raw.samples_B) * n // parts for n in range(parts + 1)]
    slices = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [
        RawBatch(
            raw.epochs_B[part],
            raw.samples_B[part],
            raw.frames_BTCHW[part],
            None if raw.clean_BTCHW is None else raw.clean_BTCHW[part],
            {name: value[part] for name, value in raw.targets.items()},
        )
        for part in slices
    ]
