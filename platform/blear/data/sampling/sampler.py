"""The order of training: a pure function of (seed, epoch, position), the same for any number of workers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.block_shuffle import Windows
from blear.data.sampling.permutation import permutation
from blear.job.schema import SHUFFLE_WINDOW


@dataclass(frozen=True, eq=False)
class Order:
    """The endless stream of samples: one permutation of all samples after another, one for each epoch.

    Global batch k is positions [k * B, (k + 1) * B) of the stream, so every batch is full and no sample is lost or
    repeated in an epoch; a batch may span epochs. A sample's number is its position in the order of the shards.

    Args:
        counts: samples of each shard, in order.
        batch_size: samples of a global batch.
        seed: any int64.
        window: a split up to this many samples is permuted whole, and its order does not depend on its shards; a
            larger one is permuted in blocks of consecutive samples, mixed in windows of at most this many samples
            (`blear.data.sampling.block_shuffle`), so that reads stay local.
    """

    counts: Sequence[int] | np.ndarray
    batch_size: int
    seed: int
    window: int = SHUFFLE_WINDOW

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.int64)
        if counts.ndim != 1 or (counts < 0).any():
            raise ValueError("counts must be a list of the samples of each shard, none negative")
        if counts.sum() < 1 or self.batch_size < 1 or self.window < 1:
            raise ValueError(
                f"{counts.sum()} samples, batch_size {self.batch_size} and window {self.window} must be at least 1"
            )
        counts.flags.writeable = False  # an order never changes
        object.__setattr__(self, "counts", counts)

    @functools.cached_property
    def count(self) -> int:
        """Samples of an epoch."""
        return int(np.sum(self.counts))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(epochs_B, samples_B), int64, of global batch `step`."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        epochs_B, within_B = np.divmod(positions_B, self.count)
        samples_B = np.empty_like(within_B)
        for epoch in np.unique(epochs_B).tolist():
            here_B = epochs_B == epoch
            samples_B[here_B] = self._samples(epoch, within_B[here_B])
        return epochs_B, samples_B

    def part(self, step: int, rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
        """The share of worker `rank` of `world` in global batch `step`: every `world`-th sample from `rank` on."""
        return share_of(self.batch(step), rank, world)

    def _samples(self, epoch: int, within_B: np.ndarray) -> np.ndarray:
        if self.count <= self.window:
            return _whole(self.count, self.seed, epoch)[within_B]
        return self._windows.samples(epoch, within_B)

    @functools.cached_property
    def _windows(self) -> Windows:
        return Windows.of(np.asarray(self.counts), self.seed, self.window)


def share_of(batch: tuple[np.ndarray, np.ndarray], rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `world`-th sample of a global batch, from `rank` on: shares differ by one sample at most."""
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is not in a world of {world}")
    epochs_B, samples_B = batch
    return epochs_B[rank::world], samples_B[rank::world]


@functools.lru_cache(maxsize=2)
def _whole(count: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of an epoch."""
    order = permutation(count, seed, epoch).astype(np.uint32 if count <= 2**32 else np.int64)  # half the memory
    order.flags.writeable = False  # cached and shared
    return order
