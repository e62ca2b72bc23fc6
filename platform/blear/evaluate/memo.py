"""Degraded frames that an earlier arm was tested on: what a codec does to the test clips it does once for all arms."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

Coded = tuple[Tensor, np.ndarray]
"""Degraded frames of a batch, and kbit/s of each clip."""
BUDGET = 1 << 30


class Memo:
    """Keeps batches in memory until the budget is full; the others are made anew. What comes back is equal to the bit.

    Args:
        budget: bytes. Frames in steps of 1/255, as codecs give them, take one byte a value.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self._kept: dict[Hashable, Coded] = {}

    def __call__(self, key: Hashable, make: Callable[[], Coded]) -> Coded:
        """What `make` gives for this key, or gave."""
        if key in self._kept:
            frames, kbps_B = self._kept[key]
            return (frames.float().div(255) if frames.dtype == torch.uint8 else frames), kbps_B
        frames, kbps_B = make()
        small = _as_bytes(frames)
        if small.nbytes <= self.left:
            self.left -= small.nbytes
            self._kept[key] = small, kbps_B
        return frames, kbps_B


def _as_bytes(frames: Tensor) -> Tensor:
    """The frames as uint8 where that loses nothing."""
    if frames.dtype != torch.float32:
        return frames
    small = frames.clamp(0, 1).mul(255).round().byte()
    return small if torch.equal(small.float().div(255), frames) else frames
