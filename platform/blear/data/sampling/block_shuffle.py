"""Block shuffling for splits that are too large to be permuted as a whole.

Each epoch permutes blocks of consecutive samples of all shards. A window is a run of blocks in the permuted order, and
the samples of a window are permuted. A batch thus mixes samples of many shards, while only the shards of one window are
open at a time.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.permutation import permutation

BLOCK = 1000
"""Largest number of consecutive samples of a shard in a block."""
_MAX_BLOCKS, _MIN_BLOCKS = 128, 16
_BLOCK_STREAM, _WINDOW_STREAM = 1, 2


@dataclass(frozen=True, eq=False)
class ShuffleWindows:
    """Block-shuffled permutation of any epoch, with random access.

    Attributes:
        starts: int64 [blocks + 1], first sample of each block, and the total number of samples.
        seed: any int64.
        blocks: number of blocks of a window.
    """

    starts: np.ndarray
    seed: int
    blocks: int

    @staticmethod
    def of(counts: np.ndarray, seed: int, window: int) -> ShuffleWindows:
        """Cuts shards of `counts` samples into blocks; a window holds at most `window` samples."""
        block = max(1, min(BLOCK, window // _MIN_BLOCKS))
        blocks_of_shards = -(-counts // block)
        block_in_shard = np.arange(blocks_of_shards.sum()) - np.repeat(
            np.cumsum(blocks_of_shards) - blocks_of_shards, blocks_of_shards
        )
        starts = np.repeat(np.cumsum(counts) - counts, blocks_of_shards) + block_in_shard * block
        return ShuffleWindows(np.append(starts, counts.sum()), seed, min(_MAX_BLOCKS, window // block))

    def samples(self, epoch: int, positions_P: np.ndarray) -> np.ndarray:
        """Sample numbers at positions of an epoch, int64 [P]."""
        _, ends = _shuffled_blocks(self, epoch)
        windows_P = np.searchsorted(ends, positions_P, side="right")
        samples_P = np.empty_like(positions_P)
        for window in np.unique(windows_P).tolist():
            in_window_P = windows_P == window
            first = int(ends[window - 1]) if window else 0
            samples_P[in_window_P] = _shuffled_window(self, epoch, window)[positions_P[in_window_P] - first]
        return samples_P


@functools.lru_cache(maxsize=2)
def _shuffled_blocks(windows: ShuffleWindows, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The permutation of the blocks, uint32, and the end position of each window, int64."""
    order = permutation(len(windows.starts) - 1, windows.seed, epoch, _BLOCK_STREAM).astype(np.uint32)
    sizes = np.diff(windows.starts)[order]
    return order, np.cumsum(np.add.reduceat(sizes, np.arange(0, len(order), windows.blocks)))


@functools.lru_cache(maxsize=4)
def _shuffled_window(windows: ShuffleWindows, epoch: int, window: int) -> np.ndarray:
    """The permuted samples of one window, int64."""
    order = _shuffled_blocks(windows, epoch)[0]
    blocks = order[window * windows.blocks : (window + 1) * windows.blocks].astype(np.int64)
    samples = np.concatenate([np.arange(windows.starts[block], windows.starts[block + 1]) for block in blocks])
    return samples[permutation(len(samples), windows.seed, epoch, _WINDOW_STREAM, window)]
