"""One batch of stored clips, before augmentation and degradation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RawBatch:
    """Stored clips of one batch, before augmentation and degradation. Broken samples are left out.

    After `CpuPreprocessing`, the clips are degraded, and each sample may be there `views` times, in succession.

    Attributes:
        epochs_B: int64 [B], the epoch of each sample; a `WeightedSampler` gives the position of the draw instead.
        samples_B: int64 [B], the number of each sample in the split.
        frames_BTCHW: uint8 in 0..255 or float32 in about [0, 1].
        clean_BTCHW: clean clips that the dataset stores beside the frames; None if it stores none.
        targets: target name -> int64 [B] class index, float32 [B] value or float32 [B, K] distribution.
        views: degraded versions of each sample.
    """

    epochs_B: np.ndarray
    samples_B: np.ndarray
    frames_BTCHW: Tensor
    clean_BTCHW: Tensor | None
    targets: Mapping[str, Tensor]
    views: int = 1

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        tensors = [self.frames_BTCHW, self.clean_BTCHW, *self.targets.values()]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)
