"""Stored frames -> what the network sees."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch

from blear.contracts import Batch
from blear.data.raw_batch import RawBatch
from blear.degrade.chain import Chain, as_float


@dataclass
class Inputs:
    """Float on the device, augmented, then degraded; a sample's own clean clip of the same shape is augmented alike."""

    augment: Chain
    degrade: Chain
    device: torch.device

    def __call__(self, raw: RawBatch, progress: float = 1.0) -> Batch:
        """The batch on the device; `clean` is the samples' own, else what `degrade` starts from.

        Args:
            progress: fraction of the stage's steps that were made before; 1: as at its end.
        """
        clean = self.augment(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B, progress)
        frames = self.degrade(clean, raw.epochs_B, raw.samples_B, progress)
        if raw.clean_BTCHW is not None:
            clean = as_float(raw.clean_BTCHW, self.device)
            if clean.shape == raw.frames_BTCHW.shape:
                clean = self.augment(clean, raw.epochs_B, raw.samples_B, progress)
        return Batch(frames, clean, {name: value.to(self.device) for name, value in raw.targets.items()})

    def cut(self, steps: int | None = None) -> tuple[Ahead | None, Inputs]:
        """What can run ahead of the steps, None where `degrade` begins with nothing for the CPU; and what is left.

        Args:
            steps: of the stage whose batches these are; None: other batches, degraded as at its end.
        """
        ahead, rest = self.degrade.split_after_cpu()
        if not ahead.nodes:
            return None, self
        return Ahead(self.augment, ahead, steps), Inputs(Chain([], self.degrade.seed), rest, self.device)


@dataclass(frozen=True)
class Ahead:
    """Augments, and degrades on the CPU, in the threads that read batches ahead: while the device is at a step."""

    augment: Chain
    degrade: Chain
    steps: int | None = None

    def __call__(self, number: int, raw: RawBatch) -> RawBatch:
        """Batch `number` with degraded frames, and always with clean ones."""
        progress = 1.0 if self.steps is None else number / self.steps
        batch = Inputs(self.augment, self.degrade, torch.device("cpu"))(raw, progress)
        as_stored = not self.augment.nodes and raw.clean_BTCHW is None
        clean = raw.frames_BTCHW if as_stored else batch.clean_BTCHW  # a quarter of the memory as uint8
        return replace(raw, frames_BTCHW=batch.frames_BTCHW, clean_BTCHW=clean)


def micro_batches(raw: RawBatch, parts: int) -> list[RawBatch]:
    """The batch cut into `parts` of nearly one size; fewer when it has fewer samples."""
    parts = min(parts, len(raw.samples_B))
    if parts == 1:
        return [raw]
    edges = [len(raw.samples_B) * n // parts for n in range(parts + 1)]
    cuts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [
        RawBatch(
            raw.epochs_B[cut],
            raw.samples_B[cut],
            raw.frames_BTCHW[cut],
            None if raw.clean_BTCHW is None else raw.clean_BTCHW[cut],
            {name: value[cut] for name, value in raw.targets.items()},
        )
        for cut in cuts
    ]
