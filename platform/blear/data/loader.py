"""Loads the batches of a split: background threads read ahead within a memory budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

import numpy as np

from blear.data.batch_reader import BatchReader, BatchSpec, BatchTransform
from blear.data.device_copy import device_copier
from blear.data.frame_sampling import FrameSampler, SlidingWindows
from blear.data.raw_batch import RawBatch
from blear.data.reader_threads import ReaderThreads
from blear.data.sample_source import SampleSource
from blear.data.sampling.sampler import Sampler
from blear.data.sampling.weighted_sampler import WeightedSampler
from blear.errors import JobError

if TYPE_CHECKING:
    import torch

PREFETCH_BYTES = 256 * 2**20
"""Default memory budget for prefetched batches; one batch is prefetched even if it is larger."""
_MAX_PREFETCHED = 16
_STALL_S = 600.0


def batches(
    store: SampleSource,
    sampler: Sampler | WeightedSampler,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    *,
    frame_sampler: FrameSampler | None = None,
    transform: BatchTransform | None = None,
    device: torch.device | None = None,
    prefetch_bytes: int = PREFETCH_BYTES,
    threads: int = 1,
    stall_s: float = _STALL_S,
) -> Generator[RawBatch, None, None]:
    """Yields the share of worker `rank` in global batches `start` to `stop - 1`, in order for any number of threads.

    The threads end with the iterator, also when the consumer stops early. Errors in a thread are raised in the
    consumer.

    Args:
        sampler: the samples of each global batch.
        frame_sampler: selects frames of each clip; None: all of them.
        transform: applied by the threads to each batch before the copy to the device; the memory budget counts its
            result.
        device: where the batches are wanted. For CUDA, the threads pin the batches and copy them on a separate stream,
            so that no step waits for a copy. For other devices, batches stay in CPU memory.
        prefetch_bytes: memory budget for prefetched batches; it sets how many batches are prefetched, at least one.
        threads: number of reader threads; each reads a whole batch.
        stall_s: seconds without progress after which an unfinished read is an error.

    Raises:
        JobError: a batch is too small to give each worker a sample.
        DataError: while iterating: the store raises it; every sample of a share is broken; or reading stalls.
    """
    if sampler.batch_size < world:
        raise JobError(
            f"a batch of {sampler.batch_size} samples cannot be shared by {world} workers",
            "batch_size",
            f"set batch_size to {world} or more, or lower cluster.workers",
        )

    def spec(step: int) -> BatchSpec:
        return BatchSpec.of(*sampler.worker_batch(step, rank, world), frame_sampler)

    reader = BatchReader(store, spec, transform, device_copier(device), may_be_empty=False)
    return _prefetch(reader, range(start, stop), prefetch_bytes, threads, stall_s)


def sequential_batches(
    store: SampleSource,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    *,
    frame_sampler: FrameSampler | SlidingWindows | None = None,
    transform: BatchTransform | None = None,
    numbers: range | None = None,
) -> Generator[RawBatch, None, None]:
    """Yields every sample of worker `rank` once, in order, with epoch 0.

    The share of a worker is a consecutive range of the split; the sizes of two shares differ by one sample at most.
    With `SlidingWindows`, a sample is yielded once for each of its windows. A batch has at most `batch_size` samples,
    fewer where samples are broken, and is never empty. `transform` and errors: as in `batches`.

    Args:
        numbers: numbers of the batches to yield, of the `count_batches` batches; None: all.
    """
    if batch_size < 1 or not 0 <= rank < world:
        raise ValueError(f"batch_size {batch_size} must be at least 1, rank {rank} in a world of {world}")
    first, end = len(store) * rank // world, len(store) * (rank + 1) // world
    count, windows = end - first, None
    if isinstance(frame_sampler, SlidingWindows):
        clips, starts = frame_sampler.starts(store.lengths(np.arange(first, end, dtype=np.int64)))
        count, windows = len(clips), (clips + first, starts, frame_sampler)

    def spec(number: int) -> BatchSpec:
        rows = slice(number * batch_size, min((number + 1) * batch_size, count))
        if windows is not None:
            samples_B, select_frames = windows[0][rows], windows[2].selector(windows[1][rows])
            return BatchSpec(np.zeros_like(samples_B), samples_B, select_frames)
        samples_B = np.arange(first + rows.start, first + rows.stop, dtype=np.int64)
        sampler = None if isinstance(frame_sampler, SlidingWindows) else frame_sampler
        return BatchSpec.of(np.zeros_like(samples_B), samples_B, sampler)

    reader = BatchReader(store, spec, transform, device_copier(None), may_be_empty=True)
    every = range(-(-count // batch_size))
    return _prefetch(reader, every if numbers is None else numbers, PREFETCH_BYTES, 1, _STALL_S)


def count_batches(
    store: SampleSource, batch_size: int, frame_sampler: FrameSampler | SlidingWindows | None = None
) -> int:
    """Returns the number of batches of a whole split in `sequential_batches`."""
    count = len(store)
    if isinstance(frame_sampler, SlidingWindows):
        count = len(frame_sampler.starts(store.lengths(np.arange(count, dtype=np.int64)))[0])
    return -(-count // batch_size)


def spread_batches(
    store: SampleSource,
    batch_size: int,
    batches: int,
    rank: int = 0,
    world: int = 1,
    *,
    frame_sampler: FrameSampler | None = None,
    transform: BatchTransform | None = None,
    usable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Generator[RawBatch, None, None]:
    """Yields worker `rank`'s share of at most `batches` batches, spread evenly over the split, with epoch 0.

    The batches are the same for every number of workers; worker `rank` gets batches `rank`, `rank + world`, ... A split
    with fewer samples is read whole. Broken samples and errors: as in `sequential_batches`.

    Args:
        usable: sample numbers [B] -> whether each is read, bool [B]; None: all.
    """
    if min(batch_size, batches) < 1 or not 0 <= rank < world:
        raise ValueError(f"batch_size {batch_size} and batches {batches} must be at least 1, rank {rank} below {world}")
    count = min(len(store), batch_size * batches)
    samples_N = (2 * np.arange(count, dtype=np.int64) + 1) * len(store) // max(1, 2 * count)
    if usable is not None:
        samples_N = samples_N[usable(samples_N)]

    def spec(number: int) -> BatchSpec:
        samples_B = samples_N[number * batch_size : (number + 1) * batch_size]
        return BatchSpec.of(np.zeros_like(samples_B), samples_B, frame_sampler)

    reader = BatchReader(store, spec, transform, device_copier(None), may_be_empty=True)
    return _prefetch(reader, range(rank, -(-len(samples_N) // batch_size), world), PREFETCH_BYTES, 1, _STALL_S)


def _prefetch(
    reader: BatchReader, numbers: range, prefetch_bytes: int, threads: int, stall_s: float
) -> Generator[RawBatch, None, None]:
    """Yields batches in order; batches in the queue, being read or finished, stay within the memory budget."""
    readers = ReaderThreads(reader.read, threads, "blear-batches")
    pending: deque[tuple[int, Future[tuple[RawBatch, int]]]] = deque()
    remaining, depth, join_timeout = iter(numbers), 1, stall_s

    def fill() -> None:
        if len(pending) > depth // 2:  # refills in bulk: each wake-up of a thread takes time from a step on all cores
            return
        while len(pending) < depth and (number := next(remaining, None)) is not None:
            pending.append((number, readers.submit(number)))

    try:
        fill()  # one batch: its size determines how many batches fit the budget
        while pending:
            number, future = pending.popleft()
            if not _wait_for_batch(future, stall_s, reader.store):
                join_timeout = 0.0
                raise reader.stall_error(number, stall_s)
            batch, size = future.result()
            depth = max(1, min(_MAX_PREFETCHED, prefetch_bytes // max(1, size)))
            del future
            fill()
            if len(batch.samples_B):
                yield batch
            del batch  # only the consumer keeps the batch alive
    finally:
        readers.close(join_timeout)


def _wait_for_batch(future: Future[tuple[RawBatch, int]], stall_s: float, store: SampleSource) -> bool:
    """Waits for a batch; returns False if the store makes no progress for `stall_s` seconds."""
    before = store.progress
    while not wait([future], stall_s).done:
        if store.progress == before:
            return False
        before = store.progress
    return True
