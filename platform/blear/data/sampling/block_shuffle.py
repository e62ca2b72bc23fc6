"""Shuffling a split that is too large to permute whole: blocks of consecutive samples, mixed window by window.

The blocks of all shards are permuted in each epoch; a window is a run of blocks in that order; the samples of a window
are permuted. So a batch mixes samples of many shards, and yet only the shards of one window are open at a time.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.permutation import permutation

BLOCK = 1000
"""Consecutive samples of a shard that stay in one window."""
_MOST_BLOCKS, _FEWEST_BLOCKS = 128, 16
_STREAM_OF_BLOCKS, _STREAM_OF_WINDOWS = 1, 2


@dataclass(frozen=True, eq=False)
class Windows:
    """The permutation of any epoch with random access.

    Attributes:
        starts: first sample of each block, int64, and the count of all samples behind the last: [blocks + 1].
        seed: any int64.
        blocks: blocks of a window.
    """

    starts: np.ndarray
    seed: int
    blocks: int

    @staticmethod
    def of(counts: np.ndarray, seed: int, window: int) -> Windows:
        """Cuts shards of `counts` samples into blocks; a window has at most `window` samples."""
        block = max(1, min(BLOCK, window // _FEWEST_BLOCKS))
        blocks_of_shards = -(-counts // block)
        within = np.arange(blocks_of_shards.sum()) - np.repeat(
            np.cumsum(blocks_of_shards) - blocks_of_shards, blocks_of_shards
        )
        starts = np.repeat(np.cumsum(counts) - counts, blocks_of_shards) + within * block
        return Windows(np.append(starts, counts.sum()), seed, min(_MOST_BLOCKS, window // block))

    def samples(self, epoch: int, within_B: np.ndarray) -> np.ndarray:
        """Sample numbers at positions of an epoch, int64."""
        _, ends = _epoch(self, epoch)
        windows_B = np.searchsorted(ends, within_B, side="right")
        samples_B = np.empty_like(within_B)
        for window in np.unique(windows_B).tolist():
            here_B = windows_B == window
            first = int(ends[window - 1]) if window else 0
            samples_B[here_B] = _window(self, epoch, window)[within_B[here_B] - first]
        return samples_B


@functools.lru_cache(maxsize=2)
def _epoch(windows: Windows, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of the blocks, uint32, and the position behind the last sample of each window, int64."""
    order = permutation(len(windows.starts) - 1, windows.seed, epoch, _STREAM_OF_BLOCKS).astype(np.uint32)
    sizes = np.diff(windows.starts)[order]
    return order, np.cumsum(np.add.reduceat(sizes, np.arange(0, len(order), windows.blocks)))


@functools.lru_cache(maxsize=4)
def _window(windows: Windows, epoch: int, window: int) -> np.ndarray:
    """The samples of one window, permuted, int64."""
    blocks = _epoch(windows, epoch)[0][window * windows.blocks : (window + 1) * windows.blocks].astype(np.int64)
    samples = np.concatenate([np.arange(windows.starts[block], windows.starts[block + 1]) for block in blocks])
    return samples[permutation(len(samples), windows.seed, epoch, _STREAM_OF_WINDOWS, window)]
