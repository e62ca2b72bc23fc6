"""Which frames of a clip make a batch: a pure function of (seed, epoch, sample) and the clip's number of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from blear.contracts import ClipSpec
from blear.random_keys import uniform

OPERATION = -1
"""Number of these draws among the operations of a stage; the others count from 0."""

Pick = Callable[[np.ndarray], np.ndarray]
"""Frames that each of B clips has, int64 [B] -> which frames to take, int64 [B, T]."""


@dataclass(frozen=True)
class Moments:
    """`take` frames of each clip, in order.

    Attributes:
        take: frames of every clip of a batch.
        how: `random`: distinct ones, drawn anew in each epoch; `even`: spread from the first frame to the last;
            `first`: the first ones. A clip with fewer frames gives all of them, the last one repeated.
        seed: of the draws.
        longest: most frames of a clip.
    """

    take: int
    how: Literal["random", "even", "first"]
    seed: int
    longest: int

    def clip(self, clip: ClipSpec) -> ClipSpec:
        """Shape of the clips of a batch."""
        return replace(clip, length=self.take, shortest=None)

    def __call__(self, epochs_B: np.ndarray, samples_B: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Frames of each clip, int64 [B, take], ascending."""
        steps = np.arange(self.take)
        few_BT = np.minimum(steps[None, :], lengths_B[:, None] - 1)
        if self.how == "first":
            return few_BT
        if self.how == "even":
            spread_BT = np.rint(steps[None, :] * ((lengths_B[:, None] - 1) / max(1, self.take - 1))).astype(np.int64)
        else:
            scores_BL = uniform(self.seed, OPERATION, epochs_B, samples_B, max(self.take, self.longest))
            scores_BL[np.arange(scores_BL.shape[1])[None, :] >= lengths_B[:, None]] = 2.0  # after every real frame
            spread_BT = np.sort(np.argsort(scores_BL, axis=1, kind="stable")[:, : self.take], axis=1)
        return np.where(lengths_B[:, None] >= self.take, spread_BT, few_BT)


@dataclass(frozen=True)
class Windows:
    """All windows of `length` consecutive frames, `stride` apart, that lie in a clip entirely.

    A clip with fewer frames gives one window, its last frame repeated; what is left at its end is not looked at.
    """

    length: int
    stride: int

    def rows(self, lengths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(clip, first frame) of every window, int64 [windows] each, in order."""
        counts_N = np.maximum(0, lengths_N - self.length) // self.stride + 1
        clips = np.repeat(np.arange(len(lengths_N)), counts_N)
        within = np.arange(len(clips)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
        return clips, within * self.stride

    def pick(self, first_B: np.ndarray) -> Pick:
        """The frames of windows that begin at these frames."""

        def frames(lengths_B: np.ndarray) -> np.ndarray:
            return np.minimum(first_B[:, None] + np.arange(self.length)[None, :], lengths_B[:, None] - 1)

        return frames
