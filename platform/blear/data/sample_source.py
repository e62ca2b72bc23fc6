"""The interface from which batches are read: random access to the samples of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from blear.data.dataset_info import ShardInfo
from blear.data.frame_sampling import FrameSelector

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DecodedSamples:
    """Decoded samples in memory: the G good ones of B requested samples, in the requested order.

    Attributes:
        good_B: bool [B], whether each requested sample decodes and has valid labels.
        frames: uint8 in 0..255 or float32, [G, T, C, H, W]; the memory layout is the decoder's, [G, T, H, W, C].
        clean: clean clips that the dataset stores beside the frames, in the same layout; None if it stores none.
        targets: target name -> int64 [G] class index, float32 [G] value or float32 [G, K] distribution.
    """

    good_B: np.ndarray
    frames: Tensor
    clean: Tensor | None
    targets: dict[str, Tensor]


class SampleSource(Protocol):
    """A split with random access: a `Store`, or a `DeviceResidentStore`. Thread-safe.

    Attributes:
        shards: the shards of the split. Samples are numbered through the shards in order, broken samples included.
        progress: a number that grows while a long `take` decodes samples or receives bytes; the loader's stall
            detection reads it.
    """

    @property
    def shards(self) -> Sequence[ShardInfo]: ...

    @property
    def progress(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, samples_B: np.ndarray, select_frames: FrameSelector | None = None) -> DecodedSamples:
        """Reads the samples that are not broken; `select_frames` selects the frames of each clip (None: all)."""
        ...

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Number of frames of each clip, int64 [B]."""
        ...

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """Key of each sample."""
        ...
