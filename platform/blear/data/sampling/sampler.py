"""The training sampler: which samples each global batch holds, for any number of workers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.block_shuffle import ShuffleWindows
from blear.data.sampling.permutation import permutation
from blear.job.schema import SHUFFLE_WINDOW


@dataclass(frozen=True, eq=False)
class Sampler:
    """Samples without replacement: an endless sequence of permutations of all samples, one for each epoch.

    Global batch k holds positions [k * B, (k + 1) * B) of the sequence, for batch size B. Every batch is full, a batch
    may span two epochs, and each epoch holds every sample once. A sample number is its position in the split, counted
    through the shards in order. The sequence is a pure function of the arguments: it does not depend on the number of
    workers, and any batch is computed without the batches before it.

    Args:
        counts: number of samples of each shard, in order.
        batch_size: number of samples of a global batch.
        seed: any int64.
        window: splits of up to this many samples are permuted as a whole, independently of their shards. Larger splits
            are permuted in blocks of consecutive samples, mixed in windows of at most this many samples
            (`blear.data.sampling.block_shuffle`), so that reads stay local.

    Raises:
        ValueError: a count is negative, or there is no sample, or `batch_size` or `window` is below 1.
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
        counts.flags.writeable = False  # a sampler is immutable
        object.__setattr__(self, "counts", counts)

    @functools.cached_property
    def count(self) -> int:
        """Number of samples of an epoch."""
        return int(np.sum(self.counts))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(epochs_B, samples_B), int64 [B] each, of global batch `step`."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        epochs_B, positions_in_epoch_B = np.divmod(positions_B, self.count)
        samples_B = np.empty_like(positions_in_epoch_B)
        for epoch in np.unique(epochs_B).tolist():
            in_epoch_B = epochs_B == epoch
            samples_B[in_epoch_B] = self._samples(epoch, positions_in_epoch_B[in_epoch_B])
        return epochs_B, samples_B

    def worker_batch(self, step: int, rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
        """Share of worker `rank` of `world` in global batch `step`: every `world`-th sample, beginning at `rank`."""
        return worker_share(self.batch(step), rank, world)

    def _samples(self, epoch: int, positions_P: np.ndarray) -> np.ndarray:
        if self.count <= self.window:
            return _epoch_permutation(self.count, self.seed, epoch)[positions_P]
        return self._windows.samples(epoch, positions_P)

    @functools.cached_property
    def _windows(self) -> ShuffleWindows:
        return ShuffleWindows.of(np.asarray(self.counts), self.seed, self.window)


def worker_share(batch: tuple[np.ndarray, np.ndarray], rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `world`-th sample of a global batch, beginning at `rank`; shares differ by one sample at most."""
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is not in a world of {world}")
    epochs_B, samples_B = batch
    return epochs_B[rank::world], samples_B[rank::world]


@functools.lru_cache(maxsize=2)
def _epoch_permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    order = permutation(count, seed, epoch).astype(np.uint32 if count <= 2**32 else np.int64)  # half the memory
    order.flags.writeable = False  # cached and shared
    return order
