"""Stored frames -> what the network sees."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from blear.contracts import Batch
from blear.data.loader import RawBatch
from blear.degrade.chain import Chain, as_float


@dataclass
class Inputs:
    """Float on the device, augmented, then degraded; a sample's own clean clip of the same shape is augmented alike."""

    augment: Chain
    degrade: Chain
    device: torch.device

    def __call__(self, raw: RawBatch) -> Batch:
        """The batch on the device; `clean` is the samples' own, else what `degrade` starts from."""
        clean = self.augment(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B)
        frames = self.degrade(clean, raw.epochs_B, raw.samples_B)
        if raw.clean_BTCHW is not None:
            clean = as_float(raw.clean_BTCHW, self.device)
            if clean.shape == raw.frames_BTCHW.shape:
                clean = self.augment(clean, raw.epochs_B, raw.samples_B)
        return Batch(frames, clean, {name: value.to(self.device) for name, value in raw.targets.items()})


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
