"""Clips of random pixels with labels that the targets of some data allow, for checks before the data are prepared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from blear.contracts import ClipSpec, Target
from blear.data.dataset_info import Layout
from blear.data.raw_batch import RawBatch


def example_batch(clip: ClipSpec, targets: Mapping[str, Target], layout: Layout | None, count: int) -> RawBatch:
    """Returns `count` clips of random pixels with labels that the targets allow.

    Args:
        clip: shape of the clips.
        layout: array types, and the shape of the clean clips; None: uint8 without clean clips.
    """
    generator = torch.Generator().manual_seed(0)

    def pixels(kind: str, *shape: int) -> Tensor:
        if kind == "float32":
            return torch.rand(shape, generator=generator)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    frames = pixels(
        "uint8" if layout is None else layout.frames, count, clip.length, clip.channels, clip.height, clip.width
    )
    clean = None
    if layout is not None and layout.clean is not None and layout.clean_shape is not None:
        _, height, width, channels = layout.clean_shape
        clean = pixels(layout.clean, count, clip.length, channels, height, width)
    labels = {name: _example_labels(target, count) for name, target in targets.items()}
    numbers = np.arange(count, dtype=np.int64)
    return RawBatch(np.zeros_like(numbers), numbers, frames, clean, labels)


def _example_labels(target: Target, count: int) -> Tensor:
    """Returns labels that a target allows: int64 [count] classes, float32 [count] values or [count, K] shares."""
    if target.kind == "class":
        return torch.arange(count) % len(target.classes)
    if target.kind == "distribution":
        return torch.full((count, len(target.classes)), 1 / len(target.classes))
    return torch.full((count,), sum(target.bounds) / 2 if target.bounds else 0.0)
