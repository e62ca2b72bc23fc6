"""The order of training: a pure function of (seed, sample count, batch size), the same for any number of workers."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    """The endless stream of samples: one permutation of all samples after another, one for each epoch.

    Global batch k is positions [k * B, (k + 1) * B) of the stream, so every batch is full and no sample is lost or
    repeated in an epoch; a batch may span epochs.
    """

    count: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise ValueError(f"count {self.count} and batch_size {self.batch_size} must be at least 1")

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(epochs_B, samples_B), int64, of global batch `step`."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        epochs_B, within_B = np.divmod(positions_B, self.count)
        samples_B = np.empty_like(within_B)
        for epoch in np.unique(epochs_B).tolist():
            here_B = epochs_B == epoch
            samples_B[here_B] = _permutation(self.count, self.seed, epoch)[within_B[here_B]]
        return epochs_B, samples_B

    def part(self, step: int, rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
        """The share of worker `rank` of `world` in global batch `step`: every `world`-th sample from `rank` on."""
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not in a world of {world}")
        epochs_B, samples_B = self.batch(step)
        return epochs_B[rank::world], samples_B[rank::world]


@functools.lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """Permutation of an epoch: the ranks of raw Philox words (Salmon et al. 2011) keyed by (seed, epoch).

    Raw words and a stable sort, since NumPy may change the stream of `Generator.permutation` between versions.
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.int64).view(np.uint64)).random_raw(count)
    order: np.ndarray = np.argsort(words, kind="stable")
    order.flags.writeable = False  # cached and shared
    return order
