"""Preprocessing of batches: float conversion, augmentation, degradation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Batch
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, as_float

_VIEW = 2**40
"""Distance of the random keys of two views of a sample; no run has as many epochs."""


@dataclass
class Preprocessing:
    """Moves a batch to the device as float in [0, 1], augments it, then degrades it.

    A sample's own clean clip gets the same augmentation, also if it is smaller than the frames
    (`contracts.SizeIndependent`).

    Attributes:
        views: degraded versions of each augmented sample, in succession; the first one is that of `views` 1.
    """

    augment: Chain
    degrade: Chain
    device: torch.device
    views: int = 1

    def __call__(self, raw: RawBatch, progress: float = 1.0) -> Batch:
        """Returns the batch on the device; its clean clips are the samples' own, or else the input of `degrade`.

        Args:
            raw: the batch as stored.
            progress: fraction of the stage's steps that are done; 1: as at the end of the stage.
        """
        clean = self.augment(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B, progress)
        frames = self.degrade(self.repeated(clean), *self.keys(raw), progress)
        if raw.clean_BTCHW is not None:
            # frames that were degraded in the reading threads are those of the CPU: equal samples stay equal
            own = as_float(raw.clean_BTCHW, self.device, exact=raw.frames_BTCHW.is_floating_point())
            clean = self.augment(own, raw.epochs_B, raw.samples_B, progress)
        targets = {name: self.repeated(value.to(self.device)) for name, value in raw.targets.items()}
        return Batch(frames, self.repeated(clean), targets)

    def repeated(self, values: Tensor) -> Tensor:
        """Values of the samples, each as often as it has views."""
        return values if self.views == 1 else values.repeat_interleave(self.views, dim=0)

    def keys(self, raw: RawBatch) -> tuple[np.ndarray, np.ndarray]:
        """(epoch, number) of each view of each sample, from which its degradation is drawn."""
        if self.views == 1:
            return raw.epochs_B, raw.samples_B
        epochs = raw.epochs_B[:, None] + _VIEW * np.arange(self.views)
        return epochs.reshape(-1), raw.samples_B.repeat(self.views)

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
        return CpuPreprocessing(self.augment, cpu, steps, self.views), device


@dataclass(frozen=True)
class CpuPreprocessing:
    """Augments and degrades on the CPU, in the threads that read batches, while the device computes a step."""

    augment: Chain
    degrade: Chain
    steps: int | None = None
    views: int = 1

    def __call__(self, number: int, raw: RawBatch) -> RawBatch:
        """Returns batch `number` (from 0) with degraded frames and with clean frames."""
        progress = 1.0 if self.steps is None else number / self.steps
        whole = Preprocessing(self.augment, self.degrade, torch.device("cpu"), self.views)
        batch = whole(raw, progress)
        as_stored = not self.augment.nodes and raw.clean_BTCHW is None
        clean = whole.repeated(raw.frames_BTCHW) if as_stored else batch.clean_BTCHW  # uint8 has a quarter of the size
        return RawBatch(*whole.keys(raw), batch.frames_BTCHW, clean, batch.targets, self.views)


def micro_batches(raw: RawBatch, parts: int) -> list[RawBatch]:
    """Splits a batch into `parts` batches of equal size (+-1), or into single samples if it has fewer than `parts`.

    The views of a sample stay together.
    """
    count = len(raw.samples_B) // raw.views
    parts = min(parts, count)
    if parts == 1:
        return [raw]
    edges = [count * n // parts * raw.views for n in range(parts + 1)]
    slices = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [
        RawBatch(
            raw.epochs_B[part],
            raw.samples_B[part],
            raw.frames_BTCHW[part],
            None if raw.clean_BTCHW is None else raw.clean_BTCHW[part],
            {name: value[part] for name, value in raw.targets.items()},
            raw.views,
        )
        for part in slices
    ]
