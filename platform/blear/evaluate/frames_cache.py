"""Cache of degraded frames in memory: a codec processes the test clips once, and all arms share the result."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

CodedFrames = tuple[Tensor, np.ndarray]
"""Degraded frames [B, T, C, H, W] of a batch, and the bit rate of each clip in kbit/s [B]."""
BUDGET_BYTES = 1 << 30


class DegradedFramesCache:
    """Keeps batches in memory until the budget is full; later batches are computed at each call.

    Cached frames are bitwise equal to the computed ones. Frames in steps of 1/255, the output of codecs, are stored
    with one byte a value.

    Args:
        budget: in bytes.

    Attributes:
        left: the unused part of the budget, in bytes.
    """

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self.left = budget
        self._batches: dict[Hashable, CodedFrames] = {}

    def __call__(self, key: Hashable, compute: Callable[[], CodedFrames]) -> CodedFrames:
        """Returns the batch of this key; calls `compute` where the cache has none."""
        if key in self._batches:
            frames, kbps_B = self._batches[key]
            return unpack_frames(frames), kbps_B
        frames, kbps_B = compute()
        compact = pack_frames(frames)
        if compact.nbytes <= self.left:
            self.left -= compact.nbytes
            self._batches[key] = compact, kbps_B
        return frames, kbps_B


def unpack_frames(frames: Tensor) -> Tensor:
    """Converts frames of `pack_frames` back to the bitwise equal original, on their device."""
    return frames.float().div(255) if frames.dtype == torch.uint8 else frames


def pack_frames(frames: Tensor) -> Tensor:
    """Converts frames to uint8 where the conversion is lossless, else returns them unchanged."""
    if frames.dtype != torch.float32:
        return frames
    compact = frames.clamp(0, 1).mul(255).round().byte()
    return compact if torch.equal(compact.float().div(255), frames) else frames
