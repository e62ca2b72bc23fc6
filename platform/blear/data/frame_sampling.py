"""Frame sampling within each clip: random, evenly spaced or first frames, and sliding windows.

The selection is a pure function of (seed, epoch, sample) and the number of frames of the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from blear.contracts import ClipSpec
from blear.random_keys import uniform

OPERATION = -1
"""Operation number of frame sampling in the random keys of a stage; degradations count from 0."""

FrameSelector = Callable[[np.ndarray], np.ndarray]
"""Number of frames of each of B clips, int64 [B] -> indices of the selected frames, int64 [B, T]."""


@dataclass(frozen=True)
class FrameSampler:
    """Selects `count` frames of each clip, in ascending order.

    Attributes:
        count: number of frames to select.
        mode: `random`: distinct frames, drawn anew in each epoch; `even`: evenly spaced from the first frame to the
            last; `first`: the first frames. A clip with fewer than `count` frames gives all of its frames and repeats
            the last one.
        seed: seed of the draws.
        max_length: largest number of frames of a clip.
    """

    count: int
    mode: Literal["random", "even", "first"]
    seed: int
    max_length: int

    def output_clip(self, clip: ClipSpec) -> ClipSpec:
        """Shape of the clips of a batch, for stored clips of shape `clip`."""
        return replace(clip, length=self.count, shortest=None)

    def __call__(self, epochs_B: np.ndarray, samples_B: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Indices of the selected frames of each clip, int64 [B, count], ascending."""
        steps = np.arange(self.count)
        first_BT = np.minimum(steps[None, :], lengths_B[:, None] - 1)
        if self.mode == "first":
            return first_BT
        if self.mode == "even":
            selected_BT = np.rint(steps[None, :] * ((lengths_B[:, None] - 1) / max(1, self.count - 1))).astype(np.int64)
        else:
            scores_BL = uniform(self.seed, OPERATION, epochs_B, samples_B, max(self.count, self.max_length))
            scores_BL[np.arange(scores_BL.shape[1])[None, :] >= lengths_B[:, None]] = (
                2.0  # sorts after every real frame
            )
            selected_BT = np.sort(np.argsort(scores_BL, axis=1, kind="stable")[:, : self.count], axis=1)
        return np.where(lengths_B[:, None] >= self.count, selected_BT, first_BT)


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of `length` consecutive frames, `stride` frames apart, that fit the clip entirely.

    A clip with fewer than `length` frames gives one window, which repeats the last frame. Frames behind the last window
    are not used.
    """

    length: int
    stride: int

    def starts(self, lengths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(clip, first frame) of every window, int64 [windows] each, in order of the clips."""
        counts_N = np.maximum(0, lengths_N - self.length) // self.stride + 1
        clips = np.repeat(np.arange(len(lengths_N)), counts_N)
        window_in_clip = np.arange(len(clips)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
        return clips, window_in_clip * self.stride

    def selector(self, first_B: np.ndarray) -> FrameSelector:
        """Selects the frames of the windows that begin at frames `first_B`, int64 [B]."""

        def select(lengths_B: np.ndarray) -> np.ndarray:
            return np.minimum(first_B[:, None] + np.arange(self.length)[None, :], lengths_B[:, None] - 1)

        return select
