"""Reads one batch of a split by its number; reader threads of the loader call it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from blear.data.frame_sampling import FrameSampler, FrameSelector
from blear.data.raw_batch import RawBatch
from blear.data.reader_threads import call_with_timeout
from blear.data.sample_source import SampleSource
from blear.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BatchTransform = Callable[[int, RawBatch], RawBatch]
"""A transform that reader threads apply to a batch on the CPU: (batch number, batch) -> batch."""
_SHOWN = 4


@dataclass(frozen=True)
class BatchSpec:
    """The samples of one batch and the selection of their frames.

    Attributes:
        epochs_B, samples_B: int64 [B], as of `RawBatch`, before broken samples are left out.
        select_frames: selects the frames of each clip; None: all of them.
    """

    epochs_B: np.ndarray
    samples_B: np.ndarray
    select_frames: FrameSelector | None

    @staticmethod
    def of(epochs_B: np.ndarray, samples_B: np.ndarray, frame_sampler: FrameSampler | None) -> BatchSpec:
        """The batch whose frames `frame_sampler` selects; None: all frames."""
        select_frames = None if frame_sampler is None else partial(frame_sampler, epochs_B, samples_B)
        return BatchSpec(epochs_B, samples_B, select_frames)


@dataclass
class BatchReader:
    """Reads batches by number. Thread-safe.

    Attributes:
        spec: batch number -> its samples.
        transform: applied on the CPU to each batch that has a good sample.
        copy: moves a tensor to the device where the batch is wanted (`device_copy.device_copier`).
        may_be_empty: whether a batch without a good sample is returned; else it is an error.
    """

    store: SampleSource
    spec: Callable[[int], BatchSpec]
    transform: BatchTransform | None
    copy: Callable[[Tensor], Tensor]
    may_be_empty: bool

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def read(self, number: int) -> tuple[RawBatch, int]:
        """Returns the batch, and the bytes it would have if none of its samples were broken.

        Raises:
            DataError: the store raises it, or every sample is broken.
        """
        with self._lock:  # one thread computes the permutation of an epoch; the others then find it cached
            spec = self.spec(number)
        epochs_B, samples_B = spec.epochs_B, spec.samples_B
        decoded = self.store.take(samples_B, spec.select_frames)
        good = int(decoded.good_B.sum())
        if not (good or self.may_be_empty):
            raise DataError(
                f"every sample of a worker's share of batch {number} is broken: {self._sample_names(samples_B)}",
                self._shard_names(samples_B),
                "prepare these shards again, or raise batch_size",
            )
        batch = RawBatch(
            epochs_B[decoded.good_B],
            samples_B[decoded.good_B],
            decoded.frames,
            decoded.clean,
            decoded.targets,
        )
        if self.transform is not None and good:
            batch = self.transform(number, batch)
        batch = RawBatch(
            batch.epochs_B,
            batch.samples_B,
            self.copy(batch.frames_BTCHW),
            None if batch.clean_BTCHW is None else self.copy(batch.clean_BTCHW),
            {name: self.copy(values) for name, values in batch.targets.items()},
            batch.views,
        )
        return batch, batch.bytes * len(samples_B) // max(1, good)

    def stall_error(self, number: int, seconds: float) -> DataError:
        """The error to raise when reading batch `number` made no progress for `seconds`."""
        samples_B = self.spec(number).samples_B
        # reading the keys may hang as well
        names = call_with_timeout(lambda: self._sample_names(samples_B), 2.0)
        return DataError(
            f"reading batch {number} has not ended for {seconds:g} s: "
            f"{names or f'numbers {samples_B[:_SHOWN].tolist()}, ...'}",
            self._shard_names(samples_B),
            "check that this storage responds; if it is only slow, raise cluster.stall_s",
        )

    def _sample_names(self, samples_B: np.ndarray) -> str:
        more = len(samples_B) - _SHOWN
        return f"samples {', '.join(self.store.keys(samples_B[:_SHOWN]))}{f' and {more} more' if more > 0 else ''}"

    def _shard_names(self, samples_B: np.ndarray) -> str:
        ends = np.cumsum([shard.samples for shard in self.store.shards])
        numbers = np.unique(np.searchsorted(ends, samples_B, side="right")).tolist()
        shown = ", ".join(self.store.shards[number].title for number in numbers[:_SHOWN])
        return f"{shown}{f' and {len(numbers) - _SHOWN} more shards' if len(numbers) > _SHOWN else ''}"
